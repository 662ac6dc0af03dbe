// The four files have fixed names, because the listener embeds them. Nothing is inlined: the listener's Content-Security-Policy
// allows no script, style or image but those of its own origin.
import { readFileSync } from "node:fs";
import { defineConfig } from "vite";

// The notices that the licences of the built-in packages want in every copy.
const notices = ["preact", "@preact/signals", "@preact/signals-core", "uplot"].map((name) => {
  const licence = readFileSync(new URL(`./node_modules/${name}/LICENSE`, import.meta.url), "utf8");
  return `${name}: ${/^Copyright .*$/m.exec(licence)?.[0]}`;
});
const mit = readFileSync(new URL("./node_modules/preact/LICENSE", import.meta.url), "utf8").replace(/^[\s\S]*?(?=Permission is hereby)/, "");
const banner = `/*!\n${notices.join("\n")}\nEach under the MIT licence:\n${mit.trim()}\n*/`;

export default defineConfig({
  base: "/assets/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../assets",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    sourcemap: false,
    reportCompressedSize: false,
    rolldownOptions: {
      output: {
        postBanner: banner,
        entryFileNames: "app.js",
        assetFileNames: "app[extname]",
      },
    },
  },
});

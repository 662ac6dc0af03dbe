// What the sources and the built files must not have.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import test from "node:test";
import { POLICY } from "./listener.mjs";

const here = (path) => new URL(`../${path}`, import.meta.url);
const sources = readdirSync(here("src")).map((name) => [name, readFileSync(here(`src/${name}`), "utf8")]);

test("no source makes markup or code of a text, or keeps the token anywhere", () => {
  const forbidden =
    /innerHTML|outerHTML|insertAdjacentHTML|dangerouslySetInnerHTML|document\.write|createContextualFragment|DOMParser|srcdoc|\beval\b|new Function|localStorage\.|sessionStorage\.|document\.cookie|indexedDB|trustedTypes|@ts-ignore|\bas any\b|: any\b/;
  assert.ok(sources.length > 10);
  for (const [name, text] of sources) {
    const found = forbidden.exec(text);
    assert.equal(found, null, `${name} has ${found?.[0]}`);
  }
});

test("no amount becomes a float", () => {
  for (const [name, text] of sources) {
    assert.doesNotMatch(text, /parseFloat|parseInt/, name);
    assert.doesNotMatch(text, /Number\([^)]*(amount|balance|spent|limit|fee|cost)/i, `${name} makes a number of an amount`);
  }
});

test("the built page has nothing inline and four files of at most 150,000 bytes", () => {
  const names = readdirSync(here("../assets")).sort();
  assert.deepEqual(names, ["app.css", "app.js", "favicon.svg", "index.html"]);
  const files = names.map((name) => readFileSync(here(`../assets/${name}`)));
  const total = files.reduce((sum, file) => sum + file.length, 0);
  assert.ok(total <= 150_000, `the built files have ${total} bytes`);
  const page = files[3].toString();
  assert.doesNotMatch(page, /<style|style=|\son\w+=|<script(?![^>]*\ssrc=)/i);
  const script = files[1].toString();
  assert.doesNotMatch(script, /\beval\(|new Function|sourceMappingURL|https?:\/\/(?!www\.w3\.org\/)/);
});

test("versions are exact, and licences are permissive", () => {
  const { devDependencies } = JSON.parse(readFileSync(here("package.json"), "utf8"));
  for (const [name, version] of Object.entries(devDependencies)) assert.match(version, /^\d+\.\d+\.\d+$/, name);
  const { packages } = JSON.parse(readFileSync(here("package-lock.json"), "utf8"));
  const allowed = /^\(?(MIT|Apache-2\.0|BSD-2-Clause|BSD-3-Clause|ISC|0BSD|BlueOak-1\.0\.0|MPL-2\.0|Python-2\.0|CC0-1\.0)\b/;
  for (const [path, { license }] of Object.entries(packages)) {
    if (path !== "") assert.match(license ?? "none", allowed, path);
  }
  // What is built into the page is there with its notice.
  const script = readFileSync(here("../assets/app.js"), "utf8");
  for (const shipped of ["preact", "@preact/signals", "@preact/signals-core", "uplot"]) {
    assert.equal(packages[`node_modules/${shipped}`].license, "MIT", shipped);
    assert.match(script, new RegExp(`^${shipped}: Copyright `, "m"));
  }
  assert.match(script, /Permission is hereby granted, free of charge/);
});

const reply = here("../src/reply.rs");
test("the policy of these tests is the listener's", { skip: !existsSync(reply) && "the listener's crate is not here" }, () => {
  const rust = readFileSync(reply, "utf8").replace(/\\\n\s*/g, "");
  assert.ok(rust.includes(`"${POLICY}"`));
});

// Compiles tests/contracts with the pinned solc and writes one artefact per contract to tests/contracts/artifacts:
// ABI, creation and runtime code, selectors and topics by signature, and the storage slots, which the dev chain edits.
// With --check nothing is written and any difference between sources and artefacts is an error.
// Same sources, same bytes: no metadata hash, fixed settings.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { toEventSelector, toFunctionSelector } from "viem";
import { formatAbiItem } from "viem/utils";

const solc = createRequire(import.meta.url)("solc");
const contracts = fileURLToPath(new URL("../contracts/", import.meta.url));
const artifacts = join(contracts, "artifacts");
const check = process.argv.includes("--check");

const settings = {
  evmVersion: "shanghai",
  optimizer: { enabled: true, runs: 200 },
  viaIR: true,
  metadata: { bytecodeHash: "none", appendCBOR: false },
  outputSelection: { "*": { "*": ["abi", "storageLayout", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};

function compile() {
  const files = readdirSync(contracts).filter((file) => file.endsWith(".sol")).sort();
  const source = (file) => ({ content: readFileSync(join(contracts, file), "utf8") });
  const sources = Object.fromEntries(files.map((file) => [file, source(file)]));
  const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
  const problems = (output.errors ?? []).map((problem) => problem.formattedMessage);
  if (problems.length > 0) throw new Error(problems.join("\n"));
  return output.contracts;
}

function named(abi, type, selector) {
  const items = abi.filter((item) => item.type === type).map((item) => [formatAbiItem(item), selector(item)]);
  return Object.fromEntries(items.sort(([a], [b]) => (a < b ? -1 : 1)));
}

// Where each state variable lives: its slot, and its offset in bytes from the low end of the word.
function slots({ storage }) {
  return Object.fromEntries(storage.map(({ label, slot, offset }) => [label, { slot: Number(slot), offset }]));
}

// Indented, but for the ABI: one item per line keeps a change of the interface readable in a diff.
function print(artifact) {
  const items = artifact.abi.map((item) => `  ${JSON.stringify(item)}`).join(",\n");
  return `${JSON.stringify({ ...artifact, abi: "@" }, null, 1).replace('"@"', `[\n${items}\n ]`)}\n`;
}

// File name → content for every contract that has code of its own (not interfaces, libraries, abstract contracts).
function render(compiled) {
  const rendered = new Map();
  for (const [source, inFile] of Object.entries(compiled)) {
    for (const [contract, { abi, evm, storageLayout }] of Object.entries(inFile)) {
      if (evm.deployedBytecode.object === "" || abi.length === 0) continue;
      const artifact = {
        contract,
        source,
        compiler: solc.version(),
        functions: named(abi, "function", toFunctionSelector),
        errors: named(abi, "error", (item) => toFunctionSelector(`function ${formatAbiItem(item)}`)),
        events: named(abi, "event", toEventSelector),
        storage: slots(storageLayout),
        abi,
        bytecode: `0x${evm.bytecode.object}`,
        deployedBytecode: `0x${evm.deployedBytecode.object}`,
      };
      rendered.set(`${contract}.json`, print(artifact));
    }
  }
  return rendered;
}

function present() {
  mkdirSync(artifacts, { recursive: true });
  return readdirSync(artifacts).filter((file) => file.endsWith(".json"));
}

function differences(rendered) {
  const stored = new Map(present().map((file) => [file, readFileSync(join(artifacts, file), "utf8")]));
  const missing = [...rendered.keys()].filter((file) => !stored.has(file)).map((file) => `${file} is missing`);
  const stale = [...stored.keys()].filter((file) => !rendered.has(file)).map((file) => `${file} has no source`);
  const changed = [...rendered].filter(([file, text]) => stored.has(file) && stored.get(file) !== text);
  return [...missing, ...stale, ...changed.map(([file]) => `${file} does not match its source`)];
}

try {
  const rendered = render(compile());
  if (check) {
    const found = differences(rendered);
    if (found.length > 0) throw new Error(`${found.join("\n")}\nRun \`cargo xtask contracts\` and commit the result.`);
  } else {
    for (const file of present()) if (!rendered.has(file)) rmSync(join(artifacts, file));
    for (const [file, text] of rendered) writeFileSync(join(artifacts, file), text);
  }
  console.log(JSON.stringify({ contracts: [...rendered.keys()].map((file) => file.replace(".json", "")), check }));
} catch (error) {
  console.error(error.message);
  process.exit(1);
}

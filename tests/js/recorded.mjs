// Replays recorded replies to the official TypeScript client (@x402/core), which parses them with its own schemas.
// Argument: the file of the recording. Prints how many distinct replies there were, and each one that the client refuses.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { HTTPFacilitatorClient } from "@x402/core/http";

const lines = readFileSync(process.argv[2], "utf8").trim().split("\n");
const replies = [...new Set(lines)].map((line) => JSON.parse(line));
let current;
const server = createServer((request, response) => {
  request.resume();
  request.on("end", () => {
    response.writeHead(current.status, { "content-type": "application/json" });
    response.end(current.body);
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const client = new HTTPFacilitatorClient({ url: `http://127.0.0.1:${server.address().port}` });
const requirements = { scheme: "exact", network: "eip155:84532", amount: "1", asset: "0x", payTo: "0x", maxTimeoutSeconds: 60, extra: {} };
const payment = { x402Version: 2, accepted: requirements, payload: {} };

let refused = 0;
for (current of replies) {
  const problem = await problemOf(current);
  if (problem) {
    refused += 1;
    console.log(`${current.path} ${current.status}: ${current.body}\n  ${problem}`);
  }
}
server.close();
server.closeAllConnections();
console.log(`The TypeScript client reads ${replies.length - refused} of ${replies.length} distinct replies.`);
process.exit(refused > 0 || replies.length === 0 ? 1 : 0);

// What is wrong with how the client reads a reply.
async function problemOf({ path, status, body }) {
  const sent = JSON.parse(body);
  const member = path === "/verify" ? "isValid" : "success";
  try {
    if (path === "/supported") {
      // Other statuses are retried or reported as text.
      if (status !== 200) return undefined;
      const { kinds } = await client.getSupported();
      return kinds.length === sent.kinds.length ? undefined : "kinds are missing";
    }
    const read = path === "/verify" ? await client.verify(payment, requirements) : await client.settle(payment, requirements);
    if (status !== 200) return "an error was read as an outcome";
    if (read[member] !== sent[member]) return `${member} is ${read[member]}`;
    return path === "/settle" && read.transaction !== sent.transaction ? "another transaction" : undefined;
  } catch (error) {
    // Outside 2xx the client throws an error that has the reason.
    const reason = path === "/verify" ? sent.invalidReason : (sent.errorReason ?? sent.error);
    const known = path === "/verify" ? error.invalidReason : error.errorReason;
    if (status !== 200 && error.statusCode === status && (known === reason || error.message.includes(reason))) return undefined;
    return String(error);
  }
}

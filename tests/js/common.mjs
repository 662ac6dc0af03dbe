// What the scripts share: reading the environment, printing one line of JSON, dying plainly, and Solana's names.
import { createKeyPairSignerFromBytes, createKeyPairSignerFromPrivateKeyBytes, getBase58Encoder } from "@solana/kit";

// The network of Solana's devnet, which the dev chain says it is, and USDC there.
export const SOLANA_DEVNET = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1";
export const SOLANA_USDC = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU";

// From base58 of the seed, or of the seed and the public key.
export function solanaSigner(secret) {
  const bytes = getBase58Encoder().encode(secret);
  return bytes.length === 32 ? createKeyPairSignerFromPrivateKeyBytes(bytes) : createKeyPairSignerFromBytes(bytes);
}

// A variable, or its default; without a default it has to be set.
export function env(name, fallback) {
  const value = process.env[name] ?? fallback;
  if (value === undefined) throw new Error(`set the environment variable ${name}`);
  return value;
}

export function report(value) {
  console.log(JSON.stringify(value, (_key, member) => (typeof member === "bigint" ? member.toString() : member)));
}

export function fail(error) {
  console.error(error?.stack ?? String(error));
  process.exit(1);
}

// Headers per facilitator path, as the official clients want them; undefined (anonymous) without FACILITATOR_TOKEN.
// IDEMPOTENCY_KEY is sent with every settle: one value is enough for a seller that sells once.
export function bearer() {
  const token = env("FACILITATOR_TOKEN", "");
  if (token === "") return undefined;
  const headers = { Authorization: `Bearer ${token}` };
  const key = env("IDEMPOTENCY_KEY", "");
  const settle = key === "" ? headers : { ...headers, "Idempotency-Key": key };
  return async () => ({ verify: headers, settle, supported: headers, bazaar: headers, list: headers });
}

// Listens on PORT at 127.0.0.1 and prints the address; path is what costs money there.
export function listen(app, path) {
  return new Promise((resolve, reject) => {
    const server = app.listen(Number(env("PORT", "0")), "127.0.0.1");
    server.once("error", reject);
    server.once("listening", () => {
      const url = `http://127.0.0.1:${server.address().port}`;
      report({ listening: url, resource: url + path });
      resolve(server);
    });
  });
}

export async function body(response) {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

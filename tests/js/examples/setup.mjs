// What the four examples share: a shop that takes payments with scheme `auth-capture`, and a buyer.
// Environment: FACILITATOR_URL, FACILITATOR_TOKEN (the shop's API key there), PAY_TO (the merchant), AUTHORIZER_KEY (signs
// the merchant's orders), BUYER_KEY; RPC_URL for those that read the chain.
import { HTTPFacilitatorClient } from "@x402/core/server";
import { AuthCaptureEvmScheme } from "@x402/evm/auth-capture/client";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from "@x402/fetch";
import express from "express";
import { parseUnits } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { Orders } from "../auth-capture/orders.mjs";
import { AuthCaptureServerScheme } from "../auth-capture/scheme.mjs";
import { bearer, env } from "../common.mjs";

export const NETWORK = "eip155:84532";
export const DAY = 86_400;

// Dollars as USDC's atomic units, and back.
export const usdc = (dollars) => parseUnits(dollars, 6);
export const dollars = (units) => `$${units / 1_000_000n}.${String((units / 10_000n) % 100n).padStart(2, "0")}`;

// ANCHOR: shop
// `routes`: what costs money, as "METHOD /path": {price, extra}. `settings`: of AuthCaptureServerScheme.
export function shop(routes, settings = {}) {
  const facilitator = new HTTPFacilitatorClient({ url: env("FACILITATOR_URL"), createAuthHeaders: bearer() });
  // A real shop keeps these in its database, as `payment.record`.
  const payments = new Map();
  const authorizer = privateKeyToAccount(env("AUTHORIZER_KEY"));
  const scheme = new AuthCaptureServerScheme({ payments, authorizer, ...settings });
  const server = new x402ResourceServer(facilitator).register(NETWORK, scheme);
  const offer = (route) => ({ scheme: "auth-capture", network: NETWORK, payTo: env("PAY_TO"), ...route });
  const priced = Object.entries(routes).map(([path, route]) => [path, { accepts: offer(route), description: path }]);

  const app = express();
  app.use(express.json());
  app.use(paymentMiddleware(Object.fromEntries(priced), server));
  return { app, payments, orders: new Orders(facilitator), scheme };
}

// ANCHOR_END: shop

// Serves the shop while `visit` runs with its address.
export async function serve(app, visit) {
  const server = await new Promise((resolve) => {
    const listening = app.listen(0, "127.0.0.1", () => resolve(listening));
  });
  try {
    await visit(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

// A buyer that pays up to `limit` per request: a `fetch` whose answers are the body and what was settled.
export function buyer(limit) {
  const client = new x402Client().register(NETWORK, new AuthCaptureEvmScheme(privateKeyToAccount(env("BUYER_KEY"))));
  client.setSpendControls({ maxAmountPerPayment: limit });
  const paying = wrapFetchWithPayment(fetch, client);
  return async (url, init) => {
    const response = await paying(url, init);
    if (!response.ok) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
    const settled = response.headers.get("PAYMENT-RESPONSE");
    return { body: await response.json(), settled: settled === null ? null : decodePaymentResponseHeader(settled) };
  };
}

// A facilitator's reply to an order; anything but success is an error here.
export function done(reply) {
  if (!reply.success) throw new Error(`${reply.errorReason}: ${reply.errorMessage ?? "no error message"}`);
  return reply;
}

// One line of JSON at the end, for the caller of the example.
export function report({ hash, capturable, refundable }) {
  console.log(JSON.stringify({ hash, held: capturable.toString(), captured: refundable.toString() }));
}

// A paid API that holds money first and takes what was used: express with the official v2 middleware and scheme
// `auth-capture` (./auth-capture). GET /job costs up to PRICE atomic units of USDC on eip155:84532, paid to PAY_TO.
// `?used=UNITS` makes the handler take less than the price, `?fail=1` makes it fail.
// Environment: FACILITATOR_URL, PAY_TO; optional PORT (0 = any), PRICE (10000), MAX_TIMEOUT_SECONDS (60),
// FACILITATOR_TOKEN (sent as a bearer token), AUTHORIZER_KEY (signs orders; without it BIND=yes lets the facilitator),
// FLOW (escrow or authorization), CAPTURE_MODE (sync or deferred), TRANSFER_METHOD (eip3009 or permit2), DEPLOYMENT (v1.1
// or v1.0), OPERATOR (a custom operator contract), CAPTURE_WINDOW and REFUND_WINDOW (seconds), FEE_RECIPIENT,
// MIN_FEE_BPS and MAX_FEE_BPS (all three).
// Prints one line of JSON when it listens: {"listening": URL, "resource": URL}.
// For the merchant, on the same port: GET /payments; POST /payments/HASH/capture {amount, closeOut?}, …/void, …/refund
// {amount}, which answer with the facilitator's reply and the payment; with `"draft": true` nothing is sent, and they
// answer with the request that would be.
import express from "express";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { paymentMiddleware, setSettlementOverrides, x402ResourceServer } from "@x402/express";
import { privateKeyToAccount } from "viem/accounts";
import { DEPLOYMENTS } from "./auth-capture/deployments.mjs";
import { Orders } from "./auth-capture/orders.mjs";
import { AuthCaptureServerScheme } from "./auth-capture/scheme.mjs";
import { bearer, env, fail, listen } from "./common.mjs";

const network = "eip155:84532";

function offer() {
  const extra = { name: "USDC", version: "2", authCaptureEscrow: DEPLOYMENTS[env("DEPLOYMENT", "v1.1")].escrow };
  extra.paymentFlow = env("FLOW", "escrow");
  extra.assetTransferMethod = env("TRANSFER_METHOD", "eip3009");
  const [mode, operator, feeRecipient] = ["CAPTURE_MODE", "OPERATOR", "FEE_RECIPIENT"].map((name) => env(name, ""));
  if (mode !== "") extra.captureMode = mode;
  if (operator !== "") Object.assign(extra, { operatorType: "custom", captureAuthorizer: operator });
  if (feeRecipient !== "") {
    Object.assign(extra, { feeRecipient, minFeeBps: Number(env("MIN_FEE_BPS")), maxFeeBps: Number(env("MAX_FEE_BPS")) });
  }
  return {
    scheme: "auth-capture",
    network,
    payTo: env("PAY_TO"),
    price: { amount: env("PRICE", "10000"), asset: "0x036CbD53842c5426634e7929541eC2318f3dCF7e", extra },
    maxTimeoutSeconds: Number(env("MAX_TIMEOUT_SECONDS", "60")),
  };
}

// Answers with JSON, also when something throws: the caller is a merchant's own program.
function answers(act) {
  return async (request, response) => {
    try {
      response.json(await act(request));
    } catch (error) {
      response.status(500).json({ error: error.message });
    }
  };
}

try {
  const key = env("AUTHORIZER_KEY", "");
  const authorizer = key === "" ? undefined : privateKeyToAccount(key);
  const payments = new Map();
  const scheme = new AuthCaptureServerScheme({
    payments,
    authorizer,
    bind: authorizer !== undefined || env("BIND", "no") === "yes",
    captureWindow: Number(env("CAPTURE_WINDOW", "86400")),
    refundWindow: Number(env("REFUND_WINDOW", "604800")),
  });
  const facilitator = new HTTPFacilitatorClient({ url: env("FACILITATOR_URL"), createAuthHeaders: bearer() });
  const server = new x402ResourceServer(facilitator).register(network, scheme);
  const orders = new Orders(facilitator);

  const app = express();
  const job = { accepts: offer(), description: "A job", mimeType: "application/json" };
  app.use(paymentMiddleware({ "GET /job": job }, server));
  app.get("/job", (request, response) => {
    if (request.query.fail !== undefined) return response.status(500).json({ error: "the job failed" });
    if (request.query.used !== undefined) setSettlementOverrides(response, { amount: String(request.query.used) });
    return response.json({ job: "done" });
  });

  const order = (act, members) =>
    answers(async ({ params, body }) => {
      const payment = payments.get(params.hash);
      if (payment === undefined) throw new Error(`there is no payment ${params.hash}`);
      if (body.draft) return { x402Version: 2, ...payment.request(await members(payment, body)) };
      return { reply: await act(payment, body), payment: payment.record };
    });
  const capture = order(
    (payment, { amount, ...how }) => orders.capture(payment, amount, how),
    (payment, { amount, ...how }) => payment.captureMembers(amount, how),
  );
  const giveBack = order((payment) => orders.void(payment), (payment) => payment.voidMembers());
  const refund = order(
    (payment, { amount }) => orders.refund(payment, amount),
    (payment, { amount }) => payment.refundMembers(amount),
  );
  app.use("/payments", express.json());
  app.get("/payments", answers(async () => [...payments.values()].map((payment) => payment.record)));
  app.post("/payments/:hash/capture", capture);
  app.post("/payments/:hash/void", giveBack);
  app.post("/payments/:hash/refund", refund);
  await listen(app, "/job");
} catch (error) {
  fail(error);
}

// Checks the seller's half of auth-capture without a chain: orders against golden vectors, and what a seller sends to a
// facilitator when the official buyer pays it, with a facilitator that believes everything.
// Prints one line of JSON: {"checked": [names]}; exit code 1 with the first difference.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { AuthCaptureEvmScheme } from "@x402/evm/auth-capture/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import express from "express";
import { privateKeyToAccount } from "viem/accounts";
import { fail, report } from "../common.mjs";
import { DEPLOYMENTS } from "./deployments.mjs";
import { boundSalt } from "./messages.mjs";
import { Payment } from "./payment.mjs";

const file = new URL("../../../schemes-evm/tests/vectors/auth_capture.json", import.meta.url);
const vectors = JSON.parse(readFileSync(file, "utf8"));
// The vectors' well-known keys: never fund them on a live network.
const authorizerKey = `0x${"22".repeat(32)}`;
const authorizer = privateKeyToAccount(authorizerKey);
const buyer = privateKeyToAccount(`0x${"11".repeat(32)}`);
const checked = [];

async function vector({ id, requirements, paymentInfo, paymentInfoHash, payload, authorizer: orders }) {
  const payment = (balances) => new Payment({ x402Version: 2, accepted: requirements, payload }, authorizer, balances);
  assert.deepEqual(payment().info, paymentInfo, id);
  assert.equal(payment().hash, paymentInfoHash, id);
  if (payload.saltNonce !== undefined) {
    assert.equal(boundSalt(requirements.extra.receiverAuthorizer, payload.saltNonce), payload.salt, id);
  }
  if (orders !== undefined) {
    const { charge, capture, void: voided, refund } = orders;
    const { amount, expectedCapturableAmount: capturable, expectedRefundableAmount: refundable } = capture.settlePayload;
    const left = refund.settlePayload;
    const balances = { capturable: left.expectedCapturableAmount, refundable: left.expectedRefundableAmount };
    assert.deepEqual({ ...payload, ...(await payment().chargeMembers(charge.amount)) }, charge.settlePayload, id);
    const held = payment({ capturable, refundable });
    assert.deepEqual(await held.captureMembers(amount, { closeOut: true }), capture.settlePayload, id);
    assert.deepEqual(await payment().voidMembers(), voided.settlePayload, id);
    assert.deepEqual(await payment(balances).refundMembers(left.amount), left, id);
  }
  checked.push(id);
}

// A facilitator that accepts everything and records the requests.
async function credulous() {
  const requests = [];
  const app = express().use(express.json());
  const extra = { captureAuthorizer: "0x5CbDd86a2FA8Dc4bDdd8a8f69dBa48572EeC07FB" };
  const kinds = [{ x402Version: 2, scheme: "auth-capture", network: "eip155:84532", extra }];
  app.get("/supported", (_request, response) => response.json({ kinds, extensions: [], signers: {} }));
  app.post("/verify", ({ body }, response) => {
    requests.push({ verify: body });
    response.json({ isValid: true, payer: buyer.address });
  });
  app.post("/settle", ({ body }, response) => {
    requests.push({ settle: body });
    const { payload } = body.paymentPayload;
    const amount = payload.type === "void" ? "0" : (payload.amount ?? body.paymentRequirements.amount);
    const transaction = `0x${"ab".repeat(32)}`;
    response.json({ success: true, transaction, network: "eip155:84532", payer: buyer.address, amount });
  });
  const server = await new Promise((resolve) => {
    const listening = app.listen(0, "127.0.0.1", () => resolve(listening));
  });
  return { requests, server, url: `http://127.0.0.1:${server.address().port}` };
}

async function seller(facilitator, environment) {
  const script = fileURLToPath(new URL("../auth-capture-seller.mjs", import.meta.url));
  const settings = { FACILITATOR_URL: facilitator, PAY_TO: "0x2222222222222222222222222222222222222222", PRICE: "1000" };
  const child = spawn(process.execPath, [script], {
    env: { ...process.env, ...settings, AUTHORIZER_KEY: authorizerKey, ...environment },
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface(child.stdout)) return { child, ...JSON.parse(line) };
  throw new Error("the seller ended before it listened");
}

// Buys at a seller with these settings; gives the requests to the facilitator, and the merchant's payments.
async function sale(environment, query, orders = []) {
  const facilitator = await credulous();
  const shop = await seller(facilitator.url, environment);
  try {
    const client = new x402Client().register("eip155:84532", new AuthCaptureEvmScheme(buyer));
    const bought = await wrapFetchWithPayment(fetch, client)(`${shop.resource}${query}`);
    const book = () => fetch(`${shop.listening}/payments`).then((response) => response.json());
    for (const [path, body] of orders) {
      const [{ hash }] = await book();
      const headers = { "Content-Type": "application/json" };
      await fetch(`${shop.listening}/payments/${hash}/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
    }
    const sent = facilitator.requests.map(({ verify, settle }) => {
      const { paymentPayload, paymentRequirements } = verify ?? settle;
      return { verify: verify !== undefined, ...paymentPayload.payload, requirements: paymentRequirements };
    });
    const [{ capturable, refundable }] = await book();
    return { status: bought.status, sent, balances: [capturable, refundable] };
  } finally {
    shop.child.kill();
    facilitator.server.close();
  }
}

async function flows() {
  const types = ({ sent }) => sent.map(({ verify, type, authorizerSignature }) => {
    if (verify) return "verify";
    return type ?? (authorizerSignature === undefined ? "authorize" : "charge");
  });

  const metered = await sale({}, "?used=400");
  assert.deepEqual(types(metered), ["authorize", "capture"]);
  const [authorize, capture] = metered.sent;
  assert.equal(capture.amount, "400");
  assert.equal(capture.requirements.amount, "400");
  assert.equal(capture.expectedCapturableAmount, "1000");
  assert.equal(capture.signature, authorize.signature, "the buyer's payload is merged, not replaced");
  assert.equal(typeof capture.voidAuthorizerSignature, "string", "the remainder goes back");
  assert.deepEqual(metered.balances, ["0", "400"]);

  const broken = await sale({}, "?fail=1");
  assert.deepEqual([broken.status, types(broken), broken.balances], [500, ["authorize", "void"], ["0", "0"]]);

  const unused = await sale({}, "?used=0");
  assert.deepEqual([types(unused), unused.balances], [["authorize", "void"], ["0", "0"]]);

  const charge = await sale({ FLOW: "authorization", DEPLOYMENT: "v1.0", TRANSFER_METHOD: "permit2" }, "?used=300");
  assert.deepEqual([types(charge), charge.balances], [["verify", "charge"], ["0", "300"]]);
  assert.equal(charge.sent[1].feeBps, 0);

  const captures = ["100", "200"].map((amount) => ["capture", { amount }]);
  const later = [...captures, ["refund", { amount: "50" }], ["void", {}]];
  const deferred = await sale({ CAPTURE_MODE: "deferred" }, "", later);
  assert.deepEqual(types(deferred), ["authorize", "capture", "capture", "refund", "void"]);
  assert.deepEqual(deferred.balances, ["0", "250"]);
  const expected = deferred.sent.slice(1, 4).map((one) => [one.expectedCapturableAmount, one.expectedRefundableAmount]);
  assert.deepEqual(expected, [["1000", "0"], ["900", "100"], ["700", "300"]]);
  assert.deepEqual(deferred.sent[1].requirements.extra, deferred.sent[0].requirements.extra);

  const unbound = await sale({ AUTHORIZER_KEY: "" }, "");
  assert.deepEqual([types(unbound), unbound.balances], [["authorize"], ["1000", "0"]]);
  assert.equal(unbound.sent[0].requirements.extra.captureMode, "deferred");
  assert.equal(unbound.sent[0].saltNonce, undefined);
  checked.push("sync", "handler failed", "nothing used", "charge", "deferred", "unbound");
}

try {
  // Those of the earlier draft are of contracts that the shop does not offer.
  const offered = Object.values(DEPLOYMENTS).map(({ escrow }) => escrow);
  const cases = vectors.cases.filter(({ deployment }) => offered.includes(vectors.deployments[deployment].escrow));
  for (const one of cases) await vector(one);
  await flows();
  report({ checked });
} catch (error) {
  fail(error);
}

// A paid API as its operator would write it: express with the official v2 middleware. GET /weather costs PRICE atomic
// units of ASSET on eip155:84532, paid to PAY_TO, or of SOLANA_ASSET on Solana, paid to SOLANA_PAY_TO, through the
// facilitator at FACILITATOR_URL. With both addresses set, the buyer chooses the network.
// Environment: FACILITATOR_URL, and PAY_TO or SOLANA_PAY_TO or both; optional PORT (0 = any), PRICE (10000),
// MAX_TIMEOUT_SECONDS (60), FACILITATOR_TOKEN (sent as a bearer token), IDEMPOTENCY_KEY (sent with each settle);
// for EVM: NETWORK, ASSET, ASSET_NAME, ASSET_VERSION, TRANSFER_METHOD (permit2), GAS_SPONSORING (eip2612, erc20 or both
// with a comma), SCHEME (exact, or upto with PRICE as the most), SETTLE_AMOUNT (what upto takes of it);
// for Solana: SOLANA_NETWORK, SOLANA_ASSET, SOLANA_MEMO (what the buyer has to write into the payment), SOLANA_RPC_URL
// (then the price carries a recent blockhash, which saves the buyer a call).
// Prints one line of JSON when it listens: {"listening": URL}.
import express from "express";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { UptoEvmScheme } from "@x402/evm/upto/server";
import { ExactSvmScheme } from "@x402/svm/exact/server";
import { paymentMiddleware, setSettlementOverrides, x402ResourceServer } from "@x402/express";
import { declareEip2612GasSponsoringExtension, declareErc20ApprovalGasSponsoringExtension } from "@x402/extensions";
import { bearer, env, fail, listen, SOLANA_DEVNET, SOLANA_USDC } from "./common.mjs";

const amount = env("PRICE", "10000");
const scheme = env("SCHEME", "exact");
const settled = env("SETTLE_AMOUNT", "");
const common = { scheme: "exact", maxTimeoutSeconds: Number(env("MAX_TIMEOUT_SECONDS", "60")) };

function evmOffer() {
  const extra = { name: env("ASSET_NAME", "USDC"), version: env("ASSET_VERSION", "2") };
  const method = env("TRANSFER_METHOD", "");
  if (method !== "") extra.assetTransferMethod = method;
  const asset = env("ASSET", "0x036CbD53842c5426634e7929541eC2318f3dCF7e");
  return { ...common, scheme, network: env("NETWORK", "eip155:84532"), payTo: env("PAY_TO"), price: { amount, asset, extra } };
}

function solanaOffer() {
  const memo = env("SOLANA_MEMO", "");
  const extra = memo === "" ? {} : { memo };
  const asset = env("SOLANA_ASSET", SOLANA_USDC);
  const network = env("SOLANA_NETWORK", SOLANA_DEVNET);
  return { ...common, network, payTo: env("SOLANA_PAY_TO"), price: { amount, asset, extra } };
}

try {
  const facilitator = new HTTPFacilitatorClient({ url: env("FACILITATOR_URL"), createAuthHeaders: bearer() });
  const server = new x402ResourceServer(facilitator);
  const accepts = [];
  if (env("PAY_TO", "") !== "") {
    accepts.push(evmOffer());
    server.register(accepts.at(-1).network, scheme === "upto" ? new UptoEvmScheme() : new ExactEvmScheme());
  }
  if (env("SOLANA_PAY_TO", "") !== "") {
    accepts.push(solanaOffer());
    const rpcUrl = env("SOLANA_RPC_URL", "");
    server.register(accepts.at(-1).network, new ExactSvmScheme(rpcUrl === "" ? undefined : { rpcUrl }));
  }
  if (accepts.length === 0) throw new Error("set the environment variable PAY_TO or SOLANA_PAY_TO");

  const weather = { accepts, description: "The weather", mimeType: "application/json" };
  const sponsoring = env("GAS_SPONSORING", "").split(",");
  if (sponsoring.includes("eip2612")) Object.assign((weather.extensions ??= {}), declareEip2612GasSponsoringExtension());
  if (sponsoring.includes("erc20")) {
    Object.assign((weather.extensions ??= {}), declareErc20ApprovalGasSponsoringExtension());
  }

  const app = express();
  app.get("/health", (_request, response) => response.json({ status: "ok" }));
  app.use(paymentMiddleware({ "GET /weather": weather }, server));
  app.get("/weather", (_request, response) => {
    if (settled !== "") setSettlementOverrides(response, { amount: settled });
    response.json({ weather: "sunny", celsius: 21 });
  });
  await listen(app, "/weather");
} catch (error) {
  fail(error);
}

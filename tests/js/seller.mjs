// A paid API as its operator would write it: express with the official v2 middleware. GET /weather costs PRICE atomic
// units of ASSET on eip155:84532, paid to PAY_TO through the facilitator at FACILITATOR_URL.
// Environment: FACILITATOR_URL, PAY_TO; optional PORT (0 = any), PRICE (10000), NETWORK, ASSET, ASSET_NAME,
// ASSET_VERSION, TRANSFER_METHOD (permit2), GAS_SPONSORING (eip2612, erc20 or both with a comma), MAX_TIMEOUT_SECONDS
// (60), FACILITATOR_TOKEN (sent as a bearer token).
// Prints one line of JSON when it listens: {"listening": URL}.
import express from "express";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import { declareEip2612GasSponsoringExtension, declareErc20ApprovalGasSponsoringExtension } from "@x402/extensions";
import { bearer, env, fail, listen } from "./common.mjs";

try {
  const network = env("NETWORK", "eip155:84532");
  const facilitator = new HTTPFacilitatorClient({ url: env("FACILITATOR_URL"), createAuthHeaders: bearer() });
  const server = new x402ResourceServer(facilitator).register(network, new ExactEvmScheme());

  const extra = { name: env("ASSET_NAME", "USDC"), version: env("ASSET_VERSION", "2") };
  const method = env("TRANSFER_METHOD", "");
  if (method !== "") extra.assetTransferMethod = method;
  const weather = {
    accepts: {
      scheme: "exact",
      network,
      payTo: env("PAY_TO"),
      price: {
        amount: env("PRICE", "10000"),
        asset: env("ASSET", "0x036CbD53842c5426634e7929541eC2318f3dCF7e"),
        extra,
      },
      maxTimeoutSeconds: Number(env("MAX_TIMEOUT_SECONDS", "60")),
    },
    description: "The weather",
    mimeType: "application/json",
  };
  const sponsoring = env("GAS_SPONSORING", "").split(",");
  if (sponsoring.includes("eip2612")) Object.assign((weather.extensions ??= {}), declareEip2612GasSponsoringExtension());
  if (sponsoring.includes("erc20")) {
    Object.assign((weather.extensions ??= {}), declareErc20ApprovalGasSponsoringExtension());
  }

  const app = express();
  app.get("/health", (_request, response) => response.json({ status: "ok" }));
  app.use(paymentMiddleware({ "GET /weather": weather }, server));
  app.get("/weather", (_request, response) => response.json({ weather: "sunny", celsius: 21 }));
  await listen(app, "/weather");
} catch (error) {
  fail(error);
}

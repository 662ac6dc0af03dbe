// A paid API with the legacy (protocol v1) middleware, as it still runs at many sellers: GET /weather costs PRICE
// atomic units of ASSET on base-sepolia.
// Environment: FACILITATOR_URL, PAY_TO; optional PORT, PRICE, ASSET, ASSET_NAME, ASSET_VERSION, MAX_TIMEOUT_SECONDS,
// FACILITATOR_TOKEN as in seller.mjs, and NETWORK, which here is a plain name (base-sepolia; with solana-devnet the
// asset is Solana's and has no name or version).
import express from "express";
import { paymentMiddleware } from "x402-express";
import { bearer, env, fail, listen, SOLANA_USDC } from "./common.mjs";

try {
  const network = env("NETWORK", "base-sepolia");
  const onSolana = network.startsWith("solana");
  const asset = onSolana
    ? { address: env("ASSET", SOLANA_USDC), decimals: 6 }
    : {
        address: env("ASSET", "0x036CbD53842c5426634e7929541eC2318f3dCF7e"),
        decimals: 6,
        eip712: { name: env("ASSET_NAME", "USDC"), version: env("ASSET_VERSION", "2") },
      };
  const weather = {
    price: { amount: env("PRICE", "10000"), asset },
    network,
    config: {
      description: "The weather",
      mimeType: "application/json",
      maxTimeoutSeconds: Number(env("MAX_TIMEOUT_SECONDS", "60")),
    },
  };
  const facilitator = { url: env("FACILITATOR_URL"), createAuthHeaders: bearer() };

  const app = express();
  app.get("/health", (_request, response) => response.json({ status: "ok" }));
  app.use(paymentMiddleware(env("PAY_TO"), { "GET /weather": weather }, facilitator));
  app.get("/weather", (_request, response) => response.json({ weather: "sunny", celsius: 21 }));
  await listen(app, "/weather");
} catch (error) {
  fail(error);
}

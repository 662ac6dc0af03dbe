// A paid API with the legacy (protocol v1) middleware, as it still runs at many sellers: GET /weather costs PRICE
// atomic units of ASSET on base-sepolia.
// Environment: as seller.mjs (FACILITATOR_URL, PAY_TO; optional PORT, PRICE, ASSET, ASSET_NAME, ASSET_VERSION,
// MAX_TIMEOUT_SECONDS, FACILITATOR_TOKEN), but NETWORK is a plain name (base-sepolia).
import express from "express";
import { paymentMiddleware } from "x402-express";
import { bearer, env, fail, listen } from "./common.mjs";

try {
  const weather = {
    price: {
      amount: env("PRICE", "10000"),
      asset: {
        address: env("ASSET", "0x036CbD53842c5426634e7929541eC2318f3dCF7e"),
        decimals: 6,
        eip712: { name: env("ASSET_NAME", "USDC"), version: env("ASSET_VERSION", "2") },
      },
    },
    network: env("NETWORK", "base-sepolia"),
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

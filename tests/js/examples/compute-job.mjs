// A compute job with a price that is known only after it ran: $500 are held, the job ends early and uses $375, and the
// same request captures those and orders the return of $125, once the capture is final. When the job fails, all of it
// goes back.
import { setSettlementOverrides } from "@x402/express";
import { fail } from "../common.mjs";
import { buyer, dollars, report, serve, shop, usdc } from "./setup.mjs";

// captureMode `sync` is the default: what the handler says is captured when it has answered.
const { app, payments } = shop({ "POST /render": { price: "$500.00", maxTimeoutSeconds: 300 } });

app.post("/render", async (request, response) => {
  const used = await render(request.body.frames);
  setSettlementOverrides(response, { amount: used.toString() });
  response.json({ film: "https://films.example.com/1", used: dollars(used) });
});

// Fifteen cents a frame, until the film is done.
async function render(frames) {
  return usdc("0.15") * BigInt(Math.min(frames, 2_500));
}

try {
  await serve(app, async (url) => {
    const studio = buyer("$500");
    const headers = { "Content-Type": "application/json" };
    const { body, settled } = await studio(`${url}/render`, { method: "POST", headers, body: '{"frames": 3000}' });
    console.log(`${body.film} for ${body.used}, transaction ${settled.transaction}`);
    report([...payments.values()][0]);
  });
} catch (error) {
  fail(error);
}

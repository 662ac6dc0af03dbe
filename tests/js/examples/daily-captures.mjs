// A month of daily captures: $300 are held for a subscription, $10 are taken every day, and the buyer cancels after 21
// days: $210 captured, $90 back. The one signature of the first day is all that the buyer ever signs.
import { createTestClient, http, publicActions } from "viem";
import { env, fail } from "../common.mjs";
import { buyer, DAY, done, dollars, report, serve, shop, usdc } from "./setup.mjs";

const A_DAY_COSTS = usdc("10.00");

// The hold outlives the month by some days: a capture that is late by a day must not be lost.
const windows = { captureWindow: 35 * DAY, refundWindow: 60 * DAY };
const routes = { "POST /subscriptions": { price: "$300.00", extra: { captureMode: "deferred" } } };
const { app, orders, payments, scheme } = shop(routes, windows);

app.post("/subscriptions", (request, response) => {
  response.json({ subscription: scheme.paymentOf(request).hash });
});

// What a shop's nightly job does with each subscription.
async function daily(payment) {
  done(await orders.capture(payment, A_DAY_COSTS));
}

async function cancel(payment) {
  done(await orders.void(payment));
}

// On a dev chain the days are short.
const chain = createTestClient({ mode: "anvil", transport: http(env("RPC_URL")) }).extend(publicActions);
async function nextDay() {
  await chain.increaseTime({ seconds: DAY });
  await chain.mine({ blocks: 1 });
}

try {
  await serve(app, async (url) => {
    const { body } = await buyer("$300")(`${url}/subscriptions`, { method: "POST" });
    const payment = payments.get(body.subscription);
    for (let day = 1; day <= 21; day += 1) {
      await nextDay();
      await daily(payment);
    }
    console.log(`after 21 days: ${dollars(payment.refundable)} captured, ${dollars(payment.capturable)} held`);
    await cancel(payment);
    report(payment);
  });
} catch (error) {
  fail(error);
}

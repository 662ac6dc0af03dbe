// A metered agent session: the agent puts down $20 once and then sends requests without paying each time; every answer
// costs $0.50. The merchant takes what was used in batches of $5, so that many answers cost one transaction, and the
// end of the session takes the rest and returns what was never used: $12.50 captured, $7.50 back.
import { randomUUID } from "node:crypto";
import { fail } from "../common.mjs";
import { buyer, done, dollars, report, serve, shop, usdc } from "./setup.mjs";

const ANSWER = usdc("0.50");
const BATCH = usdc("5.00");

const routes = { "POST /sessions": { price: "$20.00", extra: { captureMode: "deferred" } } };
const { app, orders, scheme } = shop(routes);
const sessions = new Map();

// Reached only when the $20 are held.
app.post("/sessions", (request, response) => {
  const session = randomUUID();
  sessions.set(session, { payment: scheme.paymentOf(request), used: 0n, ordered: 0n });
  response.json({ session });
});

app.post("/sessions/:session/questions", async (request, response) => {
  const session = sessions.get(request.params.session);
  if (session === undefined) return response.status(404).json({ error: "no such session" });
  // Never answer for more than was held.
  if (session.used + ANSWER > usdc("20.00")) return response.status(402).json({ error: "used up" });
  session.used += ANSWER;
  if (session.used - session.ordered >= BATCH) await collect(session);
  return response.json({ answer: 42 });
});

app.delete("/sessions/:session", async (request, response) => {
  const session = sessions.get(request.params.session);
  sessions.delete(request.params.session);
  await collect(session, { closeOut: true });
  response.json({ used: dollars(session.payment.refundable) });
});

async function collect(session, how = {}) {
  const { payment } = session;
  const amount = session.used - session.ordered;
  // Counted before the answer, so that two requests at once don't order the same twice.
  session.ordered += amount;
  try {
    // No escrow captures zero: a session without further use ends with a void.
    if (amount > 0n) done(await orders.capture(payment, amount, how));
    else if (how.closeOut && payment.capturable > 0n) done(await orders.void(payment));
  } catch (error) {
    session.ordered -= amount;
    throw error;
  }
  console.log(`captured ${dollars(amount)}, ${dollars(payment.refundable)} so far`);
}

try {
  await serve(app, async (url) => {
    const agent = buyer("$20");
    const { body } = await agent(`${url}/sessions`, { method: "POST" });
    const { payment } = sessions.get(body.session);
    const questions = `${url}/sessions/${body.session}/questions`;
    for (let count = 0; count < 25; count += 1) await agent(questions, { method: "POST" });
    const { body: end } = await agent(`${url}/sessions/${body.session}`, { method: "DELETE" });
    console.log(`the session cost ${end.used} of $20.00`);
    report(payment);
  });
} catch (error) {
  fail(error);
}

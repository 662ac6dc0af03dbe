// Gives the merchant's orders to the facilitator, one at a time per payment: each order signs the balances that the one
// before it left.
import { HTTPFacilitatorClient } from "@x402/core/server";

// After a pending answer the request is repeated with the same bytes, which sends nothing twice.
const ATTEMPTS = 20;

export class Orders {
  #facilitator;
  #queues = new Map();

  // `facilitator`: an HTTPFacilitatorClient, or what makes one.
  constructor(facilitator) {
    this.#facilitator = facilitator.settle === undefined ? new HTTPFacilitatorClient(facilitator) : facilitator;
  }

  // Takes `amount` of what is held. With `closeOut` the remainder goes back to the buyer.
  capture(payment, amount, { closeOut = false } = {}) {
    return this.#inTurn(payment, async () => {
      const members = await payment.captureMembers(amount, { closeOut });
      const closesOut = members.voidAuthorizerSignature !== undefined || members.voidRemainder === true;
      return this.#settle(payment, members, closesOut);
    });
  }

  // Gives back all that is held.
  void(payment) {
    return this.#inTurn(payment, async () => this.#settle(payment, await payment.voidMembers()));
  }

  // Gives back what was captured or charged; the facilitator pays it under an agreement with the merchant.
  refund(payment, amount) {
    return this.#inTurn(payment, async () => this.#settle(payment, await payment.refundMembers(amount)));
  }

  async #settle(payment, members, closesOut = false) {
    const { paymentPayload, paymentRequirements } = payment.request(members);
    let reply;
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      reply = await this.#facilitator.settle(paymentPayload, paymentRequirements);
      if (reply.success || reply.errorReason !== "settlement_pending") break;
    }
    // An order that is a duplicate landed before, in the transaction that the reply names.
    const landed = reply.success || (reply.errorReason === "duplicate_settlement" && reply.transaction !== "");
    if (landed) payment.settled({ type: members.type, amount: reply.amount ?? members.amount ?? "0", closesOut });
    return reply;
  }

  #inTurn(payment, act) {
    if (!payment.bound) throw new Error("this payment is bound to no authorizer: no facilitator takes orders about it");
    const before = this.#queues.get(payment.hash) ?? Promise.resolve();
    const run = before.catch(() => {}).then(act);
    this.#queues.set(payment.hash, run);
    return run;
  }
}

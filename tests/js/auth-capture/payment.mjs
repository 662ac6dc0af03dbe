// One payment as the merchant knows it: what the buyer signed, what is still held and what can still be given back, and
// the orders for both. Amounts go in and out as decimal strings or bigints of atomic units.
//
// Keep `record` wherever you keep orders: without it a payment can be neither captured nor refunded, and after its
// capture deadline the buyer may take the money back.
import { keccak256, zeroAddress } from "viem";
import { deploymentOf, feeOf } from "./deployments.mjs";
import { order, paymentInfoHash, paymentInfoOf } from "./messages.mjs";

export class Payment {
  // `payload`: the buyer's, as it came. `authorizer`: who signs orders, any signer with `signTypedData`; without one the
  // facilitator signs for its own authenticated tenants.
  constructor(payload, authorizer, balances = { capturable: "0", refundable: "0" }) {
    this.payload = payload;
    this.authorizer = authorizer;
    this.extra = payload.accepted.extra;
    this.deployment = deploymentOf(this.extra);
    this.chainId = Number(payload.accepted.network.split(":")[1]);
    this.info = paymentInfoOf(payload);
    this.hash = paymentInfoHash(this.chainId, this.deployment.escrow, this.info);
    this.capturable = BigInt(balances.capturable);
    this.refundable = BigInt(balances.refundable);
  }

  // Whether the buyer bound the payment to an authorizer; without one no orders can be given through a facilitator.
  get bound() {
    return this.payload.payload.saltNonce !== undefined && !isZero(this.extra.receiverAuthorizer);
  }

  // The request to a facilitator that gives an order.
  request(members) {
    return { paymentPayload: { ...this.payload, payload: members }, paymentRequirements: this.payload.accepted };
  }

  // Charging instead of holding: completes the buyer's payload.
  async chargeMembers(amount) {
    const { payload, deployment, extra } = this;
    const method = payload.payload.permit2Authorization === undefined ? "eip3009" : "permit2";
    const members = { amount: String(amount), ...feeOf(deployment, extra, amount), feeReceiver: extra.feeRecipient };
    const signed = {
      ...members,
      tokenCollector: deployment.collectors[method],
      collectorDataHash: keccak256(payload.payload.signature),
    };
    return { ...members, ...(await this.#signature("authorizerSignature", "Charge", signed)) };
  }

  // `closeOut` gives the remainder back to the buyer once the capture is final.
  async captureMembers(amount, { closeOut = false } = {}) {
    const { deployment, extra } = this;
    const members = {
      amount: String(amount),
      ...feeOf(deployment, extra, amount),
      feeReceiver: extra.feeRecipient,
      ...this.#expected(),
    };
    const remains = BigInt(amount) < this.capturable;
    return {
      type: "capture",
      ...this.#named(),
      ...members,
      ...(await this.#signature("authorizerSignature", "Capture", members)),
      ...(closeOut && remains ? await this.#closeOut() : {}),
    };
  }

  async voidMembers() {
    return { type: "void", ...this.#named(), ...(await this.#signature("authorizerSignature", "Void", {})) };
  }

  async refundMembers(amount) {
    const members = { amount: String(amount), ...this.#expected() };
    const signed = { ...members, tokenCollector: this.deployment.refundCollector };
    const signature = await this.#signature("authorizerSignature", "Refund", signed);
    return { type: "refund", ...this.#named(), ...members, ...signature };
  }

  // What a settled order did to the balances. A close-out happens after the reply, and only if the capture lands.
  settled({ type, amount, closesOut = false }) {
    const moved = BigInt(amount);
    if (type === "authorize") this.capturable = moved;
    if (type === "charge") this.refundable = moved;
    if (type === "capture") {
      this.capturable = closesOut ? 0n : this.capturable - moved;
      this.refundable += moved;
    }
    if (type === "void") this.capturable = 0n;
    if (type === "refund") this.refundable -= moved;
  }

  // All that a restart needs; `Payment.restore` reads it.
  get record() {
    const { payload, hash, info } = this;
    const balances = { capturable: this.capturable.toString(), refundable: this.refundable.toString() };
    return { hash, ...balances, paymentInfo: info, payload };
  }

  static restore({ payload, capturable, refundable }, authorizer) {
    return new Payment(payload, authorizer, { capturable, refundable });
  }

  #named() {
    return { paymentInfo: this.info, saltNonce: this.payload.payload.saltNonce };
  }

  #expected() {
    return {
      expectedCapturableAmount: this.capturable.toString(),
      expectedRefundableAmount: this.refundable.toString(),
    };
  }

  async #closeOut() {
    if (this.authorizer === undefined) return { voidRemainder: true };
    return this.#signature("voidAuthorizerSignature", "Void", {});
  }

  async #signature(member, primaryType, members) {
    if (this.authorizer === undefined) return {};
    const where = { chainId: this.chainId, operator: this.info.operator, deployment: this.deployment };
    const typedData = order(primaryType, where, { paymentInfoHash: this.hash, ...members });
    return { [member]: await this.authorizer.signTypedData(typedData) };
  }
}

function isZero(address) {
  return address === undefined || address === zeroAddress;
}

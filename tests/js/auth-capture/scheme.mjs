// The seller's half of scheme `auth-capture` on EVM, for x402ResourceServer: prices a route, completes charges, captures
// or gives back after the route's handler, and keeps every payment. The official packages have the buyer's half only;
// this one is Switchyard's.
//
// A route chooses in its `extra`: paymentFlow (`escrow` holds, `authorization` charges), captureMode (`sync` captures
// when the handler is done, `deferred` leaves it to the merchant), assetTransferMethod, authCaptureEscrow, and for an
// operator contract operatorType and captureAuthorizer.
import { decodePaymentSignatureHeader } from "@x402/core/http";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { zeroAddress } from "viem";
import { DEPLOYMENTS } from "./deployments.mjs";
import { Payment } from "./payment.mjs";

const FLOWS = { supported: ["escrow", "authorization"], default: "escrow" };
// How long a buyer may think about an offer before its deadlines are too old.
const OFFER_SECONDS = 600;
// These move with the clock; a buyer signs those of the offer that it received.
const DEADLINES = ["captureDeadline", "refundDeadline"];

export class AuthCaptureServerScheme {
  scheme = "auth-capture";
  defaultAssetTransferMethod = "eip3009";
  paymentFlows = { eip3009: FLOWS, permit2: FLOWS };
  dynamicExtraFields = DEADLINES;
  #prices = new ExactEvmScheme();
  #options;

  // `payments`: a Map that receives every Payment under its hash. `authorizer`: the merchant's signing key for orders;
  // without one, `bind` uses the facilitator's. Windows in seconds from the offer on.
  constructor({ payments, authorizer, bind = authorizer !== undefined, captureWindow = 86_400, refundWindow = 604_800 }) {
    this.#options = { payments, authorizer, bind, captureWindow, refundWindow };
  }

  // The payment of a paid request, for its handler; undefined when nothing was held or charged for it yet.
  paymentOf(request) {
    const payload = decodePaymentSignatureHeader(request.header("PAYMENT-SIGNATURE"));
    return this.#options.payments.get(new Payment(payload, undefined).hash);
  }

  parsePrice(price, network) {
    return this.#prices.parsePrice(price, network);
  }

  getAssetDecimals(asset, network) {
    return this.#prices.getAssetDecimals(asset, network);
  }

  async enhancePaymentRequirements(requirements, kind) {
    const { authorizer, bind, captureWindow, refundWindow } = this.#options;
    const own = requirements.extra;
    const custom = own.operatorType === "custom";
    const theirs = kind.extra ?? {};
    const receiverAuthorizer = bind && !custom ? (authorizer?.address ?? theirs.receiverAuthorizer) : undefined;
    if (bind && !custom && receiverAuthorizer === undefined) {
      throw new Error("the facilitator signs no orders (no receiverAuthorizer in /supported): give an authorizer");
    }
    const now = Math.floor(Date.now() / 1000);
    const extra = {
      authCaptureEscrow: DEPLOYMENTS["v1.1"].escrow,
      captureAuthorizer: theirs.captureAuthorizer,
      captureDeadline: now + captureWindow,
      refundDeadline: now + refundWindow,
      assetTransferMethod: this.defaultAssetTransferMethod,
      paymentFlow: FLOWS.default,
      feeRecipient: zeroAddress,
      minFeeBps: 0,
      maxFeeBps: 0,
      ...own,
      ...(receiverAuthorizer === undefined ? {} : { receiverAuthorizer }),
      // A facilitator with fee terms takes no others for what it operates itself.
      ...(custom ? {} : feeTerms(theirs)),
    };
    // No key could sign the order for a capture right after the handler.
    if (extra.paymentFlow === "escrow" && receiverAuthorizer === undefined) extra.captureMode = "deferred";
    return { ...requirements, extra };
  }

  schemeHooks = {
    onBeforeVerify: async (context) => honourOffer(context),

    onBeforeSettle: async (context) => {
      const refused = honourOffer(context);
      if (refused !== undefined) return refused;
      const { captureMode, paymentFlow } = context.requirements.extra;
      if (context.phase !== "after-handler" || paymentFlow !== "escrow" || captureMode !== "deferred") return undefined;
      // The hold was placed before the handler; the rest is the merchant's business, later.
      return { skip: true, result: this.#known(context).held };
    },

    onAfterSettle: async ({ paymentPayload, requirements, phase, result }) => {
      const charged = requirements.extra.paymentFlow === "authorization";
      if (phase === "before-handler" || charged) {
        const payment = this.#payment({ paymentPayload, requirements });
        payment.held = result;
        payment.settled({ type: charged ? "charge" : "authorize", amount: result.amount ?? requirements.amount });
        this.#options.payments.set(payment.hash, payment);
      } else if (requirements.extra.captureMode !== "deferred" || phase === "cancel") {
        const type = givesAllBack(requirements, phase) ? "void" : "capture";
        const settled = { type, amount: result.amount ?? requirements.amount, closesOut: true };
        this.#known({ paymentPayload, requirements }).settled(settled);
      }
    },
  };

  // Core merges this into the buyer's payload, whose members it lets no scheme replace. A field, because core calls it
  // without its object.
  enrichSettlementPayload = async (context) => {
    const { requirements, phase } = context;
    if (requirements.extra.paymentFlow === "authorization") {
      return this.#payment(context).chargeMembers(requirements.amount);
    }
    if (phase === "before-handler") return undefined;
    const payment = this.#known(context);
    const { saltNonce: _already, ...members } = givesAllBack(requirements, phase)
      ? await payment.voidMembers()
      : await payment.captureMembers(requirements.amount, { closeOut: true });
    return members;
  };

  // The handler failed: what is held goes back at once, where a key can order it.
  async settleOnCancel(context) {
    return this.#known(context).bound ? context.requirements : undefined;
  }

  // On our requirements, not on the buyer's copy of them, which may say more; but at the amount that was signed, because
  // a route may settle less.
  #payment({ paymentPayload, requirements }) {
    const accepted = { ...requirements, amount: paymentPayload.accepted.amount };
    return new Payment({ ...paymentPayload, accepted }, this.#options.authorizer);
  }

  #known(context) {
    const { hash } = this.#payment(context);
    const payment = this.#options.payments.get(hash);
    if (payment === undefined) throw new Error(`payment ${hash} was never held here`);
    return payment;
  }
}

// The handler failed, or used nothing: no escrow captures zero.
function givesAllBack(requirements, phase) {
  return phase === "cancel" || requirements.amount === "0";
}

function feeTerms({ feeRecipient, minFeeBps, maxFeeBps }) {
  return feeRecipient === undefined ? {} : { feeRecipient, minFeeBps, maxFeeBps };
}

// The buyer signed the deadlines of an earlier offer; they become those of these requirements unless they are too old
// or, which would be the buyer's own, later than any offer.
function honourOffer({ paymentPayload, requirements }) {
  const signed = paymentPayload.accepted.extra;
  for (const name of DEADLINES) {
    const age = requirements.extra[name] - signed[name];
    if (!Number.isInteger(age) || age < 0 || age > OFFER_SECONDS) {
      const reason = "invalid_auth_capture_evm_deadline_ordering";
      return { abort: true, reason, message: `the offer's ${name} is over` };
    }
  }
  for (const name of DEADLINES) requirements.extra[name] = signed[name];
  return undefined;
}

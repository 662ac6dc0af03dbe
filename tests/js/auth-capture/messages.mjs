// What is hashed and signed: the payment itself, the binding of a payment to the merchant's key, and the merchant's
// orders (charge, capture, void, refund) as EIP-712 typed data for that key.
import { encodeAbiParameters, keccak256, parseAbiParameters, stringToHex, zeroAddress } from "viem";

const PAYMENT_INFO =
  "address operator,address payer,address receiver,address token,uint120 maxAmount,uint48 preApprovalExpiry,uint48 " +
  "authorizationExpiry,uint48 refundExpiry,uint16 minFeeBps,uint16 maxFeeBps,address feeReceiver,uint256 salt";
const SALT_BINDING = "address receiverAuthorizer,address policy,uint256 saltNonce";

const typehash = (name, members) => keccak256(stringToHex(`${name}(${members})`));
const encode = (types, values) => keccak256(encodeAbiParameters(parseAbiParameters(types), values));

// The payment that a buyer's signed payload is about, as the escrow and the lifecycle requests spell it.
export function paymentInfoOf({ accepted, payload }) {
  const { extra } = accepted;
  const signed = payload.authorization ?? payload.permit2Authorization;
  return {
    operator: extra.captureAuthorizer,
    payer: signed.from,
    receiver: accepted.payTo,
    token: accepted.asset,
    maxAmount: accepted.amount,
    preApprovalExpiry: Number(signed.validBefore ?? signed.deadline),
    authorizationExpiry: extra.captureDeadline,
    refundExpiry: extra.refundDeadline,
    minFeeBps: extra.minFeeBps,
    maxFeeBps: extra.maxFeeBps,
    feeReceiver: extra.feeRecipient,
    salt: payload.salt,
  };
}

// The payment's name in the escrow and in every order.
export function paymentInfoHash(chainId, escrow, info) {
  const members = { ...info, maxAmount: BigInt(info.maxAmount), salt: BigInt(info.salt) };
  const names = PAYMENT_INFO.split(",").map((member) => member.split(" ")[1]);
  const values = [typehash("PaymentInfo", PAYMENT_INFO), ...names.map((name) => members[name])];
  const struct = encode(`bytes32,${PAYMENT_INFO}`, values);
  return encode("uint256,address,bytes32", [BigInt(chainId), escrow, struct]);
}

// The salt that a buyer has to use so that only `receiverAuthorizer` can give orders.
export function boundSalt(receiverAuthorizer, saltNonce) {
  const values = [typehash("x402AuthCaptureSaltBinding", SALT_BINDING), receiverAuthorizer, zeroAddress];
  return encode(`bytes32,${SALT_BINDING}`, [...values, BigInt(saltNonce)]);
}

const HASH = { name: "paymentInfoHash", type: "bytes32" };
const AMOUNT = { name: "amount", type: "uint256" };
const COLLECTOR = { name: "tokenCollector", type: "address" };
const FEE_RECEIVER = { name: "feeReceiver", type: "address" };
// Both balances are signed so that an order is good once: after any move the pair never comes again.
const EXPECTED = [
  { name: "expectedCapturableAmount", type: "uint256" },
  { name: "expectedRefundableAmount", type: "uint256" },
];

const ORDERS = {
  Charge: (fee) => [HASH, AMOUNT, COLLECTOR, { name: "collectorDataHash", type: "bytes32" }, fee, FEE_RECEIVER],
  Capture: (fee) => [HASH, AMOUNT, fee, FEE_RECEIVER, ...EXPECTED],
  Void: () => [HASH],
  Refund: () => [HASH, AMOUNT, COLLECTOR, ...EXPECTED],
};

// Typed data of an order, ready for any EIP-712 signer. `members`: by the names above, numbers as decimal strings.
export function order(primaryType, { chainId, operator, deployment }, members) {
  const fields = ORDERS[primaryType](deployment.fee);
  const integer = (type) => type.startsWith("uint") && type !== "uint16";
  const message = Object.fromEntries(
    fields.map(({ name, type }) => [name, integer(type) ? BigInt(members[name]) : members[name]]),
  );
  return {
    domain: { name: "x402 Auth Capture Operator", version: "1", chainId, verifyingContract: operator },
    types: { [primaryType]: fields },
    primaryType,
    message,
  };
}

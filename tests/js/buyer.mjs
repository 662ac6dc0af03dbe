// A buyer with the official v2 client: fetches the URL given as argument and pays when asked to.
// Environment: BUYER_KEY (0x-prefixed private key); optional NETWORK (eip155:84532), RPC_URL (needed only for Permit2
// approvals). Prints one line of JSON: {status, ok, body, payment: the decoded PAYMENT-RESPONSE or null, required: the
// decoded PAYMENT-REQUIRED of a refused payment or null}. Exit code 0 when an HTTP answer arrived, whatever its status.
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { decodePaymentRequiredHeader } from "@x402/core/http";
import { privateKeyToAccount } from "viem/accounts";
import { body, env, fail, report } from "./common.mjs";

try {
  const url = process.argv[2];
  if (url === undefined) throw new Error("usage: BUYER_KEY=0x… node buyer.mjs URL");
  const account = privateKeyToAccount(env("BUYER_KEY"));
  const rpcUrl = env("RPC_URL", "");
  const scheme = new ExactEvmScheme(account, rpcUrl === "" ? undefined : { rpcUrl });
  const client = new x402Client().register(env("NETWORK", "eip155:84532"), scheme);

  const response = await wrapFetchWithPayment(fetch, client)(url);
  const settled = response.headers.get("PAYMENT-RESPONSE");
  const required = response.headers.get("PAYMENT-REQUIRED");
  report({
    status: response.status,
    ok: response.ok,
    payer: account.address,
    body: await body(response),
    payment: settled === null ? null : decodePaymentResponseHeader(settled),
    required: required === null ? null : decodePaymentRequiredHeader(required),
  });
} catch (error) {
  fail(error);
}

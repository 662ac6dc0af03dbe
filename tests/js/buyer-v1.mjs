// A buyer with the legacy (protocol v1) client: fetches the URL given as argument and pays when the answer is 402.
// Environment: BUYER_KEY (0x and hex, or base58 for Solana); optional NETWORK (base-sepolia; solana-devnet for Solana),
// MAX_VALUE (atomic units it is willing to pay, 100000), SOLANA_RPC_URL, without which a Solana buyer uses the public
// network.
// Prints one line of JSON: {status, ok, payer, body, payment: the decoded X-PAYMENT-RESPONSE or null}. Exit code 0 when
// an HTTP answer arrived, whatever its status.
import { createSigner, decodeXPaymentResponse, wrapFetchWithPayment } from "x402-fetch";
import { body, env, fail, report } from "./common.mjs";

try {
  const url = process.argv[2];
  if (url === undefined) throw new Error("usage: BUYER_KEY=0x… node buyer-v1.mjs URL");
  const signer = await createSigner(env("NETWORK", "base-sepolia"), env("BUYER_KEY"));
  const rpcUrl = env("SOLANA_RPC_URL", "");
  const config = rpcUrl === "" ? undefined : { svmConfig: { rpcUrl } };
  const most = BigInt(env("MAX_VALUE", "100000"));

  const response = await wrapFetchWithPayment(fetch, signer, most, undefined, config)(url);
  const settled = response.headers.get("X-PAYMENT-RESPONSE");
  report({
    status: response.status,
    ok: response.ok,
    payer: signer.account?.address ?? signer.address,
    body: await body(response),
    payment: settled === null ? null : decodeXPaymentResponse(settled),
  });
} catch (error) {
  fail(error);
}

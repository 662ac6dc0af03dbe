// A buyer with the official v2 client: fetches the URL given as argument and pays when the answer is 402, on a network
// that it has a key for.
// Environment: BUYER_KEY (EVM, 0x and hex) or SOLANA_KEY (base58 of 32 or 64 bytes) or both; optional NETWORK
// (eip155:84532), RPC_URL (needed only for Permit2 approvals), SOLANA_NETWORK (that of Solana's devnet) and
// SOLANA_RPC_URL, without which the client uses the public network; MAX_DOLLARS, the most that one payment may take (1).
// With WALLET (an address) a contract wallet pays, for which BUYER_KEY signs; FACTORY and FACTORY_CALLDATA: it is not deployed
// yet, and this deploys it (ERC-6492); OWNER_INDEX: it wraps its owners' signatures as WrappingWallet.sol does.
// With both keys it takes the seller's first offer. On EVM it pays with scheme exact, upto or auth-capture.
// Prints one line of JSON: {status, ok, payer, body, payment: the decoded PAYMENT-RESPONSE or null, required: the
// decoded PAYMENT-REQUIRED of a refused payment or null}. Exit code 0 when an HTTP answer arrived, whatever its status.
import { AuthCaptureEvmScheme } from "@x402/evm/auth-capture/client";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { UptoEvmScheme } from "@x402/evm/upto/client";
import { ExactSvmScheme } from "@x402/svm/exact/client";
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { decodePaymentRequiredHeader } from "@x402/core/http";
import { encodeAbiParameters, hashTypedData, keccak256, serializeErc6492Signature, toHex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { body, env, fail, report, SOLANA_DEVNET, solanaSigner } from "./common.mjs";

// A signer whose address is the wallet's, and whose signatures are what the wallet accepts.
function contractWallet(key) {
  const [address, index, factory] = [env("WALLET", ""), env("OWNER_INDEX", ""), env("FACTORY", "")];
  const message = (hash) => {
    const type = keccak256(toHex("WalletMessage(address wallet,bytes32 hash)"));
    const members = [{ type: "bytes32" }, { type: "address" }, { type: "bytes32" }];
    return keccak256(encodeAbiParameters(members, [type, address, hash]));
  };
  const wrapped = async (hash) => {
    const signature = await key.sign({ hash: message(hash) });
    return encodeAbiParameters([{ type: "uint256" }, { type: "bytes" }], [BigInt(index), signature]);
  };
  return {
    address,
    signTypedData: async (typed) => {
      const hash = hashTypedData(typed);
      const signature = index === "" ? await key.sign({ hash }) : await wrapped(hash);
      if (factory === "") return signature;
      return serializeErc6492Signature({ address: factory, data: env("FACTORY_CALLDATA", ""), signature });
    },
  };
}

try {
  const url = process.argv[2];
  const [evmKey, solanaKey] = [env("BUYER_KEY", ""), env("SOLANA_KEY", "")];
  if (url === undefined || evmKey + solanaKey === "") {
    throw new Error("usage: BUYER_KEY=0x… node buyer.mjs URL, or SOLANA_KEY=… SOLANA_RPC_URL=… node buyer.mjs URL");
  }
  const client = new x402Client();
  const payers = [];
  if (solanaKey !== "") {
    const signer = await solanaSigner(solanaKey);
    const rpcUrl = env("SOLANA_RPC_URL", "");
    const scheme = new ExactSvmScheme(signer, rpcUrl === "" ? undefined : { rpcUrl });
    client.register(env("SOLANA_NETWORK", SOLANA_DEVNET), scheme);
    payers.push(signer.address);
  }
  if (evmKey !== "") {
    const key = privateKeyToAccount(evmKey);
    const account = env("WALLET", "") === "" ? key : contractWallet(key);
    const rpcUrl = env("RPC_URL", "");
    const options = rpcUrl === "" ? undefined : { rpcUrl };
    const network = env("NETWORK", "eip155:84532");
    client.register(network, new ExactEvmScheme(account, options));
    client.register(network, new UptoEvmScheme(account, options));
    client.register(network, new AuthCaptureEvmScheme(account));
    payers.push(account.address);
  }
  client.setSpendControls({ maxAmountPerPayment: `$${env("MAX_DOLLARS", "1")}` });

  const response = await wrapFetchWithPayment(fetch, client)(url);
  const settled = response.headers.get("PAYMENT-RESPONSE");
  const required = response.headers.get("PAYMENT-REQUIRED");
  const payment = settled === null ? null : decodePaymentResponseHeader(settled);
  report({
    status: response.status,
    ok: response.ok,
    payer: payers.length === 1 ? payers[0] : payment?.payer,
    body: await body(response),
    payment,
    required: required === null ? null : decodePaymentRequiredHeader(required),
  });
} catch (error) {
  fail(error);
}

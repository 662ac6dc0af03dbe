// The official facilitator as an HTTP server, as its README assembles it, on EVM and Solana networks. `cargo xtask bench`
// measures it beside ours. The first argument names a JSON file:
// {"port": 1, "networks": [{"network": "eip155:1", "rpc": "http://…", "key": "0x…"}]}
import { readFile } from "node:fs/promises";

import { x402Facilitator } from "@x402/core/facilitator";
import { toFacilitatorEvmSigner } from "@x402/evm";
import { registerExactEvmScheme } from "@x402/evm/exact/facilitator";
import { toFacilitatorSvmSigner } from "@x402/svm";
import { registerExactSvmScheme } from "@x402/svm/exact/facilitator";
import express from "express";
import { createWalletClient, defineChain, http, publicActions } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import * as known from "viem/chains";

import { fail, solanaSigner } from "./common.mjs";

const EVM = "eip155:";

function chainOf(id) {
  const chain = Object.values(known).find((one) => one.id === id);
  const currency = { name: "Ether", symbol: "ETH", decimals: 18 };
  return chain ?? defineChain({ id, name: `chain ${id}`, nativeCurrency: currency, rpcUrls: { default: { http: [] } } });
}

function signerOf({ network, rpc, key }) {
  const account = privateKeyToAccount(key);
  const chain = chainOf(Number(network.slice(EVM.length)));
  const client = createWalletClient({ account, chain, transport: http(rpc) }).extend(publicActions);
  return toFacilitatorEvmSigner({
    address: account.address,
    getCode: (args) => client.getCode(args),
    readContract: (args) => client.readContract({ ...args, args: args.args ?? [] }),
    verifyTypedData: (args) => client.verifyTypedData(args),
    writeContract: (args) => client.writeContract({ ...args, args: args.args ?? [] }),
    sendTransaction: (args) => client.sendTransaction(args),
    waitForTransactionReceipt: (args) => client.waitForTransactionReceipt(args),
  });
}

async function start() {
  const settings = JSON.parse(await readFile(process.argv[2], "utf8"));
  const facilitator = new x402Facilitator();
  for (const one of settings.networks) {
    if (one.network.startsWith(EVM)) {
      registerExactEvmScheme(facilitator, { signer: signerOf(one), networks: one.network });
    } else {
      const signer = toFacilitatorSvmSigner(await solanaSigner(one.key), { defaultRpcUrl: one.rpc });
      registerExactSvmScheme(facilitator, { signer, networks: one.network });
    }
  }
  const app = express();
  app.use(express.json());
  const answer = (method) => async (request, response) => {
    const { paymentPayload, paymentRequirements } = request.body;
    try {
      response.json(await facilitator[method](paymentPayload, paymentRequirements));
    } catch (error) {
      response.status(500).json({ error: error instanceof Error ? error.message : String(error) });
    }
  };
  app.post("/verify", answer("verify"));
  app.post("/settle", answer("settle"));
  app.get("/supported", (_request, response) => response.json(facilitator.getSupported()));
  app.listen(settings.port, "127.0.0.1");
}

start().catch(fail);

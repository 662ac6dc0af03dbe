// Sends the Solana dev chain the requests that facilitators and clients send to a validator, through @solana/kit, and
// lets the official facilitator settle a payment of the official client on it: whatever the chain answers has to suit
// both.
// Environment: SOLANA_RPC_URL, SOLANA_KEY (a buyer's, base58), FEE_PAYER_KEY (base58), PAY_TO (with a token account).
// Prints one line of JSON with what was observed; any surprise is an error.
import assert from "node:assert/strict";
import { x402Facilitator } from "@x402/core/facilitator";
import { ExactSvmScheme as ClientScheme } from "@x402/svm/exact/client";
import { ExactSvmScheme as FacilitatorScheme } from "@x402/svm/exact/facilitator";
import { toFacilitatorSvmSigner } from "@x402/svm";
import { fetchMint, fetchToken, findAssociatedTokenPda, TOKEN_PROGRAM_ADDRESS } from "@solana-program/token";
import { address, createSolanaRpc, signature as asSignature } from "@solana/kit";
import { env, fail, report, SOLANA_DEVNET, SOLANA_USDC, solanaSigner } from "./common.mjs";

const AMOUNT = 10_000n;

async function tokens(rpc, owner) {
  const seeds = { owner: address(owner), tokenProgram: TOKEN_PROGRAM_ADDRESS, mint: address(SOLANA_USDC) };
  const [account] = await findAssociatedTokenPda(seeds);
  const token = await fetchToken(rpc, account, { commitment: "processed" });
  const { value } = await rpc.getTokenAccountBalance(account, { commitment: "processed" }).send();
  assert.equal(BigInt(value.amount), token.data.amount);
  return token.data.amount;
}

function refused(code) {
  return (error) => error.context?.__code === code;
}

try {
  const rpcUrl = env("SOLANA_RPC_URL");
  const rpc = createSolanaRpc(rpcUrl);
  const buyer = await solanaSigner(env("SOLANA_KEY"));
  const feePayer = await solanaSigner(env("FEE_PAYER_KEY"));
  const payTo = env("PAY_TO");

  // The chain itself.
  assert.equal(await rpc.getHealth().send(), "ok");
  const { "solana-core": version } = await rpc.getVersion().send();
  const genesis = await rpc.getGenesisHash().send();
  assert.equal(`solana:${genesis.slice(0, 32)}`, SOLANA_DEVNET);
  const slots = {};
  for (const commitment of ["finalized", "confirmed", "processed"]) {
    slots[commitment] = await rpc.getSlot({ commitment }).send();
    assert.ok((await rpc.getBlockHeight({ commitment }).send()) < slots[commitment]);
  }
  assert.ok(slots.finalized < slots.processed);
  const { value: latest } = await rpc.getLatestBlockhash({ commitment: "confirmed" }).send();
  assert.ok(latest.lastValidBlockHeight > (await rpc.getBlockHeight({ commitment: "processed" }).send()));
  assert.equal((await rpc.isBlockhashValid(latest.blockhash, { commitment: "confirmed" }).send()).value, true);
  assert.ok((await rpc.getRecentPrioritizationFees().send()).length > 0);
  await assert.rejects(rpc.getSlot({ minContextSlot: 1_000_000_000n }).send(), refused(-32016));

  // Accounts.
  const mint = await fetchMint(rpc, address(SOLANA_USDC));
  assert.equal(mint.data.decimals, 6);
  assert.equal(await rpc.getMinimumBalanceForRentExemption(165n).send(), 2_039_280n);
  const lamports = (await rpc.getBalance(feePayer.address, { commitment: "processed" }).send()).value;
  assert.equal((await rpc.getBalance(buyer.address).send()).value, 0n);
  const several = [feePayer.address, address("11111111111111111111111111111112")];
  const { value: accounts } = await rpc.getMultipleAccounts(several, { encoding: "base64" }).send();
  assert.deepEqual([typeof accounts[0].lamports, accounts[1]], ["bigint", null]);
  const before = { buyer: await tokens(rpc, buyer.address), seller: await tokens(rpc, payTo) };

  // A payment of the official client, which fetches the mint and a blockhash.
  const requirements = {
    scheme: "exact",
    network: SOLANA_DEVNET,
    asset: SOLANA_USDC,
    amount: AMOUNT.toString(),
    payTo,
    maxTimeoutSeconds: 60,
    extra: { feePayer: feePayer.address },
  };
  const created = await new ClientScheme(buyer, { rpcUrl }).createPaymentPayload(2, requirements);
  const payload = { x402Version: 2, accepted: requirements, payload: created.payload };
  const wire = payload.payload.transaction;

  // No key has signed for the fee payer yet.
  const simulate = { encoding: "base64", sigVerify: false, commitment: "confirmed", innerInstructions: true };
  const { value: simulated } = await rpc.simulateTransaction(wire, simulate).send();
  assert.equal(simulated.err, null);
  assert.ok(simulated.unitsConsumed > 0n && simulated.logs.length > 0);
  const verifying = { encoding: "base64", sigVerify: true, commitment: "confirmed" };
  assert.equal((await rpc.simulateTransaction(wire, verifying).send()).value.err, "SignatureFailure");
  await assert.rejects(rpc.sendTransaction(wire, { encoding: "base64" }).send(), refused(-32002));

  // The official facilitator verifies, co-signs, sends and confirms it.
  const signer = toFacilitatorSvmSigner(feePayer, { defaultRpcUrl: rpcUrl });
  const facilitator = new x402Facilitator().register(SOLANA_DEVNET, new FacilitatorScheme(signer));
  const verified = await facilitator.verify(payload, requirements);
  assert.deepEqual([verified.isValid, verified.payer], [true, buyer.address], JSON.stringify(verified));
  const settled = await facilitator.settle(payload, requirements);
  assert.equal(settled.success, true, JSON.stringify(settled));

  // And the chain says so everywhere.
  const signature = asSignature(settled.transaction);
  const { value: statuses } = await rpc.getSignatureStatuses([signature], { searchTransactionHistory: true }).send();
  assert.equal(statuses[0].err, null);
  assert.match(statuses[0].confirmationStatus, /^(confirmed|finalized)$/);
  const options = { commitment: "confirmed", maxSupportedTransactionVersion: 0, encoding: "json" };
  const found = await rpc.getTransaction(signature, options).send();
  assert.equal(Number(found.version), 0);
  assert.equal(found.meta.err, null);
  assert.equal(found.meta.fee, lamports - (await rpc.getBalance(feePayer.address, { commitment: "processed" }).send()).value);
  assert.equal(found.meta.postTokenBalances.length, 2);
  await assert.rejects(rpc.getTransaction(signature, { commitment: "confirmed" }).send(), refused(-32015));
  const listed = await rpc.getSignaturesForAddress(buyer.address, { commitment: "confirmed" }).send();
  assert.equal(listed[0].signature, signature);
  assert.equal(await tokens(rpc, buyer.address), before.buyer - AMOUNT);
  assert.equal(await tokens(rpc, payTo), before.seller + AMOUNT);

  report({ version, signature, fee: found.meta.fee, units: found.meta.computeUnitsConsumed });
} catch (error) {
  fail(error);
}

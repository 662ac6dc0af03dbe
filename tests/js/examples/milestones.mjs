// Milestones with an arbiter: a client puts down $900 for three milestones, in escrow under a contract that neither side
// controls. The agency announces a milestone and is paid after an hour, unless the client disputes: then the arbiter
// decides. Here the first milestone is paid, the second is disputed, and the arbiter grants half of it: $450 captured,
// $450 back.
// OPERATOR: the contract, an ArbiterOperator (tests/contracts/EscrowOperator.sol), which the facilitator has to admit.
import { readFileSync } from "node:fs";
import { createTestClient, http, parseEther, publicActions, walletActions } from "viem";
import { baseSepolia } from "viem/chains";
import { env, fail } from "../common.mjs";
import { buyer, dollars, serve, shop, usdc } from "./setup.mjs";

const operator = env("OPERATOR");
const MILESTONE = usdc("300.00");

// The money's rules are the contract's: no authorizer, no orders, and nothing to capture over HTTP.
const terms = { operatorType: "custom", captureAuthorizer: operator, captureMode: "deferred" };
const { app, payments, scheme } = shop({ "POST /projects": { price: "$900.00", extra: terms } });

app.post("/projects", (request, response) => {
  response.json({ project: scheme.paymentOf(request).hash });
});

// The three talk to the contract with wallets of their own. On a dev chain a client may act for them, and gas is free.
const file = new URL("../../contracts/artifacts/ArbiterOperator.json", import.meta.url);
const { abi } = JSON.parse(readFileSync(file, "utf8"));
const chain = createTestClient({ mode: "anvil", chain: baseSepolia, transport: http(env("RPC_URL")) })
  .extend(publicActions)
  .extend(walletActions);

function party(account) {
  return async (functionName, payment, ...more) => {
    await chain.impersonateAccount({ address: account });
    await chain.setBalance({ address: account, value: parseEther("1") });
    const info = { ...payment.info, maxAmount: BigInt(payment.info.maxAmount), salt: BigInt(payment.info.salt) };
    const call = { account, address: operator, abi, functionName, args: [info, ...more] };
    // Throws with the contract's own error where it would refuse.
    await chain.simulateContract(call);
    const hash = await chain.writeContract(call);
    await chain.waitForTransactionReceipt({ hash });
  };
}

async function anHour() {
  await chain.increaseTime({ seconds: 3_600 });
  await chain.mine({ blocks: 1 });
}

try {
  await serve(app, async (url) => {
    const { body } = await buyer("$900")(`${url}/projects`, { method: "POST" });
    const payment = payments.get(body.project);
    const [agency, client] = [party(payment.info.receiver), party(payment.info.payer)];
    const arbiter = party(await chain.readContract({ address: operator, abi, functionName: "arbiter" }));

    await agency("announce", payment, MILESTONE);
    await anHour();
    await agency("release", payment);
    console.log(`first milestone: ${dollars(MILESTONE)}`);

    await agency("announce", payment, MILESTONE);
    await client("dispute", payment);
    await anHour();
    const outcome = await agency("release", payment).then(
      () => "paid",
      (error) => error.message.match(/InDispute/)?.[0] ?? error.message,
    );
    console.log(`second milestone: ${outcome}`);
    await arbiter("decide", payment, MILESTONE / 2n);
    console.log(`the arbiter grants ${dollars(MILESTONE / 2n)} and returns the rest`);
    console.log(JSON.stringify({ hash: payment.hash }));
  });
} catch (error) {
  fail(error);
}

// The escrow contracts that an auth-capture payment can live in, and what differs between them: the addresses, and how a
// capture states its fee (`feeBps`: basis points; `feeAmount`: atomic units). Same addresses on every chain.
import { getAddress } from "viem";

export const DEPLOYMENTS = {
  "v1.1": {
    escrow: "0xf96815976523E00e65Be8f34cA5e64b4f41EB19c",
    collectors: {
      eip3009: "0x8612dfdc421f80336cd14E8EF9cb1E765dB5ab88",
      permit2: "0xD69831Aed5bfe262067ec4c751f4F830EcdD446e",
    },
    refundCollector: "0x7a03443724d14798c4AB4622F1DAAcA761Fea486",
    fee: { name: "feeAmount", type: "uint256" },
  },
  "v1.0": {
    escrow: "0xBdEA0D1bcC5966192B070Fdf62aB4EF5b4420cff",
    collectors: {
      eip3009: "0x0E3dF9510de65469C4518D7843919c0b8C7A7757",
      permit2: "0x992476B9Ee81d52a5BdA0622C333938D0Af0aB26",
    },
    refundCollector: "0x934907bffd0901b6A21e398B9C53A4A38F02fa5d",
    fee: { name: "feeBps", type: "uint16" },
  },
};

// Of the escrow that the requirements name; without one it is the newest.
export function deploymentOf(extra) {
  const escrow = extra.authCaptureEscrow;
  if (escrow === undefined || escrow === "") return DEPLOYMENTS["v1.1"];
  const found = Object.values(DEPLOYMENTS).find((one) => one.escrow === getAddress(escrow));
  if (found === undefined) throw new Error(`authCaptureEscrow ${escrow} is none of the escrows in deployments.mjs`);
  return found;
}

// The fee of an amount as its capture or charge submits it: the least that the terms allow.
export function feeOf(deployment, extra, amount) {
  const { name } = deployment.fee;
  if (name === "feeBps") return { [name]: extra.minFeeBps };
  return { [name]: ((BigInt(amount) * BigInt(extra.minFeeBps)) / 10_000n).toString() };
}

// What an operator may change, with what exactly happens. The texts follow the handbook's page "Operation".

import { signal } from "@preact/signals";
import type { Client } from "./api.ts";
import type { Done, Network, Payment, Role, Tenant } from "./types.ts";

export interface Field {
  name: string;
  label: string;
  kind: "text" | "line" | "scopes";
  hint?: string;
  pattern?: string;
}

export interface Action {
  title: string;
  /** What happens, a sentence each. */
  effects: string[];
  /** The texts that the action is about, as they came. */
  about: [string, string][];
  fields: Field[];
  verb: string;
  needs: Role;
  run: (client: Client, values: Record<string, string>) => Promise<Done>;
}

/** The action whose dialog is open. */
export const asked = signal<Action | null>(null);

const REASON: Field = {
  name: "reason",
  label: "Reason",
  kind: "text",
  hint: "For operators only, kept in the journal for good. Callers do not see it.",
};

const kinds = (network: Network | null, scheme: string | null): [string, string][] => [
  ["Network", network ? `${network.title} (${network.id})` : "every network"],
  ["Scheme", scheme ?? "every scheme"],
];

export function pause(network: Network | null, scheme: string | null): Action {
  return {
    title: network ? (scheme ? "Pause a scheme" : "Pause a network") : "Pause everything",
    effects: [
      "New payments of these kinds get HTTP 503, and /supported omits the kinds.",
      "Recorded payments continue: they are observed, their bids are raised, and their outcome is answered.",
      "It lasts until an operator resumes it, across restarts.",
    ],
    about: kinds(network, scheme),
    fields: [REASON],
    verb: "Pause",
    needs: "operate",
    run: (client, values) => client.change("pause", { ...kind(network, scheme), reason: values["reason"] ?? "" }),
  };
}

export function resume(network: string | null, title: string | null, scheme: string | null): Action {
  return {
    title: "Resume",
    effects: ["The pause of these kinds is lifted, and new payments are accepted again. Drained signers stay drained."],
    about: [
      ["Network", title ?? network ?? "every network"],
      ["Scheme", scheme ?? "every scheme"],
    ],
    fields: [],
    verb: "Resume",
    needs: "operate",
    run: (client) => client.change("resume", { ...(network ? { network } : {}), ...(scheme ? { scheme } : {}) }),
  };
}

/** Without a network or a scheme, the listener lifts every pause, drained signers among them. */
export function resumeAll(): Action {
  return {
    title: "Resume everything",
    effects: ["Every pause is lifted, and every drained signer gets new payments again."],
    about: [],
    fields: [],
    verb: "Resume everything",
    needs: "operate",
    run: (client) => client.change("resume", {}),
  };
}

export function drain(network: Network, signer: string): Action {
  return {
    title: "Drain a signer",
    effects: [
      "This signer gets no new payments. It finishes those that it has.",
      "New payments use the network's other signers. If there is none, new payments of the network are refused.",
    ],
    about: [
      ["Network", `${network.title} (${network.id})`],
      ["Signer", signer],
    ],
    fields: [REASON],
    verb: "Drain",
    needs: "operate",
    run: (client, values) => client.change("drain", { network: network.id, signer, reason: values["reason"] ?? "" }),
  };
}

export function undrain(network: string, title: string, signer: string): Action {
  return {
    title: "Use a drained signer again",
    effects: ["This signer gets new payments again."],
    about: [
      ["Network", `${title} (${network})`],
      ["Signer", signer],
    ],
    fields: [],
    verb: "Use it again",
    needs: "operate",
    run: (client) => client.change("undrain", { network, signer }),
  };
}

export function reload(): Action {
  return {
    title: "Reload plugins and tenants",
    effects: [
      "The configuration file and the plugin files are read again.",
      "Plugins and tenants that have changed are replaced. Payments in flight continue.",
      "If something is wrong with the new ones, everything serves as before.",
    ],
    about: [],
    fields: [],
    verb: "Reload",
    needs: "operate",
    run: (client) => client.change("reload", {}),
  };
}

const ofPayment = (payment: Payment): [string, string][] => [
  ["Payment", payment.id],
  ["Status", payment.status],
];

export function sync(payment: Payment): Action {
  return {
    title: "Read a payment from the chain",
    effects: ["Its transactions are read from the chain now, and not at the next poll. Nothing is sent."],
    about: ofPayment(payment),
    fields: [],
    verb: "Read now",
    needs: "operate",
    run: (client) => client.change("sync", { payment: payment.id }),
  };
}

export function annotate(payment: Payment): Action {
  return {
    title: "Annotate a payment",
    effects: ["The text becomes a part of the payment's history, with your name, for good. Its outcome stays as it is."],
    about: ofPayment(payment),
    fields: [{ name: "text", label: "Text", kind: "text" }],
    verb: "Annotate",
    needs: "operate",
    run: (client, values) => client.change("annotate", { payment: payment.id, text: values["text"] ?? "" }),
  };
}

export function allowRelease(payment: Payment): Action {
  return {
    title: "Allow a withheld release",
    effects: [
      "The next equal request of this payment gets success. The seller then delivers.",
      "Its release is withheld because the journal may be an old copy: make sure that no success was answered before.",
      "This can't be taken back.",
    ],
    about: ofPayment(payment),
    fields: [],
    verb: "Allow the release",
    needs: "money",
    run: (client) => client.change("allow-release", { payment: payment.id }),
  };
}

export function addTenant(): Action {
  return {
    title: "Add a tenant",
    effects: ["A tenant with a new API key can call this facilitator at once. The key is shown once."],
    about: [],
    fields: [
      { name: "name", label: "Name", kind: "line", pattern: "[A-Za-z0-9_\\-]+", hint: "Letters, digits, - and _." },
      { name: "scopes", label: "What it may call", kind: "scopes" },
    ],
    verb: "Add the tenant",
    needs: "money",
    run: (client, values) => {
      const scopes = (values["scopes"] ?? "").split(" ").filter((scope) => scope !== "");
      return client.change("tenants/add", { name: values["name"] ?? "", scopes });
    },
  };
}

export function rotateTenant(tenant: Tenant): Action {
  return {
    title: "Make a new API key",
    effects: [
      "The tenant gets a further API key, which is shown once.",
      "Its older keys stay valid until you retire them.",
    ],
    about: [["Tenant", tenant.name]],
    fields: [],
    verb: "Make a key",
    needs: "money",
    run: (client) => client.change("tenants/rotate", { name: tenant.name }),
  };
}

export function retireTenant(tenant: Tenant): Action {
  return {
    title: "Retire older API keys",
    effects: ["Only the newest key of the tenant stays valid. A caller with an older one gets HTTP 401 from now on."],
    about: [
      ["Tenant", tenant.name],
      ["Valid keys now", String(tenant.keys)],
    ],
    fields: [],
    verb: "Retire older keys",
    needs: "money",
    run: (client) => client.change("tenants/retire", { name: tenant.name }),
  };
}

function kind(network: Network | null, scheme: string | null): Record<string, string> {
  return { ...(network ? { network: network.id } : {}), ...(scheme ? { scheme } : {}) };
}

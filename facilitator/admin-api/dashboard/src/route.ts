// Which view is open. The address has a fragment only, which is never sent to the listener.

import { signal } from "@preact/signals";
import { encoded } from "./text.ts";

export interface Route {
  view: "overview" | "payments" | "payment" | "log";
  /** The payment's name, or the network to scroll to. */
  name: string;
  query: URLSearchParams;
}

export function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [view, ...rest] = path.split("/");
  const name = decoded(rest.join("/"));
  const of = (view: Route["view"]): Route => ({ view, name, query: new URLSearchParams(query) });
  if (view === "payments") return of("payments");
  if (view === "payment" && name !== "") return of("payment");
  if (view === "log") return of("log");
  return { view: "overview", name: view === "network" ? name : "", query: new URLSearchParams() };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const paymentHref = (name: string): string => `#/payment/${encoded(name)}`;
export const networkHref = (id: string): string => `#/network/${encoded(id)}`;

export const route = signal<Route>(parse(window.location.hash));

export function startRouting(): void {
  window.addEventListener("hashchange", () => {
    route.value = parse(window.location.hash);
  });
}

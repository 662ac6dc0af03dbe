// What the page knows. Everything is in memory: a closed or reloaded page has forgotten the token. A browser writes its
// sessionStorage to disk when it restores windows; its password manager may keep the token, if the operator wants that.

import { computed, effect, signal } from "@preact/signals";
import { ApiError, Client, said } from "./api.ts";
import { backoff } from "./lines.ts";
import type { Network, Overview, Role, Series } from "./types.ts";

export type Live =
  | { is: "connecting" }
  | { is: "live" }
  | { is: "broken"; why: string; retryAtMs: number };

export const client = signal<Client | null>(null);
/** Why there is no client any more. */
export const signedOutBecause = signal<string | null>(null);
export const overview = signal<Overview | null>(null);
export const series = signal<Series | null>(null);
export const live = signal<Live>({ is: "connecting" });
/** When the newest overview arrived, by the clock of this browser. */
export const receivedMs = signal(0);
/** The clock of this browser, once a second. */
export const nowMs = signal(Date.now());

/** The listener's clock, as far as it is known: ages do not depend on the clock of this browser. */
export const serverMs = computed(() => {
  const newest = overview.value;
  return newest ? newest.atMs + Math.max(0, nowMs.value - receivedMs.value) : nowMs.value;
});

const RANK: Record<Role, number> = { view: 0, operate: 1, money: 2 };

/** Whether the token may do what needs this role. */
export function may(role: Role): boolean {
  const mine = overview.value?.role;
  return mine !== undefined && (RANK[mine] ?? 0) >= RANK[role];
}

export function networkOf(id: string | null | undefined): Network | undefined {
  return overview.value?.networks.find((network) => network.id === id);
}

export async function signIn(token: string): Promise<void> {
  const candidate = new Client(token);
  took(await candidate.overview());
  signedOutBecause.value = null;
  client.value = candidate;
}

export function signOut(why: string | null): void {
  client.value = null;
  overview.value = null;
  series.value = null;
  signedOutBecause.value = why;
}

/** Handles a refused token wherever it is noticed. Returns whether it was one. */
export function noticed(error: unknown): boolean {
  if (!(error instanceof ApiError) || error.status !== 401) return false;
  signOut("The token is not accepted any more. Paste a valid one.");
  return true;
}

function took(newest: Overview): void {
  overview.value = newest;
  receivedMs.value = Date.now();
  nowMs.value = Date.now();
}

let retryNow: (() => void) | null = null;

/** Tries again at once instead of at the end of the pause. */
export function reconnect(): void {
  retryNow?.();
}

async function keepLive(with_: Client, signal: AbortSignal): Promise<void> {
  let attempt = 0;
  while (!signal.aborted) {
    let wait: number;
    let why: string;
    try {
      await with_.follow((newest) => {
        attempt = 0;
        took(newest);
        if (live.value.is !== "live") live.value = { is: "live" };
      }, signal);
    } catch (error) {
      if (signal.aborted || noticed(error)) return;
      const atLeast = error instanceof ApiError && error.retryAfterS !== null ? error.retryAfterS * 1000 : 0;
      wait = Math.max(atLeast, backoff(attempt, Math.random()));
      why = said(error);
      attempt += 1;
      live.value = { is: "broken", why, retryAtMs: Date.now() + wait };
      await pause(wait, signal);
    }
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      retryNow = null;
      resolve();
    };
    const timer = setTimeout(end, ms);
    retryNow = end;
    signal.addEventListener("abort", end, { once: true });
  });
}

const SERIES_PERIOD_MS = 30_000;

async function keepSeries(with_: Client, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const newest = await with_.series();
      if (!signal.aborted) series.value = newest;
    } catch (error) {
      // The stream says that the listener is away; the plots stay as they were.
      if (noticed(error)) return;
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, SERIES_PERIOD_MS);
      signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
  }
}

export function start(): void {
  setInterval(() => {
    nowMs.value = Date.now();
  }, 1000);
  window.addEventListener("online", reconnect);
  effect(() => {
    const with_ = client.value;
    if (!with_) return undefined;
    const stop = new AbortController();
    live.value = { is: "connecting" };
    void keepLive(with_, stop.signal);
    void keepSeries(with_, stop.signal);
    return () => stop.abort();
  });
}

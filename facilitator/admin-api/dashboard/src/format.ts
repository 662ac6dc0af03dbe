// Numbers and times for people. Amounts are decimal strings of atomic units and stay integers (BigInt): no float ever holds one.

import type { Totals } from "./types.ts";

const DIGITS = /^-?[0-9]{1,100}$/;

/** Digits in groups of three: `1,234,567`. What is no number is returned as it is. */
export function grouped(digits: string | number): string {
  const text = String(digits);
  if (!DIGITS.test(text)) return text;
  return BigInt(text)
    .toString()
    .replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** An amount of atomic units in units, rounded down to `places` decimals: `0.0412`. Small amounts keep two digits that count. */
export function units(atomic: string, decimals: number, places = 4): string {
  if (!DIGITS.test(atomic) || !Number.isInteger(decimals) || decimals < 0 || decimals > 80) return atomic;
  const value = BigInt(atomic);
  const sign = value < 0n ? "-" : "";
  const digits = (value < 0n ? -value : value).toString().padStart(decimals + 1, "0");
  const whole = grouped(digits.slice(0, digits.length - decimals));
  const fraction = decimals === 0 ? "" : digits.slice(-decimals);
  const leading = /^0*/.exec(fraction)?.[0].length ?? 0;
  const keep = whole === "0" && leading >= places ? leading + 2 : places;
  const shown = fraction.slice(0, keep).replace(/0+$/, "");
  return `${sign}${whole}${shown === "" ? "" : `.${shown}`}`;
}

/** How much of the limit is used, in whole percent, at most 999. */
export function percentUsed(spent: string, limit: string): number | null {
  if (!DIGITS.test(spent) || !DIGITS.test(limit)) return null;
  const all = BigInt(limit);
  if (all <= 0n) return null;
  const used = (BigInt(spent) * 100n) / all;
  return Number(used > 999n ? 999n : used);
}

/** `12 s`, `3 min`, `2 h 05 min`, `4 d 2 h`. */
export function age(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min`;
  const h = Math.floor(min / 60);
  if (h < 24) return min % 60 === 0 ? `${h} h` : `${h} h ${String(min % 60).padStart(2, "0")} min`;
  const d = Math.floor(h / 24);
  return h % 24 === 0 ? `${d} d` : `${d} d ${h % 24} h`;
}

/** A duration of milliseconds: `340 ms`, `1.8 s`, `2 min`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  return age(ms / 1000);
}

/** How long a balance lasts. */
export function days(count: number): string {
  if (count > 999) return "> 999 days";
  if (count === 0) return "< 1 day";
  return count === 1 ? "1 day" : `${count} days`;
}

export function bytes(count: number): string {
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let at = 0;
  while (value >= 1024 && at < names.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at === 0 || value >= 100 ? Math.floor(value) : (Math.floor(value * 10) / 10).toFixed(1)} ${names[at] ?? ""}`;
}

/** The settled part of the payments that have an outcome, rounded down: 100 % means that none failed. */
export function successRate(totals: Totals): string | null {
  const bad = totals.failed + totals.expired + totals.reversed;
  const all = totals.settled + bad;
  if (all === 0) return null;
  const hundredths = Math.floor((totals.settled * 10_000) / all);
  if (hundredths === 10_000) return "100 %";
  return `${Math.floor(hundredths / 100)}.${String(hundredths % 100).padStart(2, "0")} %`;
}

/** `03:12:07`, in UTC. */
export function clock(ms: number): string {
  return iso(ms).slice(11, 19);
}

/** `2026-12-01 03:12:07`, in UTC. */
export function dateTime(ms: number): string {
  return iso(ms).slice(0, 19).replace("T", " ");
}

function iso(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? "????-??-??T??:??:??" : date.toISOString();
}

/** `1 payment`, `2 payments`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${grouped(count)} ${count === 1 ? one : many}`;
}

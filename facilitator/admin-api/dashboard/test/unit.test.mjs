// Formatting: amounts, ages, texts from outside, lines of the stream.

import assert from "node:assert/strict";
import test from "node:test";
import * as format from "../node_modules/.unit/format.js";
import { Lines, MAX_LINE, backoff } from "../node_modules/.unit/lines.js";
import { coarser } from "../node_modules/.unit/steps.js";
import * as text from "../node_modules/.unit/text.js";
import { EMOJI, LONG, NUL, RTL, totals } from "./states.mjs";

test("amounts keep every digit, however large they are", () => {
  assert.equal(format.grouped("115792089237316195423570985008687907853269984665640564039457584007913129639935").at(-1), "5");
  assert.equal(format.grouped("9007199254740993"), "9,007,199,254,740,993");
  assert.equal(format.units("9007199254740993000000000000000001", 18), "9,007,199,254,740,993");
  assert.equal(format.units("1234567", 6, 6), "1.234567");
  assert.equal(format.units("1999999", 6), "1.9999");
  assert.equal(format.units("0", 18), "0");
  assert.equal(format.units("7", 0), "7");
  assert.equal(format.units("-1500000", 6), "-1.5");
});

test("small amounts do not become zero", () => {
  assert.equal(format.units("41000000000000", 18), "0.000041");
  assert.equal(format.units("1", 18), "0.000000000000000001");
  assert.equal(format.units("123456", 18), "0.00000000000012");
});

test("what is no amount is returned as it is", () => {
  for (const no of ["", "1e21", "0x10", "1.5", "NaN", " 1", "9".repeat(101)]) {
    assert.equal(format.grouped(no), no);
    assert.equal(format.units(no, 6), no);
  }
  assert.equal(format.units("5", -1), "5");
  assert.equal(format.units("5", 1e9), "5");
});

test("a budget's part is rounded down and bounded", () => {
  assert.equal(format.percentUsed("999", "1000"), 99);
  assert.equal(format.percentUsed("1", "0"), null);
  assert.equal(format.percentUsed("10".padEnd(80, "0"), "1"), 999);
  assert.equal(format.percentUsed("x", "1"), null);
});

test("a rate of 100 % means that nothing failed", () => {
  assert.equal(format.successRate(totals(1_000_000, 1)), "99.99 %");
  assert.equal(format.successRate(totals(5, 0)), "100 %");
  assert.equal(format.successRate(totals(0, 3)), "0.00 %");
  assert.equal(format.successRate(totals(0, 0)), null);
  assert.equal(format.successRate(totals(1, 0, { expired: 1, reversed: 2 })), "25.00 %");
});

test("ages and durations", () => {
  const ages = [[-5, "0 s"], [59.9, "59 s"], [60, "1 min"], [3_600, "1 h"], [7_500, "2 h 05 min"], [86_400, "1 d"], [352_800, "4 d 2 h"]];
  for (const [seconds, shown] of ages) assert.equal(format.age(seconds), shown);
  assert.equal(format.duration(340), "340 ms");
  assert.equal(format.duration(1_899), "1.8 s");
  assert.equal(format.duration(125_000), "2 min");
  assert.equal(format.days(0), "< 1 day");
  assert.equal(format.days(1), "1 day");
  assert.equal(format.days(18446744073709551615), "> 999 days");
  assert.equal(format.dateTime(Date.UTC(2026, 11, 1, 3, 12, 7)), "2026-12-01 03:12:07");
  assert.equal(format.clock(Number.NaN), "??:??:??");
  assert.equal(format.bytes(1_023), "1023 B");
  assert.equal(format.bytes(1_536), "1.5 KiB");
  assert.equal(format.counted(1, "problem"), "1 problem");
  assert.equal(format.counted(1_200, "problem"), "1,200 problems");
});

test("what changes the order or hides in a text is written down", () => {
  assert.equal(text.visible(RTL), "0xabc\\u{202e}\\u{2066}cba\\u{2069}fdp.exe\\u{200b}");
  assert.equal(text.visible(NUL), "before\\u{0}after\\u{1b}[31m\\u{d800}");
  assert.equal(text.visible("a\u2028b\nc\u00adtag\u{e0041}"), "a\\u{2028}b\\u{a}c\\u{ad}tag\\u{e0041}");
});

test("letters of every language and emoji stay", () => {
  for (const kept of [EMOJI, "Grüße, 東京, שלום, नमस्ते", "🇪🇺 👍🏽"]) assert.equal(text.visible(kept), kept);
});

test("a joiner that joins no emoji is written down", () => {
  assert.equal(text.visible("pay\u200dpal"), "pay\\u{200d}pal");
});

test("long texts are cut, and no character is halved", () => {
  assert.equal(text.cut("short", 5), null);
  assert.equal(text.cut(LONG, 160).length, 160);
  assert.equal(text.cut("ab😀", 3), "ab");
  assert.equal(text.shortId("0x9965507d1a55bcc2695c58ba16fb37d819b0a4dc"), "0x996550…b0a4dc");
  assert.equal(text.shortId("short"), null);
});

test("only an address that a browser may open becomes an explorer's link", () => {
  assert.equal(text.explorerLink("https://scan.example/tx/{}", "0xa/../b?c"), "https://scan.example/tx/0xa%2F..%2Fb%3Fc");
  assert.equal(text.explorerLink("https://scan.example/tx/{}", "$&"), "https://scan.example/tx/%24%26");
  for (const bad of ["javascript:alert(1)//{}", "data:text/html,{}", "//scan.example/{}", "https://scan.example/", "", null, undefined]) {
    assert.equal(text.explorerLink(bad, "0xa"), null);
  }
  assert.equal(text.explorerLink("https://scan.example/tx/{}", ""), null);
  assert.equal(text.encoded(`${NUL}/😀`), "before%00after%1B%5B31m%EF%BF%BD%2F%F0%9F%98%80");
});

test("lines arrive in pieces, and one without an end is refused", () => {
  const lines = new Lines();
  assert.deepEqual(lines.add('{"a"'), []);
  assert.deepEqual(lines.add(':1}\n\n{"b":2}\n{'), ['{"a":1}', '{"b":2}']);
  assert.deepEqual(lines.add("}\n"), ["{}"]);
  assert.throws(() => lines.add("x".repeat(MAX_LINE + 1)));
});

test("pauses between attempts grow to 30 s, and differ between pages", () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 50].map((attempt) => backoff(attempt, 0.5)), [1e3, 2e3, 4e3, 8e3, 16e3, 30e3, 30e3]);
  assert.equal(backoff(0, 0), 800);
  assert.equal(backoff(9, 1), 36_000);
});

test("steps are put together without losing a payment or the worst time", () => {
  const of = { id: "n", settled: [1, 2, 3, 4, 5], failed: [0, 0, 1, 0, 0], pending: [0, 0, 0, 0, 9], p95Ms: [5, 9, null, null, 7] };
  const two = { fromMs: 100, stepMs: 20, settled: [3, 7, 5], failed: [0, 1, 0], pending: [0, 0, 9], p95Ms: [9, null, 7] };
  assert.deepEqual(coarser(100, 10, of, 3), two);
  assert.deepEqual(coarser(100, 10, of, 72).settled, of.settled);
  assert.deepEqual(coarser(100, 10, { id: "n", settled: [], failed: [], pending: [], p95Ms: [] }, 72).settled, []);
});

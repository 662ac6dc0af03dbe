// A server that answers as the admin listener does, from `states.mjs`, with the listener's headers and the built files.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import * as states from "./states.mjs";

const ASSETS = new URL("../../assets/", import.meta.url);
const FILES = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/assets/app.js": ["app.js", "text/javascript; charset=utf-8"],
  "/assets/app.css": ["app.css", "text/css; charset=utf-8"],
  "/assets/favicon.svg": ["favicon.svg", "image/svg+xml"],
};

/** The policy as facilitator/admin-api/src/reply.rs sends it. A test compares them. */
export const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "x-frame-options": "DENY",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
};

export const TOKEN = "sw_test_4d1c9a";

/** Starts one on a free port. `set` changes the state, `cut` breaks all streams, `calls` has every request to the API. */
export async function listen(state = states.well) {
  const it = {
    state: state(),
    token: TOKEN,
    /** Whether new streams are accepted. */
    streams: true,
    calls: [],
    /** Answers of the next changes: [status, body]. */
    answers: {},
    payments: Array.from({ length: 120 }, (_, at) => states.payment(at)),
    history: states.history(),
  };
  const open = new Set();
  const server = createServer((request, response) => {
    void answer(it, open, request, response).catch(() => response.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  it.url = `http://127.0.0.1:${server.address().port}/`;
  const line = (response) => response.write(`${JSON.stringify({ ...it.state, atMs: Date.now() })}\n`);
  const timer = setInterval(() => open.forEach(line), 2000);
  it.line = line;
  it.set = (make) => {
    it.state = make();
    open.forEach(line);
  };
  it.cut = () => open.forEach((response) => response.destroy());
  it.close = () => {
    clearInterval(timer);
    it.cut();
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return it;
}

async function answer(it, open, request, response) {
  const url = new URL(request.url, it.url);
  const json = (status, body, more = {}) => {
    response.writeHead(status, { ...HEADERS, "content-type": "application/json", ...more });
    response.end(JSON.stringify(body));
  };
  const file = FILES[url.pathname];
  if (file && request.method === "GET") {
    response.writeHead(200, { ...HEADERS, "content-type": file[1] });
    response.end(await readFile(new URL(file[0], ASSETS)));
    return;
  }
  let body = "";
  for await (const piece of request) body += piece;
  it.calls.push({ method: request.method, path: url.pathname, query: url.search, headers: request.headers, body });
  if (request.headers.authorization !== `Bearer ${it.token}`) {
    json(401, { error: "send the header Authorization: Bearer and one of the tokens of [[operators]]" }, { "www-authenticate": "Bearer" });
    return;
  }
  const path = url.pathname.replace(/^\/api\//, "");
  if (request.method === "POST") {
    const [status, answered] = it.answers[path] ?? [200, { done: [`done: ${path} ${body}`] }];
    json(status, answered, status === 429 ? { "retry-after": "7" } : {});
    return;
  }
  if (path === "overview") json(200, { ...it.state, atMs: Date.now() });
  else if (path === "series") json(200, states.series());
  else if (path === "log") json(200, states.acts());
  else if (path === "payments") json(200, page(it, url.searchParams));
  else if (path.startsWith("payments/")) {
    const name = decodeURIComponent(path.slice("payments/".length));
    const found = it.payments.filter((one) => [one.id, one.claim].includes(name));
    if (found.length === 0) json(404, { error: "no payment has this id, transaction or claim" });
    else json(200, { payments: found.map((one) => ({ ...one, history: it.history })) });
  } else if (path === "stream") {
    if (!it.streams) {
      json(503, { error: "too many streams are open; close a page" });
      return;
    }
    response.writeHead(200, { ...HEADERS, "content-type": "application/x-ndjson; charset=utf-8" });
    open.add(response);
    response.on("close", () => open.delete(response));
    it.line(response);
  } else json(404, { error: "there is no such path" });
}

function page(it, query) {
  const is = (name, value) => !query.get(name) || query.get(name) === value;
  const all = it.payments.filter(
    (one) =>
      is("status", one.status) && is("network", one.network) && is("tenant", one.tenant) && is("payer", one.payer) && is("payee", one.payTo) && is("q", one.id),
  );
  const from = Number(query.get("cursor") ?? 0);
  const limit = Number(query.get("limit") ?? 50);
  const next = from + limit;
  return { payments: all.slice(from, next), cursor: next < all.length ? String(next) : null };
}

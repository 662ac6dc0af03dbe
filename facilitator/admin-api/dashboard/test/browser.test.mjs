// The built page in headless Chromium, against a server that answers as the admin listener does, under the listener's policy.
//
// CHROMIUM names the browser. With SCREENSHOTS, the first viewports are written to that folder. With ADMIN_URL and ADMIN_TOKEN, the
// first viewport is also tested against a facilitator that runs: one with a signer that can't pay, a dead node, and a plugin in
// quarantine.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { after, afterEach, before, test } from "node:test";
import puppeteer from "puppeteer-core";
import { TOKEN, listen as start } from "./listener.mjs";
import * as states from "./states.mjs";

const AXE = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const CHROMIUM = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path));
const PHONE = { width: 390, height: 844 };
const DESK = { width: 1280, height: 800 };
const VIEWS = ["#/", "#/payments", "#/payment/claim-0", "#/log"];

let browser;
before(async () => {
  assert.ok(CHROMIUM, "no Chromium was found: set CHROMIUM to its path");
  browser = await puppeteer.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
});
after(() => browser?.close());

// Also after a failure: an open server would keep this process alive.
const opened = [];
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});
async function listen(state) {
  const it = await start(state);
  opened.push(it);
  return it;
}

/** A new page, which records what breaks the policy and what is thrown. */
async function open(url, { size = DESK, scheme = "light", token = TOKEN, view = "#/", motion = "reduce" } = {}) {
  const context = await browser.createBrowserContext();
  opened.unshift(context);
  const page = await context.newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(`thrown: ${error.message}`));
  page.on("console", (message) => {
    const text = message.text();
    // A status of an answer and a broken connection are parts of some tests.
    if (message.type() === "error" && !/Failed to load resource|net::ERR/.test(text)) wrong.push(`console: ${text}`);
  });
  await page.evaluateOnNewDocument(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
  });
  await page.setViewport(size);
  await page.emulateMediaFeatures([
    { name: "prefers-color-scheme", value: scheme },
    { name: "prefers-reduced-motion", value: motion },
  ]);
  await page.goto(url + view);
  await page.waitForSelector("#token");
  if (token) await signIn(page, token);
  return {
    page,
    /** Fails if something was thrown, or broke the policy, until now. */
    async clean() {
      assert.deepEqual(await page.evaluate(() => window.violations), []);
      assert.deepEqual(wrong, []);
    },
  };
}

async function signIn(page, token) {
  await page.type("#token", token);
  await page.keyboard.press("Enter");
  await page.waitForSelector(".top", { timeout: 15_000 });
}

async function go(page, view) {
  await page.evaluate((to) => (window.location.hash = to), view);
  const ready = view.startsWith("#/payment/") ? ".timeline li" : view === "#/" ? ".problems h1" : ".table tbody tr";
  await page.waitForSelector(ready, { timeout: 15_000 });
}

const text = (page, selector) => page.$eval(selector, (element) => element.textContent);
const bodyText = (page) => page.evaluate(() => document.body.innerText);

/** Waits until a function of the page's text is true. */
async function until(page, what, condition, ms = 15_000) {
  const end = Date.now() + ms;
  let last = "";
  while (Date.now() < end) {
    last = await bodyText(page);
    if (condition(last)) return last;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return assert.fail(`${what}; the page has: ${last.slice(0, 600)}`);
}

async function button(page, name) {
  const found = await page.evaluateHandle(
    (wanted) => [...document.querySelectorAll("button")].find((one) => (one.getAttribute("aria-label") ?? one.textContent).trim() === wanted) ?? null,
    name,
  );
  const element = found.asElement();
  assert.ok(element, `there is no button ${name}`);
  return element;
}

async function axe(page, where) {
  await page.evaluate(AXE);
  const faults = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 200)} ${node.failureSummary}`).join(" | ")}`);
  });
  assert.deepEqual(faults, [], where);
}

/** The title follows what is shown a moment later. */
async function titled(page, title) {
  await page.waitForFunction((wanted) => document.title === wanted, { timeout: 15_000 }, title);
}

/** What of each problem can be seen without scrolling, in one piece and not covered. */
function seen(page) {
  return page.$$eval(".problem", (items) =>
    items.map((item) => {
      const all = item.querySelector(".what");
      const inside = [item, item.querySelector(".network"), all].every((element) => {
        const box = element.getBoundingClientRect();
        return box.width > 0 && box.height > 0 && box.left >= 0 && box.top >= 0 && box.right <= window.innerWidth && box.bottom <= window.innerHeight;
      });
      const covered = [...all.querySelectorAll("*")].some((element) =>
        [...element.getClientRects()].some((box) => {
          const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
          return !top || !item.contains(top);
        }),
      );
      return { inside, covered, network: item.querySelector(".network").textContent, text: item.innerText.replace(/\s+/g, " ") };
    }),
  );
}

const TROUBLE = [
  { network: /Polygon/, cause: /node rpc\.polygon\.example: connection refused/, more: /Critical.*eip155:137.*SwitchyardNetworkNotReady/ },
  { network: /Base/, cause: /signer 0x9965507d1a55bcc2695c58ba16fb37d819b0a4dc: can't pay for a transaction/, more: /Critical.*eip155:8453.*SwitchyardSignerCannotPay/ },
  { network: /Solana/, cause: /plugin svm: in quarantine: its process ended with SIGSEGV/, more: /Warning.*A plugin is in quarantine/ },
];

for (const size of [PHONE, DESK]) {
  for (const scheme of ["light", "dark"]) {
    test(`the first viewport at ${size.width} names network and cause of each problem (${scheme})`, async () => {
      const it = await listen(states.trouble);
      const tab = await open(it.url, { size, scheme });
      const problems = await seen(tab.page);
      assert.equal(problems.length, TROUBLE.length);
      for (const [at, { network, cause, more }] of TROUBLE.entries()) {
        const { inside, covered, network: named, text: shown } = problems[at];
        assert.ok(inside, `not in the first viewport: ${shown}`);
        assert.ok(!covered, `covered: ${shown}`);
        assert.match(named, network);
        assert.match(shown, cause);
        assert.match(shown, more);
      }
      await titled(tab.page, "(3) Switchyard");
      if (process.env.SCREENSHOTS) await tab.page.screenshot({ path: `${process.env.SCREENSHOTS}/dashboard-${size.width}-${scheme}.png` });
      await tab.clean();
    });
  }
}

const REAL = process.env.ADMIN_URL;
test("a facilitator in trouble: the first viewport names network and cause of each problem", { skip: !REAL && "ADMIN_URL is not set" }, async () => {
  for (const [size, scheme] of [[PHONE, "light"], [DESK, "dark"]]) {
    const tab = await open(REAL.endsWith("/") ? REAL : `${REAL}/`, { size, scheme, token: process.env.ADMIN_TOKEN });
    const networks = await tab.page.$$eval("article[data-network] h3", (all) => all.map((one) => one.querySelector("bdi").textContent));
    const problems = await seen(tab.page);
    for (const cause of [/node \S+: \S+/, /signer \S+: can't pay/, /plugin \S+: .*(process|quarantine)/]) {
      const problem = problems.find(({ text: shown }) => cause.test(shown));
      assert.ok(problem, `${cause}: ${JSON.stringify(problems)}`);
      assert.ok(problem.inside && !problem.covered, `not in the first viewport at ${size.width}: ${problem.text}`);
      assert.ok(networks.includes(problem.network), `no network is named: ${problem.text}`);
    }
    if (process.env.SCREENSHOTS) await tab.page.screenshot({ path: `${process.env.SCREENSHOTS}/facilitator-in-trouble-${size.width}.png` });
    for (const view of ["#/", "#/payments", "#/log"]) {
      await tab.page.evaluate((to) => (window.location.hash = to), view);
      await tab.page.waitForFunction(() => !document.body.innerText.includes("Reading…"));
      await tab.clean();
      await axe(tab.page, `${view} ${scheme}`);
      assert.equal(await tab.page.evaluate(() => document.documentElement.scrollWidth), size.width, view);
    }
  }
});

test("axe finds no serious fault in any view, in light and dark, on a phone and a desk", async () => {
  const it = await listen(states.trouble);
  for (const [size, scheme] of [[PHONE, "light"], [DESK, "dark"]]) {
    const tab = await open(it.url, { size, scheme, token: null });
    await axe(tab.page, `sign-in ${scheme}`);
    await signIn(tab.page, TOKEN);
    for (const view of VIEWS) {
      await go(tab.page, view);
      await axe(tab.page, `${view} ${scheme}`);
    }
    await go(tab.page, "#/");
    it.set(states.paused);
    await until(tab.page, "the pauses are shown", (shown) => shown.includes("key rotation"));
    await axe(tab.page, `pauses ${scheme}`);
    await (await button(tab.page, "Pause Polygon")).click();
    await tab.page.waitForSelector("dialog[open]");
    await axe(tab.page, `dialog ${scheme}`);
    it.streams = false;
    it.cut();
    await tab.page.waitForSelector(".broken");
    await axe(tab.page, `broken ${scheme}`);
    it.streams = true;
    it.set(states.trouble);
  }
});

test("axe finds no serious fault in hostile texts, and none of them becomes markup", async () => {
  const it = await listen(states.hostile);
  it.payments = states.HOSTILE.map((hostile, at) =>
    states.payment(at, { id: at === 0 ? "first" : hostile, payer: hostile, payTo: hostile, asset: hostile, amount: hostile, transaction: hostile, tenant: hostile, errorMessage: hostile, network: hostile }),
  );
  it.history = states.HOSTILE.map((hostile) => ({ at: hostile, event: hostile, transaction: hostile, signer: hostile, maxCost: hostile, [hostile.slice(0, 50)]: { deep: [hostile] } }));
  const tab = await open(it.url, { size: PHONE });
  for (const view of ["#/", "#/payments", "#/payment/first", "#/log"]) {
    await go(tab.page, view);
    const found = await tab.page.evaluate(() => ({
      foreign: document.querySelectorAll("main img, main script, main iframe, main style, main svg").length,
      links: [...document.querySelectorAll("a[href]")].map((link) => link.href).filter((href) => !/^https?:/.test(href)),
      // Directions, nulls and other invisible characters are written down in words.
      invisible: /[\u0000-\u0008\u202a-\u202e\u2066-\u2069\u200b]/.test(document.body.textContent),
      longest: Math.max(...[...document.querySelectorAll("bdi")].map((element) => element.textContent.length)),
      width: document.documentElement.scrollWidth,
    }));
    assert.deepEqual({ ...found, longest: 0 }, { foreign: 0, links: [], invisible: false, longest: 0, width: PHONE.width }, view);
    assert.ok(found.longest < 1_000, `${view}: a text of ${found.longest} characters is shown at once`);
    assert.ok(!/owned/.test(await tab.page.title()));
    await axe(tab.page, `hostile ${view}`);
  }
  // The whole text can be read, with the keyboard.
  await go(tab.page, "#/");
  const more = await button(tab.page, "Show all 10,000 characters");
  await more.focus();
  await tab.page.keyboard.press("Enter");
  await tab.page.waitForFunction(() => [...document.querySelectorAll("bdi")].some((element) => element.textContent === "A".repeat(10_000)));
  assert.equal(await tab.page.evaluate(() => document.documentElement.scrollWidth), PHONE.width);
});

test("nothing breaks the policy, and nothing scrolls sideways, in any view at any width", async () => {
  const it = await listen(states.trouble);
  const tab = await open(it.url, { size: { width: 320, height: 640 } });
  for (const state of ["trouble", "paused", "well"]) {
    it.set(states[state]);
    for (const view of VIEWS) {
      for (const width of [320, 390, 700, 1280]) {
        await tab.page.setViewport({ width, height: 844 });
        await go(tab.page, view);
        const found = await tab.page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(found <= width, `${state} ${view}: ${found} pixels at ${width}`);
      }
    }
  }
  await go(tab.page, "#/");
  await tab.page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
  await (await button(tab.page, "Show the numbers of Base")).click();
  assert.match(await text(tab.page, ".numbers"), /Settled.*Failed/);
  const drawn = await tab.page.$$eval("canvas", (all) => all.filter((canvas) => new Set(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data).size > 8).length);
  assert.equal(drawn, 4, "two plots of each of two networks are drawn");
  await tab.clean();
});

test("the keyboard reaches everything, the focus is visible, and an action works without a mouse", async () => {
  const it = await listen(states.trouble);
  const { page, ...tab } = await open(it.url);
  const all = await page.evaluate(() => {
    const every = [...document.querySelectorAll("a[href], button, input, select, textarea, [tabindex='0']")].filter((one) => one.checkVisibility());
    every.forEach((one, at) => (one.dataset.at = String(at)));
    document.getElementById("main").focus();
    document.activeElement.blur();
    return every.length;
  });
  assert.ok(all > 25, `${all} things to reach`);
  const reached = new Set();
  for (let step = 0; step < all + 5; step += 1) {
    await page.keyboard.press("Tab");
    const focus = await page.evaluate(() => {
      const style = getComputedStyle(document.activeElement);
      return { at: document.activeElement.dataset.at, visible: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2, html: document.activeElement.outerHTML.slice(0, 120) };
    });
    if (focus.at === undefined) continue;
    assert.ok(focus.visible, `no visible focus: ${focus.html}`);
    reached.add(focus.at);
  }
  assert.equal(reached.size, all);

  const opener = await button(page, "Pause Base");
  await opener.focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog[open] textarea");
  const dialog = await text(page, "dialog");
  assert.match(dialog, /Base \(eip155:8453\)/);
  assert.match(dialog, /New payments of these kinds get HTTP 503/);
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "TEXTAREA");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => !document.querySelector("dialog"));
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Pause Base");
  assert.deepEqual(it.calls.filter((call) => call.method === "POST"), [], "nothing happens before it is confirmed");

  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog[open] textarea");
  await page.keyboard.type("the token was hacked");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await until(page, "what was done is shown", (shown) => shown.includes("done: pause"));
  const [call] = it.calls.filter((one) => one.method === "POST");
  assert.equal(call.path, "/api/pause");
  assert.equal(call.headers["content-type"], "application/json");
  assert.deepEqual(JSON.parse(call.body), { network: states.BASE, reason: "the token was hacked" });
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => !document.querySelector("dialog"));
  await tab.clean();
});

test("a role has its own actions and no others", async () => {
  const it = await listen(states.paused);
  it.payments = [states.payment(0, { withheld: true, setAside: true })];
  const tab = await open(it.url);
  const names = async () => (await tab.page.$$eval("button.act", (all) => all.map((one) => one.textContent))).sort();
  const operate = ["Drain…", "Pause…", "Pause everything…", "Reload…", "Resume everything…", "Resume…", "Use again…"].sort();
  const money = ["Add a tenant…", "New key…", "Retire older keys…"];
  for (const [role, wanted, ofPayment] of [
    ["view", [], []],
    ["operate", operate, ["Annotate…", "Read from the chain…"]],
    ["money", [...operate, ...money].sort(), ["Allow the release…", "Annotate…", "Read from the chain…"]],
  ]) {
    await go(tab.page, "#/");
    it.set(() => ({ ...states.paused(), role }));
    await until(tab.page, "the role is shown", (shown) => shown.includes(`role ${role}`));
    await tab.page.waitForFunction((some) => document.querySelectorAll("button.act").length > 0 === some, {}, wanted.length > 0);
    assert.deepEqual([...new Set(await names())], wanted, role);
    await go(tab.page, "#/payment/claim-0");
    assert.deepEqual(await names(), ofPayment, role);
  }
});

test("every action sends what its dialog says", async () => {
  const it = await listen(states.paused);
  it.payments = [states.payment(0, { withheld: true })];
  const { page, ...tab } = await open(it.url);
  const act = async (name, fill = null) => {
    await (await button(page, name)).click();
    await page.waitForSelector("dialog[open] form");
    if (fill) await page.type("dialog textarea, dialog input:not([type])", fill);
    await page.click("dialog button.primary");
    await page.waitForSelector("dialog [role=status] .buttons");
    await page.click("dialog button.primary");
    await page.waitForFunction(() => !document.querySelector("dialog"));
    const call = it.calls.filter((one) => one.method === "POST").at(-1);
    return [call.path, JSON.parse(call.body)];
  };
  const payment = it.payments[0].id;
  assert.deepEqual(await act("Resume exact on Base"), ["/api/resume", { network: states.BASE, scheme: "exact" }]);
  assert.deepEqual(await act("Pause exact on Polygon", "x"), ["/api/pause", { network: states.POLYGON, scheme: "exact", reason: "x" }]);
  assert.deepEqual(await act("Pause everything…", "x"), ["/api/pause", { reason: "x" }]);
  assert.deepEqual(await act("Resume everything…"), ["/api/resume", {}]);
  assert.deepEqual(await act(`Use again: signer ${states.OTHER}`), ["/api/undrain", { network: states.BASE, signer: states.OTHER }]);
  assert.deepEqual(await act(`Drain signer ${states.SIGNER}`, "why"), ["/api/drain", { network: states.BASE, signer: states.SIGNER, reason: "why" }]);
  assert.deepEqual(await act("Reload…"), ["/api/reload", {}]);
  assert.deepEqual(await act("Add a tenant…", "shop-3"), ["/api/tenants/add", { name: "shop-3", scopes: ["verify", "settle", "supported"] }]);
  assert.deepEqual(await act("New key for shop-two"), ["/api/tenants/rotate", { name: "shop-two" }]);
  assert.deepEqual(await act("Retire older keys of shop-two"), ["/api/tenants/retire", { name: "shop-two" }]);
  await go(page, "#/payment/claim-0");
  assert.deepEqual(await act("Read from the chain…"), ["/api/sync", { payment }]);
  assert.deepEqual(await act("Annotate…", states.MARKUP), ["/api/annotate", { payment, text: states.MARKUP }]);
  assert.deepEqual(await act("Allow the release…"), ["/api/allow-release", { payment }]);
  await tab.clean();
});

test("a new API key is shown once, and Escape does not lose it", async () => {
  const it = await listen();
  it.answers["tenants/add"] = [200, { done: ["tenant shop-3 is new"], failed: ["it is not saved on the second node"], apiKey: "sk_once_0123456789" }];
  const { page, ...tab } = await open(it.url);
  await (await button(page, "Add a tenant…")).click();
  await page.waitForSelector("dialog[open] form");
  await page.type("#field-name", "shop-3");
  await page.click("dialog input[value=settle]");
  await page.click("dialog button.primary");
  await page.waitForSelector("#api-key");
  assert.deepEqual(JSON.parse(it.calls.at(-1).body).scopes, ["verify", "supported"]);
  assert.equal(await page.$eval("#api-key", (input) => input.value), "sk_once_0123456789");
  assert.match(await text(page, "dialog"), /Not done:.*second node/);
  await page.keyboard.press("Escape");
  assert.ok(await page.$("dialog[open] #api-key"));
  await (await button(page, "Close")).click();
  await page.waitForFunction(() => !document.querySelector("dialog"));
  assert.ok(!(await page.content()).includes("sk_once"));
});

test("a refused change says why, and can be tried again", async () => {
  const it = await listen();
  const { page, ...tab } = await open(it.url);
  await (await button(page, "Reload…")).click();
  await page.waitForSelector("dialog[open] form");
  for (const [status, error] of [[403, "this needs a token with the role \"operate\""], [409, "everything serves as before: <b>evm</b> is broken"], [429, "too many wrong tokens"], [503, "it can't be recorded now"]]) {
    it.answers.reload = [status, { error }];
    await page.click("dialog button.primary");
    await page.waitForFunction((wanted) => document.querySelector("dialog [role=alert]").textContent.includes(wanted), {}, error);
  }
  it.answers.reload = [429, { error: "too many" }];
  await page.click("dialog button.primary");
  await page.waitForFunction(() => document.querySelector("dialog [role=alert]").textContent.includes("try again in 7 s"));
  delete it.answers.reload;
  await page.click("dialog button.primary");
  await page.waitForSelector("dialog [role=status] .buttons");
});

test("a wrong token opens nothing, and a right one is kept nowhere but in memory", async () => {
  const it = await listen(states.trouble);
  const { page, ...tab } = await open(it.url, { token: null });
  await page.type("#token", "wrong");
  await page.keyboard.press("Enter");
  await until(page, "the error is shown", (shown) => shown.includes("[[operators]]"));
  assert.equal(await page.$(".top"), null);
  assert.equal(await page.$eval("#token", (input) => input.type), "password");
  await page.$eval("#token", (input) => (input.value = ""));
  await page.type("#token", "with space");
  await page.keyboard.press("Enter");
  await until(page, "a token with a space is refused here", (shown) => shown.includes("without spaces"));
  await page.$eval("#token", (input) => (input.value = ""));
  await signIn(page, TOKEN);
  await go(page, "#/payments");
  const kept = await page.evaluate(() => ({ local: localStorage.length, session: sessionStorage.length, cookie: document.cookie, page: document.documentElement.outerHTML + location.href }));
  assert.deepEqual({ ...kept, page: "" }, { local: 0, session: 0, cookie: "", page: "" });
  assert.ok(!kept.page.includes(TOKEN));
  for (const call of it.calls) {
    assert.ok(!`${call.path}${call.query}${call.body}`.includes(TOKEN), call.path);
    assert.equal(call.headers.cookie, undefined);
    assert.equal(call.headers.referer, undefined);
  }
  // A token that is revoked while the page is open closes it.
  it.token = "another";
  it.cut();
  await page.waitForSelector("#token", { timeout: 10_000 });
  assert.match(await bodyText(page), /not accepted any more/);
  assert.ok(!(await bodyText(page)).includes("Polygon"));
  await page.reload();
  await page.waitForSelector("#token");
  await tab.clean();
});

test("a broken stream is said at once, and the page returns by itself", async () => {
  const it = await listen(states.trouble);
  const { page, ...tab } = await open(it.url, { size: PHONE });
  await until(page, "it is live", (shown) => /Live \d\d:\d\d:\d\d UTC/.test(shown));
  it.streams = false;
  it.cut();
  const shown = await until(page, "the banner is there", (all) => /Not live since \d\d:\d\d:\d\d UTC/.test(all));
  assert.match(shown, /What you see is from then/);
  assert.match(shown, /next attempt in \d+ s/);
  assert.match(shown, /rpc\.polygon\.example/, "what was known stays");
  await titled(page, "(not live) Switchyard");
  assert.equal(await page.$eval(".broken-region", (region) => region.getAttribute("role")), "alert");
  const box = await page.$eval(".broken", (banner) => banner.getBoundingClientRect().toJSON());
  assert.ok(box.top >= 0 && box.bottom < PHONE.height);
  const before = it.calls.filter((call) => call.path === "/api/stream").length;
  await until(page, "it tries again, later each time", () => it.calls.filter((call) => call.path === "/api/stream").length >= before + 2);
  it.streams = true;
  await (await button(page, "Try now")).click();
  await until(page, "it is live again", (all) => /Live \d\d:\d\d:\d\d UTC/.test(all) && !all.includes("Not live"));
  await titled(page, "(3) Switchyard");
  await tab.clean();
});

test("new problems are announced, and numbers that change are not", async () => {
  const it = await listen(states.well);
  const { page, ...tab } = await open(it.url);
  const spoken = () => text(page, "[aria-live=polite]");
  await until(page, "no problems", (shown) => shown.includes("No problems"));
  assert.equal(await spoken(), "No problems.");
  it.set(states.trouble);
  await until(page, "the problems are there", (shown) => shown.includes("3 problems"));
  const announced = await spoken();
  assert.match(announced, /New\. Critical: Polygon: node rpc\.polygon\.example/);
  assert.match(announced, /Solana: plugin svm/);
  it.set(() => {
    const all = states.trouble();
    all.problems[0].what = "connection refused for 5 min; no other node answers";
    return all;
  });
  await until(page, "the new sentence is shown", (shown) => shown.includes("for 5 min"));
  assert.equal(await spoken(), announced);
  it.set(states.well);
  await until(page, "no problems again", (shown) => shown.includes("No problems"));
  assert.equal(await spoken(), "No problems any more.");
});

test("payments are live, filtered, searched and paged, and one has its timeline", async () => {
  const it = await listen(states.trouble);
  const { page, ...tab } = await open(it.url, { view: "#/payments" });
  await page.waitForSelector(".table tbody tr");
  assert.equal((await page.$$(".table tbody tr")).length, 50);
  it.payments.unshift(states.payment(999, { payer: "0xnewest" }));
  await until(page, "a new payment appears by itself", (shown) => shown.includes("0xnewest"));
  await (await button(page, "Older payments")).click();
  await page.waitForFunction(() => location.hash.includes("page=50"));
  await until(page, "the second page", (shown) => !shown.includes("0xnewest") && shown.includes("Newest"));
  await page.goBack();
  await until(page, "the first page again", (shown) => shown.includes("0xnewest"));
  await page.select("#filter-status", "failed");
  await page.waitForFunction(() => [...document.querySelectorAll(".table tbody tr")].length === 24);
  assert.ok(!(await text(page, ".table tbody")).includes("settled"));
  await page.type("#filter-q", it.payments[4].id);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll(".table tbody tr").length === 1);
  await page.click(".table tbody th a");
  await page.waitForSelector(".timeline li");
  const timeline = await page.$$eval(".timeline li", (all) => all.map((one) => one.innerText.replace(/\s+/g, " ")));
  assert.equal(timeline.length, it.history.length);
  assert.match(timeline[1], /Transaction signed.*Max cost 0\.0001 ETH/);
  assert.match(timeline[4], /A block shows the cost.*0\.000061 ETH.*rpc\.one\.example/);
  assert.match(timeline[6], /An operator acted.*<img src=x/);
  assert.match(timeline[7], /aNewEvent.*does not know/);
  const links = await page.$$eval(".timeline a", (all) => all.map((link) => [link.href, link.rel, link.target]));
  assert.deepEqual(links[0], [`https://basescan.example/tx/${it.history[1].transaction}`, "noopener noreferrer external", "_blank"]);
  await page.evaluate(() => (location.hash = "#/payment/nothing%2Fhere"));
  await until(page, "an unknown payment says so", (shown) => shown.includes("no payment has this id"));
  assert.equal(it.calls.at(-1).path, "/api/payments/nothing%2Fhere");
  await tab.clean();
});

test("nothing moves for those who want no motion", async () => {
  const it = await listen();
  for (const [motion, seconds] of [["reduce", "0s"], ["no-preference", "0.12s"]]) {
    const tab = await open(it.url, { motion });
    assert.equal(await tab.page.$eval("button.act", (one) => getComputedStyle(one).transitionDuration), seconds);
  }
});

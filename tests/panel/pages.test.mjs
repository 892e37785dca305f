// Every page, with something on it and without, on a phone and on a desk, in light and in dark: axe finds nothing, and nothing
// is wider than the window.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { OPERATOR, Stage, axe, until } from "./stage.mjs";

const WIDTHS = [390, 1440];
const SCHEMES = ["light", "dark"];

let stage;
let full;
before(async () => {
  stage = await Stage.open();
  full = await furnish(stage);
});
after(() => stage?.close());

/** A vendor with one of everything, and what an operator has to look at. */
async function furnish() {
  const [good, bad] = [await stage.receiver(), await stage.receiver()];
  const vendor = await stage.vendor("Himal Mobile", "ann@himal.example");
  await stage.vendor("Koshi Pay", "new@koshi.example");
  const endpoints = [];
  for (const [url, more] of [[good.url, {}], [bad.url, { description: "orders" }], ["http://127.0.0.1:1025/hook", {}]]) {
    endpoints.push(await stage.call("POST", "/v1/endpoints", { url, ...more }, vendor.live_token));
  }
  for (const { id } of endpoints.slice(0, 2)) await stage.call("POST", `/v1/endpoints/${id}/connect`, {}, vendor.live_token);
  bad.status = 500;
  const statuses = ["success", "failed", "queued"];
  await stage.report(vendor, Array.from({ length: 60 }, (_, at) => ({ reference_no: `INV-${at}`, status: statuses[at % 3], reason: at % 3 === 1 ? "no such number" : undefined })));
  await stage.report(vendor, [{ reference_no: "INV-0", status: "failed" }, { reference_no: "INV-3", status: "success", connection_no: "9840000000" }]);
  const list = async (address) => (await stage.call("GET", address, null, vendor.live_token)).data;
  await until("a failed attempt", async () => (await list(`/v1/deliveries?endpoint_id=${endpoints[1].id}`)).some(({ attempts }) => attempts.length));
  await stage.call("POST", `/v1/endpoints/${endpoints[0].id}/replay`, { since: "2020-01-01T00:00:00Z" }, vendor.live_token);
  const [recharge] = await list("/v1/recharges?reference_no=INV-0");
  const [delivery] = await list(`/v1/deliveries?endpoint_id=${endpoints[1].id}`);
  const [event] = await list("/v1/events?limit=1");
  const conflicts = (await stage.call("GET", "/v1/conflicts")).data;
  return { vendor, endpoints, recharge, delivery, event, conflicts };
}

/** Looks at one page in all its forms. */
async function look(page, address) {
  const wrong = [];
  for (const scheme of SCHEMES) {
    await page.emulateMedia({ colorScheme: scheme });
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      const answer = await page.see(address);
      assert.ok(answer.status() < 500, `${address}: ${answer.status()}`);
      const where = `${address} ${width} ${scheme}`;
      const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      if (content > window) wrong.push(`${where}: ${content} wide`);
      await page.evaluate(() => document.querySelectorAll("details:not(.menu)").forEach((element) => { element.open = true; }));
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      for (const { id, nodes } of violations) wrong.push(`${where}: ${id} at ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join("; ").slice(0, 600)}`);
    }
  }
  return wrong;
}

async function lookAtAll(page, addresses) {
  const wrong = [];
  for (const address of addresses) wrong.push(...(await look(page, address)));
  assert.deepEqual(wrong, []);
}

const ofVendor = ["", "/recharges", "/recharges?status=success", "/webhooks", "/webhooks/new", "/deliveries", "/events", "/tokens", "/developers", "/team"];
const ofOperator = ["", "/issues", "/stuck", "/conflicts", "/conflicts?state=any", "/vendors", "/providers", "/mails", "/audit", "/team"];

test("the doors", async () => {
  const page = await stage.page({ bypassCSP: true });
  const link = await stage.call("POST", `/v1/vendors/${full.vendor.id}/panel-link`, {});
  await lookAtAll(page, ["/panel/login", "/panel/forgotten", "/panel/link/nothing", "/panel/nothing", new URL(link.url).pathname]);
});

test("a vendor's pages with something on them", async () => {
  const page = await stage.logIn("ann@himal.example", { bypassCSP: true });
  const { endpoints, recharge, delivery, event } = full;
  const single = [
    `/recharges/${recharge.id}`,
    ...endpoints.map(({ id }) => `/webhooks/${id}`),
    `/webhooks/${endpoints[0].id}/edit`,
    `/deliveries/${delivery.id}`,
    `/events/${event.id}`,
  ];
  await lookAtAll(page, [...ofVendor, ...single].map((rest) => `/panel/live${rest}`));
});

test("a vendor's pages without anything, in test mode", async () => {
  const page = await stage.logIn("new@koshi.example", { bypassCSP: true });
  await lookAtAll(page, [...ofVendor.map((rest) => `/panel/test${rest}`), "/panel/self", "/panel/self/second-factor"]);
});

test("the operator's pages", async () => {
  const page = await stage.logIn(OPERATOR, { bypassCSP: true });
  const single = [...full.conflicts.map(({ id }) => `/conflicts/${id}`), `/vendors/${full.vendor.id}`];
  await lookAtAll(page, [...ofOperator, ...single].map((rest) => `/panel/operator${rest}`));
});

// Every page, with something on it and without, on a phone and on a desk, in light and in dark: axe finds nothing, and nothing
// is wider than the window.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { furnish } from "./furnish.mjs";
import { OPERATOR, Stage, axe } from "./stage.mjs";

const WIDTHS = [390, 1440];
const SCHEMES = ["light", "dark"];

let stage;
let full;
before(async () => {
  stage = await Stage.open();
  full = await furnish(stage);
});
after(() => stage?.close());

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
  await lookAtAll(page, ["/panel/login", "/panel/forgotten", "/panel/link/nothing", "/panel/nothing", new URL(link.url).pathname, "/docs", "/docs?ask=rotate+a+secret", "/docs/receiving", "/docs/panel", "/docs/nothing"]);
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

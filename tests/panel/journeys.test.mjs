// Journeys through the panel, as people make them.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";

import { OPERATOR, Stage, until } from "./stage.mjs";

let stage;
before(async () => { stage = await Stage.open({ RINGBACK_WARN_AFTER: "1s", RINGBACK_DELIVERY_DEADLINE: "10m" }); });
after(() => stage?.close());

/** Whether a request was signed with this secret. */
function isSigned({ headers, body }, secret) {
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
  return headers["webhook-signature"].split(" ").includes(`v1,${createHmac("sha256", key).update(signed).digest("base64")}`);
}

test("a newcomer connects an endpoint, breaks it, is warned, mends it, replays what was missed", async () => {
  const hook = await stage.receiver();
  const vendor = await stage.vendor("Himal Mobile", "ann@himal.example");
  const page = await stage.logIn("ann@himal.example");
  await page.getByRole("link", { name: "Add an endpoint" }).click();
  await page.getByLabel("Address", { exact: false }).first().fill("ftp://nowhere");
  await page.getByRole("button", { name: "Add" }).click();
  await page.getByText("Nothing was changed yet").waitFor();
  assert.equal(await page.locator("[aria-invalid]").count(), 1, "it is told beside its field");
  await page.getByLabel("Address", { exact: false }).first().fill(hook.url);
  await page.getByRole("button", { name: "Add" }).click();
  const secret = await page.locator(".secret code").first().textContent();
  assert.match(secret, /^whsec_/);

  // It does not connect at first, and it is said why.
  hook.status = 500;
  await page.getByRole("button", { name: "Connect", exact: true }).click();
  await page.getByText("Not connected:").waitFor();
  assert.match(await page.locator(".checks").innerText(), /It takes the connection/);
  assert.match(await page.getByText("To mend it").locator("..").innerText(), /its own log says why/);
  await page.getByText("What it answered").click();
  await page.getByText("the receiver is broken").waitFor();
  hook.status = 204;
  await page.getByRole("button", { name: "Connect", exact: true }).click();
  await page.getByRole("heading", { name: "Connected" }).first().waitFor();
  assert.ok(hook.got.every((request) => isSigned(request, secret)));
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByText("What it made of the test event").waitFor();
  assert.equal(JSON.parse(hook.got.at(-1).body).type, "webhook.test");

  // It breaks: the page counts down, and a mail warns.
  await stage.report(vendor, [{ reference_no: "INV-1", status: "success" }]);
  await until("the first event", () => hook.got.some(({ body }) => body.includes("INV-1")));
  hook.status = 503;
  await stage.report(vendor, [{ reference_no: "INV-2", status: "success" }]);
  await until("a failed attempt", async () => {
    await page.reload();
    return page.getByText("Nothing has been delivered since").count();
  });
  assert.match(await page.locator("time[data-until]").first().innerText(), /^in 23 h/);
  await until("a mail that warns", () => stage.mails().some(({ to, subject }) => to[0] === "ann@himal.example" && /failing/.test(subject)));
  await page.getByRole("link", { name: "Home" }).click();
  await page.getByText("An endpoint is failing").waitFor();

  // A person stops it while it is mended; what comes meanwhile is missed, and replayed.
  await page.getByRole("link", { name: "See what it answers" }).click();
  page.once("dialog", (dialog) => dialog.accept());
  await page.getByRole("button", { name: "Disable" }).click();
  await page.getByText("It gets no events. Mend the receiver").waitFor();
  await stage.report(vendor, [{ reference_no: "INV-3", status: "failed" }, { reference_no: "INV-4", status: "success" }]);
  hook.status = 204;
  await page.getByRole("button", { name: "Enable" }).click();
  await page.getByText("It missed 2 events").waitFor();
  await page.getByRole("button", { name: "Preview what it missed" }).click();
  await page.getByText("2 events").first().waitFor();
  await page.getByRole("button", { name: "Send them" }).click();
  await page.getByText("The replay has begun").waitFor();
  for (const reference of ["INV-2", "INV-3", "INV-4"]) {
    const taken = ({ body, headers }) => body.includes(reference) && isSigned({ body, headers }, secret);
    await until(reference, () => hook.got.some(taken));
  }
  await page.getByRole("link", { name: "Recharges" }).click();
  await page.getByRole("link", { name: "INV-3" }).click();
  await page.getByText("tells it:").waitFor();
  assert.match(await page.locator("main").innerText(), /980•••••67/, "the number is hidden");
  await page.getByRole("link", { name: "Show numbers" }).click();
  assert.match(await page.locator("main").innerText(), /9801234567/);
  assert.deepEqual(page.wrong.filter((text) => !/status of (422|503)/.test(text)), []);
});

test("an operator resolves a conflict", async () => {
  const hook = await stage.receiver();
  const vendor = await stage.vendor("Lumbini Telecom", "bina@lumbini.example");
  const endpoint = await stage.call("POST", "/v1/endpoints", { url: hook.url }, vendor.live_token);
  await stage.call("POST", `/v1/endpoints/${endpoint.id}/connect`, {}, vendor.live_token);
  await stage.report(vendor, [{ reference_no: "C-1", status: "success" }]);
  await stage.report(vendor, [{ reference_no: "C-1", status: "failed" }]);
  const page = await stage.logIn(OPERATOR);
  await page.getByRole("link", { name: "Conflicts" }).first().click();
  await page.getByRole("link", { name: /status of/ }).click();
  assert.match(await page.locator("main").innerText(), /The ledger has\s+success/);
  assert.equal(await page.getByRole("radio").count(), 2, "only what fits is offered");
  await page.getByRole("button", { name: "Resolve" }).click();
  assert.equal(await page.getByText("Resolved. It is in the audit log").count(), 0, "a reason is needed");
  await page.getByLabel("Reversed", { exact: false }).check();
  await page.getByLabel("Reason", { exact: false }).fill("the provider took it back");
  await page.getByRole("button", { name: "Resolve" }).click();
  await page.getByText("Resolved. It is in the audit log").waitFor();
  await until("the vendor's event", () => hook.got.some(({ body }) => body.includes("recharge.reversed")));
  await page.getByRole("link", { name: "Audit" }).click();
  const entry = page.getByRole("row").filter({ hasText: "conflict.resolved" });
  assert.match(await entry.innerText(), /the provider took it back/);
  assert.deepEqual(page.wrong, []);
});

test("a viewer looks and cannot change anything; another vendor's ids are not there", async () => {
  const [vendor, other] = [await stage.vendor("Koshi Pay", "viewer@koshi.example", "viewer"), await stage.vendor("Gandaki Pay", "gita@gandaki.example")];
  const theirs = await stage.call("POST", "/v1/endpoints", { url: "http://127.0.0.1:1025/hook" }, other.live_token);
  await stage.report(other, [{ reference_no: "G-1", status: "success" }]);
  const recharge = (await stage.call("GET", "/v1/recharges", null, other.live_token)).data[0];
  await stage.call("POST", "/v1/endpoints", { url: "http://127.0.0.1:1025/hook" }, vendor.live_token);
  const page = await stage.logIn("viewer@koshi.example");
  for (const name of ["Webhooks", "Deliveries", "Tokens"]) {
    await page.getByRole("navigation").getByRole("link", { name }).click();
    assert.deepEqual(await page.getByRole("button").allInnerTexts(), name === "Deliveries" ? ["Log out", "Filter"] : ["Log out"], name);
  }
  assert.equal(await page.getByRole("link", { name: "Team" }).count(), 0);
  for (const address of [`/panel/live/webhooks/${theirs.id}`, `/panel/live/recharges/${recharge.id}`, "/panel/operator"]) {
    assert.equal((await page.see(address)).status(), 404, address);
  }
});

test("the keyboard alone is enough", async () => {
  await stage.vendor("Mechi Mobile", "keys@mechi.example");
  const page = await stage.page();
  await page.see("/panel/login");
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("name") ?? document.activeElement.textContent.trim());
  const tabTo = async (wanted) => {
    for (let steps = 0; steps < 40; steps += 1) {
      await page.keyboard.press("Tab");
      if ((await focused()) === wanted) return;
    }
    throw new Error(`no way to ${wanted}`);
  };
  await tabTo("email");
  await page.keyboard.type("keys@mechi.example");
  await tabTo("password");
  await page.keyboard.type("correct horse battery");
  await page.keyboard.press("Enter");
  await page.waitForURL(/panel\/live/);
  await tabTo("To the content");
  await tabTo("Webhooks");
  await page.keyboard.press("Enter");
  await page.waitForURL(/webhooks$/);
  await tabTo("Add an endpoint");
  await page.keyboard.press("Enter");
  await page.waitForURL(/webhooks\/new$/);
  await tabTo("url");
  await page.keyboard.type("https://shop.example/hook");
  await page.keyboard.press("Enter");
  await page.getByText("shown this once").waitFor();
});

test("everything works without a script", async () => {
  const hook = await stage.receiver();
  const vendor = await stage.vendor("Rapti Pay", "plain@rapti.example");
  const page = await stage.logIn("plain@rapti.example", { javaScriptEnabled: false, viewport: { width: 390, height: 844 } });
  await page.getByText("Menu").click();
  await page.getByRole("navigation").getByRole("link", { name: "Webhooks" }).click();
  await page.getByRole("link", { name: "Add an endpoint" }).click();
  await page.getByLabel("Address", { exact: false }).first().fill(hook.url);
  await page.getByRole("button", { name: "Add" }).click();
  await page.getByRole("button", { name: "Connect", exact: true }).click();
  await page.getByText("It missed nothing").waitFor();
  await stage.report(vendor, [{ reference_no: "P-1", status: "success" }]);
  await until("the event", () => hook.got.some(({ body }) => body.includes("P-1")));
  await page.see("/panel/live/deliveries");
  await page.getByRole("checkbox", { name: "Select the delivery of event 1" }).check();
  await page.getByRole("button", { name: "Send the selected ones again" }).click();
  await page.getByText("are on their way").waitFor();
  await until("the event once more", () => hook.got.filter(({ body }) => body.includes("P-1")).length === 2);
  assert.match(await page.locator("time").first().innerText(), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/, "in UTC");
});

test("the overview is live", async () => {
  const vendor = await stage.vendor("Bagmati Pay", "live@bagmati.example");
  const page = await stage.logIn(OPERATOR);
  const queued = async () => Number(await page.locator(".figure", { hasText: "Queued recharges" }).locator(".value").innerText());
  const before = await queued();
  await stage.report(vendor, [{ reference_no: "Q-1", status: "queued" }]);
  await until("the figure", async () => (await queued()) === before + 1);
  assert.deepEqual(page.wrong, []);
});

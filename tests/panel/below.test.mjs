// The panel below a path, in a browser: the script, the live part, cookies and forms through a proxy that serves nothing else.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request } from "node:http";
import { test } from "node:test";

import { OPERATOR, Stage } from "./stage.mjs";

const PATH = "/ringback";

/** A proxy in front of `proxy.target` that serves `PATH` only, and removes it if it is told to. What was asked for beyond is in `proxy.outside`. */
async function open(removes) {
  const proxy = { outside: [], live: 0 };
  const server = createServer((incoming, outgoing) => {
    if (!/^\/ringback([/?]|$)/.test(incoming.url)) {
      proxy.outside.push(incoming.url);
      outgoing.writeHead(404).end();
      return;
    }
    if (incoming.url.endsWith("/operator/live")) proxy.live += 1;
    const path = removes ? `/${incoming.url.slice(PATH.length).replace(/^\//, "")}` : incoming.url;
    const { hostname, port } = new URL(proxy.target);
    const passed = request({ hostname, port, path, method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.rawHeaders);
      answer.pipe(outgoing);
    });
    passed.on("error", () => outgoing.destroy());
    outgoing.on("close", () => passed.destroy());
    incoming.pipe(passed);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  proxy.base = `http://127.0.0.1:${server.address().port}${PATH}`;
  proxy.close = () => { server.closeAllConnections(); server.close(); };
  return proxy;
}

for (const removes of [true, false]) {
  test(`the panel stays below its path where the proxy ${removes ? "removes" : "passes on"} the path`, async () => {
    const proxy = await open(removes);
    const stage = await Stage.open({ RINGBACK_PUBLIC_URL: proxy.base });
    try {
      [proxy.target, stage.base] = [stage.base, proxy.base];
      await stage.vendor("Himal Mobile", "ann@himal.example");
      const ops = await stage.logIn(OPERATOR);
      // A live part that has come anew is not the one that the page had.
      await ops.locator("[data-live] > *").first().evaluate((part) => { part.id = "of-the-page"; });
      await ops.locator("#of-the-page").waitFor({ state: "detached" });
      await ops.getByRole("link", { name: "simulated" }).click();
      await ops.waitForURL(/\/ringback\/panel\/operator\/providers$/);
      const ann = await stage.logIn("ann@himal.example");
      await ann.getByRole("link", { name: "Developers" }).click();
      await ann.getByText(`curl ${proxy.base}/v1/recharges`).waitFor();
      await ann.getByRole("link", { name: "the documents" }).click();
      await ann.getByRole("link", { name: "Panel", exact: true }).first().click();
      await ann.waitForLoadState("networkidle");
      await ann.getByRole("link", { name: "To the panel" }).click();
      await ann.getByRole("button", { name: "Log out" }).click();
      await ann.waitForURL(/\/ringback\/panel\/login/);
      assert.deepEqual([proxy.outside, ops.wrong, ann.wrong], [[], [], []]);
      assert.ok(proxy.live > 0);
    } finally {
      await stage.close();
      proxy.close();
    }
  });
}

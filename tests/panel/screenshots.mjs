// The pictures in docs/screenshots: `make screenshots`.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { furnish } from "./furnish.mjs";
import { OPERATOR, Stage, until } from "./stage.mjs";

const folder = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../docs/screenshots");
fs.mkdirSync(folder, { recursive: true });

const stage = await Stage.open();
try {
  const { vendor, endpoints, recharge, delivery, conflicts } = await furnish(stage);
  const shoot = async (page, name, address) => {
    if (address) await page.see(address);
    await page.evaluate(() => document.fonts.ready);
    await page.screenshot({ path: path.join(folder, `${name}.png`) });
  };
  const size = { width: 1280, height: 860 };
  const ann = await stage.logIn("ann@himal.example", { viewport: size });
  await ann.see(`/panel/live/webhooks/${endpoints[2].id}`);
  await ann.getByRole("button", { name: "Connect", exact: true }).click();
  await ann.getByText("Not connected:").waitFor();
  await shoot(ann, "not-connected");
  await shoot(ann, "home", "/panel/live");
  await shoot(ann, "recharges", "/panel/live/recharges");
  await shoot(ann, "recharge", `/panel/live/recharges/${recharge.id}`);
  await shoot(ann, "endpoint", `/panel/live/webhooks/${endpoints[1].id}`);
  await shoot(ann, "delivery", `/panel/live/deliveries/${delivery.id}`);
  const phone = await stage.logIn("ann@himal.example", { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, colorScheme: "dark" });
  await shoot(phone, "phone", "/panel/live");

  // A few minutes of traffic, so that the charts have something to draw.
  const operator = await stage.logIn(OPERATOR, { viewport: size });
  const end = Date.now() + 200_000;
  let number = 0;
  await until("the traffic's end", async () => {
    const many = 20 + Math.round(15 * Math.sin(Date.now() / 20_000));
    await stage.report(vendor, Array.from({ length: many }, () => ({ reference_no: `R-${(number += 1)}`, status: number % 9 ? "success" : "failed" })));
    await new Promise((resolve) => setTimeout(resolve, 400));
    return Date.now() > end;
  }, 300_000);
  await operator.see("/panel/operator");
  await operator.getByRole("button", { name: "Dismiss checklist" }).click();
  await shoot(operator, "overview", "/panel/operator");
  const contradiction = conflicts.find(({ field }) => field === "status");
  await shoot(operator, "conflict", `/panel/operator/conflicts/${contradiction.id}`);
  await shoot(operator, "issues", "/panel/operator/issues");
} finally {
  await stage.close();
}

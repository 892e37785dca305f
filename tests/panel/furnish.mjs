// A platform with one of everything, for the tests of every page and for the pictures in docs/.
import { until } from "./stage.mjs";

/** A vendor with one of everything, another with nothing, and what an operator has to look at. */
export async function furnish(stage) {
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
  const delivery = (await list(`/v1/deliveries?endpoint_id=${endpoints[1].id}`)).find(({ attempts }) => attempts.length);
  const [event] = await list("/v1/events?limit=1");
  const conflicts = (await stage.call("GET", "/v1/conflicts")).data;
  return { vendor, endpoints, recharge, delivery, event, conflicts };
}

const crypto = require("node:crypto");

// body: the bytes as they came (with Express: express.raw({ type: "*/*" })); headers: req.headers.
function verified(body, headers, secret) {
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const time = headers["webhook-timestamp"];
  const mac = crypto.createHmac("sha256", key).update(`${headers["webhook-id"]}.${time}.`).update(body);
  const wanted = Buffer.from(`v1,${mac.digest("base64")}`);
  const fits = (headers["webhook-signature"] ?? "").split(" ").map((one) => Buffer.from(one))
    .some((one) => one.length === wanted.length && crypto.timingSafeEqual(one, wanted));
  return fits && Math.abs(Date.now() / 1000 - Number(time)) <= 300;
}

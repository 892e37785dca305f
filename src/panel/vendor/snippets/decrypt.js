function decrypted(body, secret) {
  const data = Buffer.from(JSON.parse(body).data, "base64");
  const [iv, rest] = [data.subarray(0, 16), data.subarray(16)];
  const inner = /^[A-Za-z0-9+/]+=*$/.test(rest.toString("latin1")) ? Buffer.from(rest.toString("latin1"), "base64") : rest;
  const cipher = inner.length % 16 === 0 ? inner : rest;
  const key = Buffer.alloc(32);
  Buffer.from(secret).copy(key);
  const aes = crypto.createDecipheriv("aes-256-cbc", key, iv);
  return Buffer.concat([aes.update(cipher), aes.final()]).toString();
}

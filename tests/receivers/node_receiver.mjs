// A vendor's receiver for profile `standard`, written with the `standardwebhooks` library from npm.
//
// The tests hold Ringback to a library that somebody else wrote. Every request is verified over the bytes as they
// came, logged as one JSON line, and only then answered: whoever has seen the answer finds the line.
//
// Environment: SECRET (`whsec_...`), OUT (file the lines are appended to), PORT (0 or unset: any free one).

import { appendFileSync, openSync } from "node:fs";
import { createServer } from "node:http";
import process from "node:process";
import { Webhook } from "standardwebhooks";

const { SECRET, OUT, PORT } = process.env;
if (!SECRET || !OUT) {
  console.error("node_receiver.mjs: set SECRET and OUT in the environment");
  process.exit(1);
}

const webhook = new Webhook(SECRET);
const out = openSync(OUT, "a");

const server = createServer(async (request, response) => {
  let body;
  try {
    body = await readBody(request);
  } catch {
    return; // The client went away in the middle of its request.
  }
  const entry = judge(request, body);
  // There is one thread, and the call returns with the whole line written: this is the lock.
  appendFileSync(out, `${JSON.stringify(entry)}\n`);
  if (entry.verified) {
    response.writeHead(204).end();
  } else {
    response.writeHead(400, { "Content-Type": "text/plain; charset=utf-8" }).end(entry.error);
  }
});

// Longer than a sender keeps an idle connection, so that it is never closed under a request that is on its way.
server.keepAliveTimeout = 120_000;
server.listen({ host: "127.0.0.1", port: Number(PORT || 0), backlog: 1024 }, () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});

async function readBody(request) {
  const chunks = [];
  for await (const chunk of request) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** What the log says about one request. */
function judge(request, body) {
  const entry = {
    verified: false,
    webhook_id: request.headers["webhook-id"] ?? null,
    sequence: null,
    type: null,
    reference_no: null,
    status: null,
    error: null,
  };
  try {
    if (request.method !== "POST") {
      throw new Error(`expected POST, got ${request.method}`);
    }
    const event = webhook.verify(exactText(body), request.headers);
    const { type, data } = event;
    // A recharge carries its number among its facts, any other type beside its data; webhook.test has none.
    const isRecharge = type.startsWith("recharge.");
    const sequence = (isRecharge ? data : event).sequence ?? null;
    if (!Number.isSafeInteger(sequence) && (isRecharge || sequence !== null)) {
      throw new Error("the sequence is not a whole number");
    }
    if (data === undefined) {
      throw new Error("the event has no data");
    }
    entry.sequence = sequence;
    entry.type = type;
    entry.reference_no = isRecharge ? (data.reference_no ?? null) : null;
    entry.status = isRecharge ? (data.status ?? null) : null;
    entry.verified = true;
  } catch (problem) {
    entry.error = `${problem.name}: ${problem.message}`;
  }
  return entry;
}

/**
 * The body as the string that encodes back to the same bytes. The library would turn a Buffer into text itself, with
 * replacement characters for what is not UTF-8, and so verify something that was never sent.
 */
function exactText(body) {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
}

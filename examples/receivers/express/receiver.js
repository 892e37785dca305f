// SECRET=whsec_… npm start
import { setTimeout as sleep } from "node:timers/promises";
import express from "express";
import { Webhook } from "standardwebhooks";
import { record, workOff } from "./store.js";

const { SECRET, PORT = "3000" } = process.env;
const webhook = new Webhook(SECRET);
const app = express();

// The bytes as they came: express.json() in front of this route would have parsed and lost them.
app.post("/hook", express.raw({ type: () => true, limit: "1mb" }), (request, response) => {
  let event;
  try {
    // Looks at the bytes, at the time, and at each signature in the header.
    event = webhook.verify(request.body, request.headers);
  } catch {
    return response.sendStatus(400);
  }
  record(request.headers["webhook-id"], event); // If this throws, Express answers 500, and the event comes again.
  response.sendStatus(204);
});

const server = app.listen(Number(PORT), "127.0.0.1", (problem) => {
  if (problem) {
    throw problem;
  }
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
server.keepAliveTimeout = 60_000; // Longer than Ringback keeps a connection that it does not use.

for (;;) {
  try {
    await sleep(workOff() ? 0 : 1000);
  } catch (problem) {
    console.error(problem);
    await sleep(1000);
  }
}

// Records what the feed has and this receiver missed, and ends. After downtime, and every night:
// API=https://ringback.example.com TOKEN=rb_live_… npm run catch-up
import { hasReadUpTo, readUpTo, record } from "./store.js";

const { API = "http://127.0.0.1:8080", TOKEN } = process.env;

/** The events behind that number; with null from the oldest that is kept. */
async function page(after) {
  const query = new URLSearchParams({ limit: 200, ...(after !== null && { after }) });
  const answer = await fetch(`${API}/v1/events?${query}`, {
    headers: { authorization: `Bearer ${TOKEN}` },
    signal: AbortSignal.timeout(30_000),
  });
  if (!answer.ok) {
    // 410: events are gone from the feed. GET /v1/recharges has what became of each recharge.
    throw new Error(await answer.text());
  }
  return answer.json();
}

let after = readUpTo();
for (let events = await page(after); events.data.length > 0; events = await page(after)) {
  for (const event of events.data) {
    record(event.id, event);
  }
  after = events.next_after;
  hasReadUpTo(after); // Only now that all up to it is recorded.
}
console.log(`has everything up to ${after ?? "the beginning"}`);

// What the receiver keeps, in one SQLite file. Node.js has a driver of its own from 22.5 on:
// import { DatabaseSync as Database } from "node:sqlite";
import Database from "libsql";

const KNOWN = ["recharge.success", "recharge.failed", "recharge.reversed"];

const db = new Database(process.env.DATABASE || "receiver.db");
db.exec(`
  PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
  CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP);
  CREATE TABLE IF NOT EXISTS recharge (reference_no TEXT PRIMARY KEY, status TEXT, amount TEXT, sequence INTEGER);
  CREATE TABLE IF NOT EXISTS work (number INTEGER PRIMARY KEY, reference_no TEXT, status TEXT);
  CREATE TABLE IF NOT EXISTS notice (reference_no TEXT, text TEXT);
  CREATE TABLE IF NOT EXISTS feed (one INTEGER PRIMARY KEY CHECK (one = 1), after INTEGER);`);

const see = db.prepare("INSERT OR IGNORE INTO seen (id) VALUES (?)");
const upsert = db.prepare(`INSERT INTO recharge VALUES (?, ?, ?, ?) ON CONFLICT (reference_no) DO UPDATE
  SET status = excluded.status, amount = excluded.amount, sequence = excluded.sequence
  WHERE excluded.sequence > recharge.sequence`);
const enqueue = db.prepare("INSERT INTO work (reference_no, status) VALUES (?, ?)");
const first = db.prepare("SELECT * FROM work ORDER BY number LIMIT 1");
const remove = db.prepare("DELETE FROM work WHERE number = ?");
const notify = db.prepare("INSERT INTO notice VALUES (?, ?)");
const position = db.prepare("SELECT max(after) AS after FROM feed");
const move = db.prepare("INSERT OR REPLACE INTO feed VALUES (1, ?)");

/** Does all of it or nothing. */
function atomically(change) {
  db.exec("BEGIN IMMEDIATE");
  try {
    change();
    db.exec("COMMIT");
  } catch (problem) {
    db.exec("ROLLBACK");
    throw problem;
  }
}

/**
 * An event takes effect once, whether it was sent here, sent again or read from the feed; an older fact changes nothing,
 * and neither does an event of a type that means nothing here.
 */
export function record(id, { type, data }) {
  if (!KNOWN.includes(type)) {
    return;
  }
  atomically(() => {
    const isNew = see.run(id).changes === 1;
    if (isNew && upsert.run(data.reference_no, data.status, data.amount, data.sequence).changes === 1) {
      enqueue.run(data.reference_no, data.status);
    }
  });
}

/** Does the next thing that there is to do after a recharge has settled; says whether there was one. */
export function workOff() {
  const work = first.get();
  if (!work) {
    return false;
  }
  atomically(() => {
    tellCustomer(work);
    remove.run(work.number);
  });
  return true;
}

/**
 * Yours to write: a mail, a text message, money given back. What leaves the database may happen twice, if the machine
 * stops before the work is crossed off; give it the number of the work, to know it again.
 */
function tellCustomer(work) {
  notify.run(work.reference_no, `Your recharge: ${work.status}.`);
}

/** The number up to which the feed was read, or null. */
export function readUpTo() {
  return position.get().after;
}

export function hasReadUpTo(sequence) {
  move.run(sequence);
}

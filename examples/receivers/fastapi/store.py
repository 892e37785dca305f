"""What the receiver keeps, in one SQLite file."""

import os
import sqlite3
from contextlib import closing

KNOWN = ("recharge.success", "recharge.failed", "recharge.reversed")
TABLES = """
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
    CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP);
    CREATE TABLE IF NOT EXISTS recharge (reference_no TEXT PRIMARY KEY, status TEXT, amount TEXT, sequence INTEGER);
    CREATE TABLE IF NOT EXISTS work (number INTEGER PRIMARY KEY, reference_no TEXT, status TEXT);
    CREATE TABLE IF NOT EXISTS notice (reference_no TEXT, text TEXT);
    CREATE TABLE IF NOT EXISTS feed (one INTEGER PRIMARY KEY CHECK (one = 1), after INTEGER);"""
UPSERT = """INSERT INTO recharge VALUES (?, ?, ?, ?) ON CONFLICT (reference_no) DO UPDATE
    SET status = excluded.status, amount = excluded.amount, sequence = excluded.sequence
    WHERE excluded.sequence > recharge.sequence"""


def database():
    db = sqlite3.connect(os.environ.get("DATABASE", "receiver.db"))
    db.executescript(TABLES)
    return closing(db)


def record(db, id, event):
    """An event takes effect once, whether it was sent here, sent again or read from the feed.

    An older fact changes nothing, and neither does an event of a type that means nothing here.
    """
    if event["type"] not in KNOWN:
        return
    data = event["data"]
    with db:  # one transaction
        if db.execute("INSERT OR IGNORE INTO seen (id) VALUES (?)", (id,)).rowcount == 0:
            return
        recharge = (data["reference_no"], data["status"], data["amount"], data["sequence"])
        if db.execute(UPSERT, recharge).rowcount == 1:
            db.execute("INSERT INTO work (reference_no, status) VALUES (?, ?)", recharge[:2])


def work_off(db):
    """Does the next thing that there is to do after a recharge has settled; says whether there was one."""
    work = db.execute("SELECT number, reference_no, status FROM work ORDER BY number LIMIT 1").fetchone()
    if work is None:
        return False
    with db:
        tell_customer(db, *work)
        db.execute("DELETE FROM work WHERE number = ?", work[:1])
    return True


def tell_customer(db, number, reference_no, status):
    """Yours to write: a mail, a text message, money given back.

    What leaves the database may happen twice, if the machine stops before the work is crossed off; give it the number
    of the work, to know it again.
    """
    db.execute("INSERT INTO notice VALUES (?, ?)", (reference_no, f"Your recharge: {status}."))


def read_up_to(db):
    """The number up to which the feed was read, or None."""
    return db.execute("SELECT max(after) FROM feed").fetchone()[0]


def has_read_up_to(db, sequence):
    with db:
        db.execute("INSERT OR REPLACE INTO feed VALUES (1, ?)", (sequence,))

"""Records what the feed has and this receiver missed, and ends. After downtime, and every night:

API=https://ringback.example.com TOKEN=rb_live_… python catch_up.py
"""

import json
import os
import sys
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from store import database, has_read_up_to, read_up_to, record


def page(after):
    """The events behind that number; with None from the oldest that is kept."""
    query = urlencode({"limit": 200} if after is None else {"limit": 200, "after": after})
    url = os.environ.get("API", "http://127.0.0.1:8080") + "/v1/events?" + query
    with urlopen(Request(url, headers={"Authorization": "Bearer " + os.environ["TOKEN"]}), timeout=30) as answer:
        return json.load(answer)


def catch_up(db):
    after = read_up_to(db)
    while (events := page(after))["data"]:
        for event in events["data"]:
            record(db, event["id"], event)
        after = events["next_after"]
        has_read_up_to(db, after)  # Only now that all up to it is recorded.
    return after


try:
    with database() as db:
        print("has everything up to", catch_up(db) or "the beginning")
except HTTPError as error:
    # 410: events are gone from the feed. GET /v1/recharges has what became of each recharge.
    sys.exit(error.read().decode())

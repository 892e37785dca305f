#!/usr/bin/env python3
"""A day of recharges, in a minute: vendors' calls, a provider that loses answers and contradicts itself, and its books compared
with the ledger at the end. It ends with 0 only if every difference is one that the provider made.

    cargo build --release && python3 examples/day.py

Needs nothing but Python 3 and the binary. The provider of this day settles most recharges at once, loses 2 % of its answers after
it has executed the recharge, and in 0.1 % calls back that what it had called successful has failed.
"""

import argparse
import csv
import http.client
import http.server
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

SECRET = "a-secret-of-the-day"

CONFIGURATION = """
[[provider]]
name = "books"
in_flight = 32
enquire_after = "200ms"
submit = {{ url = "{url}/submit", format = "json", body = {{ reference = "{{reference}}", amount = "{{amount}}" }} }}
enquire = {{ url = "{url}/status", format = "json", body = {{ reference = "{{reference}}" }}, unknown = ["unknown reference"] }}
answer = {{ state = "state", provider_ref = "id", success = ["Success"], queued = ["Queued"], failed = ["Failed"] }}
callback = {{ path_secret = "{secret}", reference = "reference", state = "state" }}
statement = {{ reference = "reference", state = "state", amount = "amount" }}
"""


class Provider(http.server.ThreadingHTTPServer):
    """What it executed, and what it did wrong on purpose."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, seed):
        super().__init__(("127.0.0.1", 0), Calls)
        self.chance = random.Random(seed)
        self.lock = threading.Lock()
        self.books = {}
        self.lost = set()
        self.turned = set()
        self.twice = set()


class Calls(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reference, provider = asked["reference"], self.server
        with provider.lock:
            book = provider.books.get(reference)
            if self.path == "/submit":
                if book:
                    provider.twice.add(reference)
                state = "Failed" if provider.chance.random() < 0.05 else "Success"
                book = {"state": state, "id": f"B-{len(provider.books)}", "amount": asked["amount"]}
                provider.books[reference] = book
                if provider.chance.random() < 0.02:
                    provider.lost.add(reference)
                    return self.answer(502, {})
                if state == "Success" and provider.chance.random() < 0.001:
                    provider.turned.add(reference)
        self.answer(200, book or {"state": "Failed", "message": "unknown reference"})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Api:
    """Calls Ringback over one connection."""

    def __init__(self, address, token=""):
        self.connection = http.client.HTTPConnection(address, timeout=60)
        self.headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def call(self, method, path, body=None):
        self.connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            sys.exit(f"{method} {path} answered {answer.status}: {text.decode()}")
        return json.loads(text)


def order(address, token, references):
    api = Api(address, token)
    for reference in references:
        amount = str(50 + hash(reference) % 950)
        body = {"reference_no": reference, "operator_id": 1, "connection_no": "9801234567", "amount": amount}
        api.call("POST", "/v1/recharges", body)


def settle(api, patience=300):
    """Waits until nothing is queued."""
    end = time.monotonic() + patience
    while api.call("GET", "/v1/recharges?status=queued&limit=1")["data"]:
        if time.monotonic() > end:
            sys.exit("recharges are still queued")
        time.sleep(0.2)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--recharges", type=int, default=20_000)
    arguments.add_argument("--binary", default="target/release/ringback")
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()

    provider = Provider(given.seed)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        url = f"http://127.0.0.1:{provider.server_address[1]}"
        (folder / "day.toml").write_text(CONFIGURATION.format(url=url, secret=SECRET))
        settings = ["--database", f"sqlite:{folder}/day.db", "--config", str(folder / "day.toml")]
        environment = {**os.environ, "RINGBACK_ALLOW_NETWORKS": "127.0.0.0/8", "RINGBACK_LOG": "warn"}

        def ringback(*words):
            done = subprocess.run([given.binary, *words, *settings], env=environment, capture_output=True, text=True)
            if done.returncode not in (0, 3):  # 3: reconcile found differences
                sys.exit(done.stderr)
            return done.stdout

        server = subprocess.Popen([given.binary, "serve", "--listen", "127.0.0.1:0", *settings], env=environment, stdout=subprocess.PIPE, text=True)
        try:
            address = server.stdout.readline().strip().removeprefix("listening on http://")
            operator = Api(address, json.loads(ringback("token", "create", "--operator", "--json"))["token"])
            vendor = operator.call("POST", "/v1/vendors", {"name": "Shop", "email": "shop@example.com"})
            begun = time.monotonic()
            references = [f"DAY-{number:06}" for number in range(given.recharges)]
            threads = [threading.Thread(target=order, args=(address, vendor["live_token"], references[part::16])) for part in range(16)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            settle(Api(address, vendor["live_token"]))
            took = time.monotonic() - begun
            for reference in provider.turned:
                provider.books[reference]["state"] = "Failed"
                Api(address).call("POST", f"/callbacks/books/{SECRET}", {"reference": reference, "state": "Failed"})
            statement = folder / "statement.csv"
            with statement.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["reference", "state", "amount"])
                writer.writerows([reference, book["state"], book["amount"]] for reference, book in provider.books.items())
            *differences, counts = map(json.loads, ringback("reconcile", "--provider", "books", "--format", "json", str(statement)).splitlines())
            conflicts = operator.call("GET", "/v1/conflicts?limit=200")["data"]
        finally:
            server.terminate()
            server.wait()

    print(f"recharges: {given.recharges} in {took:.0f} s")
    print(f"answers lost: {len(provider.lost)}, all of them found by enquiry")
    print(f"handed over twice: {len(provider.twice)}")
    print(f"contradictions: {len(provider.turned)}, shown as {len(conflicts)} conflicts")
    for name, count in counts.items():
        print(f"{name.replace('_', ' ')}: {count}")
    unexplained = [found for found in differences if found["kind"] != "status" or found["reference"] not in provider.turned]
    for found in unexplained:
        print(f"not explained: {found}")
    good = not unexplained and not provider.twice and len(differences) == len(provider.turned) == len(conflicts)
    good = good and len(provider.books) == given.recharges == counts["matched"] + len(provider.turned)
    print("every difference is explained" if good else "this is not as it should be")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

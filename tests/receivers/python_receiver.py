"""A vendor's receiver for profile `standard`, written with the `standardwebhooks` library from PyPI.

The tests hold Ringback to a library that somebody else wrote. Every request is verified over the bytes as they
came, logged as one JSON line, and only then answered: whoever has seen the answer finds the line.

Environment: SECRET (`whsec_...`), OUT (file the lines are appended to), PORT (0 or unset: any free one).
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook


class Log:
    """Appends whole lines: one unbuffered write each, one thread at a time."""

    def __init__(self, path):
        self.file = open(path, "ab", buffering=0)
        self.lock = threading.Lock()

    def append(self, entry):
        line = json.dumps(entry).encode() + b"\n"
        with self.lock:
            self.file.write(line)


def judge(webhook, method, headers, body):
    """What the log says about one request."""
    entry = {
        "verified": False,
        "webhook_id": headers.get("webhook-id"),
        "sequence": None,
        "type": None,
        "reference_no": None,
        "status": None,
        "error": None,
    }
    try:
        if method != "POST":
            raise ValueError(f"expected POST, got {method}")
        event = webhook.verify(body, dict(headers.items()))
        kind, data = event["type"], event["data"]
        # A recharge carries its number among its facts, any other type beside its data; webhook.test has none.
        is_recharge = kind.startswith("recharge.")
        sequence = data["sequence"] if is_recharge else event.get("sequence")
        if type(sequence) is not int and (is_recharge or sequence is not None):
            raise ValueError("the sequence is not a whole number")
        entry.update(
            verified=True,
            sequence=sequence,
            type=kind,
            reference_no=data.get("reference_no") if is_recharge else None,
            status=data.get("status") if is_recharge else None,
        )
    except Exception as problem:  # A request can be wrong in any way; none may stop the receiver.
        entry["error"] = f"{type(problem).__name__}: {problem}"
    return entry


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def receive(self):
        try:
            body = self.read_body()
        except ValueError as problem:
            self.close_connection = True  # Where the next request begins is unknown.
            self.answer(400, str(problem))
            return
        if body is None:
            self.close_connection = True
            return
        entry = judge(self.server.webhook, self.command, self.headers, body)
        self.server.log.append(entry)
        if entry["verified"]:
            self.answer(204)
        else:
            self.answer(400, entry["error"])

    do_POST = do_GET = do_PUT = do_DELETE = do_PATCH = receive

    def read_body(self):
        """The body's bytes, or None when the client went away in the middle of them."""
        if "Transfer-Encoding" in self.headers:
            raise ValueError("a length is required")
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            raise ValueError("the length is not a number")
        body = self.rfile.read(int(length))
        return body if len(body) == int(length) else None

    def answer(self, status, text=""):
        body = text.encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 1024

    def __init__(self, port, webhook, log):
        self.webhook = webhook
        self.log = log
        super().__init__(("127.0.0.1", port), Receiver)

    def handle_error(self, request, client_address):
        # A client that hangs up is an ordinary day; anything else is worth a traceback.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main():
    missing = [name for name in ("SECRET", "OUT") if not os.environ.get(name)]
    if missing:
        sys.exit(f"python_receiver.py: set {' and '.join(missing)} in the environment")
    server = Server(
        int(os.environ.get("PORT") or 0),
        Webhook(os.environ["SECRET"]),
        Log(os.environ["OUT"]),
    )
    print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

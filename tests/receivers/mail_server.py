"""A mail server, from the `aiosmtpd` library from PyPI: it keeps each mail it gets as one JSON line.

Environment: OUT (file the lines are appended to), PORT. How mails are answered stands in the file OUT + ".answer", which
is read anew for each: `451` (it is kept, but the sender is told to try again), `550` (it is refused), or `hold` (it is
kept, and the sender waits for its answer). Without it, or empty: 250.
"""

import asyncio
import email
import email.policy
import json
import os

from aiosmtpd.smtp import SMTP


def answer(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


class Mailbox:
    def __init__(self, out):
        self.out = out

    async def handle_DATA(self, server, session, envelope):
        how = answer(self.out + ".answer")
        if how == "550":
            return "550 no such mailbox"
        mail = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        entry = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "shown_from": mail["from"],
            "shown_to": mail["to"],
            "subject": mail["subject"],
            "message_id": mail["message-id"],
            "date": mail["date"].datetime.isoformat(),
            "text": mail.get_content(),
        }
        with open(self.out, "a") as file:
            file.write(json.dumps(entry) + "\n")
        if how == "hold":
            await asyncio.sleep(3600)
        return "451 not now" if how == "451" else "250 kept"


async def main():
    handler = Mailbox(os.environ["OUT"])
    loop = asyncio.get_running_loop()
    make = lambda: SMTP(handler, hostname="mail.test", loop=loop)
    server = await loop.create_server(make, "127.0.0.1", int(os.environ["PORT"]))
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())

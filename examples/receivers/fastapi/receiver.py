"""SECRET=whsec_… uvicorn receiver:app --port 3000 --timeout-keep-alive 60"""

import logging
import os
import sqlite3
from contextlib import asynccontextmanager
from threading import Event, Thread

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from store import database, record, work_off

webhook = Webhook(os.environ["SECRET"])


def work(ended):
    """The work that comes after an answer, in a thread of its own."""
    with database() as db:
        while not ended.is_set():
            try:
                if not work_off(db):
                    ended.wait(1)
            except sqlite3.Error:
                logging.exception("work has to wait")
                ended.wait(1)


@asynccontextmanager
async def lifespan(app):
    ended = Event()
    worker = Thread(target=work, args=(ended,))
    worker.start()
    yield
    ended.set()
    worker.join()


app = FastAPI(lifespan=lifespan)


@app.post("/hook")
async def hook(request: Request):
    body = await request.body()  # The bytes as they came; a parameter with a model would have parsed them.
    try:
        # Looks at the bytes, at the time, and at each signature in the header.
        event = webhook.verify(body, dict(request.headers))
    except (WebhookVerificationError, ValueError):
        return Response(status_code=400)
    # If this fails, FastAPI answers 500, and the event comes again.
    await run_in_threadpool(keep, request.headers["webhook-id"], event)
    return Response(status_code=204)


def keep(id, event):
    with database() as db:
        record(db, id, event)

import base64, hashlib, hmac, json, time


# body: the bytes as they came (with FastAPI: await request.body()); headers: request.headers.
def verified(body: bytes, headers, secret: str) -> bool:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    at = headers.get("webhook-timestamp", "")
    signed = f"{headers.get('webhook-id', '')}.{at}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = headers.get("webhook-signature", "").split(" ")
    fits = any(hmac.compare_digest(wanted, one) for one in given)
    return fits and at.isdigit() and abs(time.time() - int(at)) <= 300

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def decrypted(body: bytes, secret: str) -> bytes:
    data = base64.b64decode(json.loads(body)["data"])
    iv, cipher = data[:16], data[16:]
    try:
        inner = base64.b64decode(cipher, validate=True)
        cipher = inner if inner and len(inner) % 16 == 0 else cipher
    except ValueError:
        pass
    key = secret.encode()[:32].ljust(32, b"\0")
    aes = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    return unpadder.update(aes.update(cipher) + aes.finalize()) + unpadder.finalize()

"""An issuer in memory, for tests: it signs tokens and lists, answers the feed, and its clock is moved by hand."""

import base64
import json
import time
import urllib.error
import urllib.parse
import zlib
from email.message import Message
from typing import Any

import jwt
from countersign_status import LIST_BYTES, Status
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER = "https://id.example.com"
AUDIENCE = "https://orders.example.com"
LIST = f"{ISSUER}/status/0"
_private = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class FakeKeys(jwt.PyJWKClient):
    def fetch_data(self) -> Any:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_private.public_key()))
        return {"keys": [public | {"kid": "key", "alg": "RS256", "use": "sig"}]}


class FakeIssuer:
    def __init__(self) -> None:
        self.now = time.time()
        self.bits = bytearray(LIST_BYTES)
        self.seq = 5
        self.changed: dict[str, Any] = {}  # what is otherwise in the next list
        self.events: list[Any] = []
        self.unchanged = 0
        self.receipts: list[Any] = []
        self.since = self.wait = self.authorization = ""
        self.refusal = 0  # the HTTP status with which the feed is refused
        self.away = False

    def status(self) -> Status:
        keys = FakeKeys(f"{ISSUER}/jwks.json")
        return Status(ISSUER, ("orders", "a b:"), keys, lambda: self.now, self.fetch, "shop 1")

    def sign(self, claims: dict[str, Any], typ: Any, **header: Any) -> str:
        header = {"typ": typ, "kid": "key", "alg": "RS256"} | header
        key = _private if header["alg"] == "RS256" else "secret" * 8
        return jwt.encode(claims, key, algorithm=header["alg"], headers=header)

    def access_token(self, idx: int = 1, scope: str = "read", typ: Any = "at+jwt", **more: Any) -> str:
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": [AUDIENCE], "sub": "ada", "client_id": "web", "iat": now, "exp": now + 600}
        claims |= {"jti": "1", "scope": scope, "status": {"status_list": {"idx": idx, "uri": LIST}}}
        return self.sign({name: value for name, value in (claims | more).items() if value is not None}, typ)

    def encode(self, data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def lst(self, bits: bytes) -> str:
        return self.encode(zlib.compress(bits))

    def list_token(self) -> str:
        header = {name: self.changed[name] for name in ("typ", "kid", "alg") if name in self.changed}
        now, bits = int(self.now), self.lst(bytes(self.bits))
        claims = {"iss": ISSUER, "sub": LIST, "iat": now, "exp": now + 360, "ttl": 15, "seq": self.seq}
        claims |= {"status_list": {"bits": 1, "lst": bits}}
        claims |= {name: value for name, value in self.changed.items() if name not in header}
        claims = {name: value for name, value in claims.items() if value is not None}
        return self.sign(claims, header.pop("typ", "statuslist+jwt"), **header)

    def fetch(
        self, url: str, headers: dict[str, str], _timeout: float, _most: int, data: bytes | None = None
    ) -> tuple[bytes, str] | None:
        if self.away:
            raise OSError("away")
        if url == f"{ISSUER}/status":
            return json.dumps({"status_lists": [LIST]}).encode(), ""
        if url == LIST:
            token, etag = self.list_token().encode(), f'"{self.seq}"'
            if headers.get("If-None-Match") == etag:
                self.unchanged += 1
                return None
            return token, etag
        self.authorization = headers["Authorization"]
        if url == f"{ISSUER}/status/receipts":
            self.receipts.append(json.loads(data or b""))
            return b"", ""
        if self.refusal:
            raise urllib.error.HTTPError(url, self.refusal, "", Message(), None)
        query = urllib.parse.parse_qs(url.removeprefix(f"{ISSUER}/status/events?"))
        self.since, self.wait = query["since"][0], query["wait"][0]
        return json.dumps({"events": self.events}).encode(), ""

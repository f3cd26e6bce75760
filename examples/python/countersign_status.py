"""What is over, in memory: Countersign's keys and status lists, kept fresh by one thread, for any Python service.

    status = Status("https://id.example.com", feed=("orders", secret)).start()
    status.is_over(header, claims)     # of a token whose signature was verified; asks nobody

Without `feed` a revocation is known as soon as the list is fetched again (15 s), with it within a second. `feed` is a
client with the scope `status.read`; who follows tells the issuer how far it is, and by `leave()` that it ends. One token of
a machine that was revoked by itself is in no list: it lives until its `exp`. It needs PyJWT and no framework.
"""

import base64
import http.client
import json
import logging
import math
import random
import re
import secrets
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jwt

ENTRIES = 1 << 20  # how many grants a list has room for
LIST_BYTES = ENTRIES // 8
MAX_TOKEN_BYTES = 512 * 1024  # a list that does not compress at all is half as long
MAX_FEED_BYTES = 16 * 1024 * 1024
KEYS_EVERY, KEYS_LIFE, RECEIPT_EVERY, RETRY_AFTER = 240, 3600, 10, 15  # seconds
REFUSED_FOR = (2, 5, 15)  # seconds until a feed that was refused is asked for again
WENT_BACK_AFTER = 60  # seconds: more than the clocks of the issuer's instances differ
KNOWN_MEMBERS = {"n", "set", "clr", "cut", "uncut", "ack"}

log = logging.getLogger(__name__)


class Blind(Exception):
    """We do not know whether a token is over. Answer 503 with Retry-After: it is not the token's fault, so never 401."""


class List(NamedTuple):
    bits: bytes
    seq: int  # the last change that is in it
    iat: int
    exp: int
    ttl: int
    etag: str


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        return None


# HTTP_PROXY and HTTPS_PROXY are not heeded: no proxy comes between the issuer and us.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def fetch(
    url: str, headers: dict[str, str], timeout: float, most: int, data: bytes | None = None
) -> tuple[bytes, str] | None:
    """The body and its ETag; None when it is the one that is known. With `data` it is a POST."""
    try:
        with _opener.open(urllib.request.Request(url, data, headers), timeout=timeout) as answer:
            body = answer.read(most + 1)
            if len(body) > most:
                raise ValueError(f"{url} is too long")
            return body, answer.headers.get("ETag", "")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 304:
            return None
        raise


class Keys(jwt.PyJWKClient):
    """The JWKS, fetched as the lists are: PyJWKClient by itself would ask a proxy."""

    def fetch_data(self) -> Any:
        try:
            answer = fetch(self.uri, {}, self.timeout, MAX_TOKEN_BYTES)
            return json.loads(answer[0]) if answer else {}
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise jwt.PyJWKClientConnectionError(f"no JWKS: {error}") from error


def inflate(lst: str) -> bytes:
    """The bits of a list (draft-ietf-oauth-status-list §4.1). A bomb does not go off: one byte too many is the last."""
    zlib_stream, compressed = zlib.decompressobj(), base64.urlsafe_b64decode(lst + "=" * (-len(lst) % 4))
    bits = zlib_stream.decompress(compressed, LIST_BYTES + 1)
    if len(bits) != LIST_BYTES or not zlib_stream.eof or zlib_stream.unused_data:
        raise ValueError(f"a list has {LIST_BYTES} bytes")
    return bits


class Status:
    def __init__(
        self,
        issuer: str,
        feed: tuple[str, str] | None = None,
        keys: jwt.PyJWKClient | None = None,
        clock: Callable[[], float] = time.time,
        fetch: Callable[..., tuple[bytes, str] | None] = fetch,
        name: str | None = None,
    ) -> None:
        url = urllib.parse.urlsplit(issuer)
        if url.scheme != "https" and url.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError("the issuer is not https")
        self.issuer, self.feed, self.clock, self.fetch = issuer, feed, clock, fetch
        client = ":".join(urllib.parse.quote_plus(part) for part in feed or ())  # RFC 6749 §2.3.1
        self.authorization = "Basic " + base64.b64encode(client.encode()).decode()
        # The background fetches every 240 s, so no request waits for keys; an hour is for when the issuer is away.
        self.keys = keys or Keys(
            f"{issuer}/jwks.json", lifespan=KEYS_LIFE, timeout=2, cooldown_duration=10, cache_keys=False
        )
        self.is_list = re.compile(re.escape(issuer) + r"/status/(0|[1-9][0-9]{0,3})").fullmatch  # one spelling of each
        self.lists: dict[str, List] = {}
        # Bits that the feed set, until they are in a list: by which change, and when we heard of it.
        self.told: dict[tuple[str, int], tuple[int, float]] = {}
        self.killed: frozenset[str] = frozenset()  # keys that were compromised
        self.cuts: set[str] = set()  # those that we have heard of
        self.cursor: int | None = None  # the last change that the feed told us
        self.keys_due = self.lists_due = 0.0
        self.feed_due = 0.0 if feed else math.inf
        self.refusals = 0  # of the feed, in a row
        self.loaded = False
        self.name = name or socket.gethostname()  # for operators; 128 bytes at most
        self.seq: int | None = None  # the last change that is in force here; None while we do not follow
        self.ack = False  # whether the issuer wants a receipt
        self.receipt_wanted = threading.Event()
        self.leaving = False
        self.receipts = threading.Thread(target=self._receipts, name="countersign-receipts", daemon=True)

    # What requests ask.

    def key(self, kid: Any) -> jwt.PyJWK:
        """The key that a token names; raises jwt.InvalidTokenError if nobody has it, Blind if we cannot say."""
        if not isinstance(kid, str) or kid in self.killed:
            raise jwt.InvalidTokenError("no key of the issuer's")
        try:
            return self.keys.get_signing_key(kid)
        except jwt.PyJWKClientConnectionError as error:
            raise Blind(str(error)) from error
        except jwt.PyJWKClientError as error:
            raise jwt.InvalidTokenError(str(error)) from error
        except (jwt.PyJWTError, OSError, ValueError) as error:  # what came is no JWKS
            raise Blind(str(error)) from error

    def is_over(self, header: dict[str, Any], claims: dict[str, Any]) -> bool:
        """Whether a token that was verified is over all the same; raises Blind if that is not known."""
        if header["kid"] in self.killed:
            return True
        try:
            place = claims["status"]["status_list"]
            uri, idx = place["uri"], place["idx"]
        except (KeyError, TypeError):
            return True  # the issuer puts one into every token
        if not isinstance(uri, str) or not self.is_list(uri):
            return True
        if type(idx) is not int or not 0 <= idx < ENTRIES:
            return True  # draft-ietf-oauth-status-list §8.3: an index outside of the list is refused
        if (uri, idx) in self.told:
            return True
        known = self.lists.get(uri)
        if known is None or known.exp <= self.clock():
            raise Blind(f"{uri} is not known or too old")  # §8.3: after exp it is not relied on
        return bool(known.bits[idx // 8] >> (idx % 8) & 1)  # §4.1: the least significant bit first

    # What the thread does.

    def start(self) -> "Status":
        threading.Thread(target=self._run, name="countersign-status", daemon=True).start()
        if self.feed:
            self.receipts.start()
        return self

    def leave(self) -> None:
        """Before the process ends: the issuer need not wait for it any more."""
        self.leaving = True
        self.receipt_wanted.set()
        if self.receipts.is_alive():
            self.receipts.join(3)

    def _run(self) -> None:
        pause = 0.5
        while True:
            try:
                self.step()
                pause = 0.5
            except Exception as error:  # noqa: BLE001  whatever it is, we go on with what we have until it is too old
                log.warning("what is over cannot be learnt: %s: %s", type(error).__name__, error)
                time.sleep(pause * random.uniform(0.5, 1))
                pause = min(pause * 2, 15)

    def step(self) -> None:
        """Fetches what is due, then waits for the next change, or until something is due."""
        now = time.monotonic()
        if now >= self.keys_due:
            self.keys_due = now + 10  # if it fails
            self.keys.get_jwk_set(refresh=True)
            self.keys_due = now + KEYS_EVERY
        if now >= self.lists_due:
            self.refresh()
            ttl = min((known.ttl for known in self.lists.values()), default=15)
            self.lists_due = now + ttl * random.uniform(0.8, 1)
        # With the lists fetched that a change called for, all that the feed told us is in force.
        begins, self.seq = self.seq is None, self.cursor
        if self.seq is not None and (begins or self.ack):
            self.ack = False
            self.receipt_wanted.set()
        asked = time.monotonic()
        wait = max(1, math.ceil(min(self.keys_due, self.lists_due) - asked))
        if asked < self.feed_due:
            time.sleep(min(wait, self.feed_due - asked))
            return
        self.follow(min(wait, 20))
        time.sleep(max(0, asked + 0.2 - time.monotonic()))  # no issuer is asked more than five times a second

    def refresh(self) -> None:
        """Fetches every list that has changed."""
        answer = self.fetch(f"{self.issuer}/status", {}, 2, MAX_TOKEN_BYTES)
        for uri in json.loads(answer[0])["status_lists"] if answer else ():
            if self.is_list(uri):
                self.load(uri)
        self.loaded = bool(self.lists)

    def load(self, uri: str) -> None:
        """Fetches and verifies one list (draft-ietf-oauth-status-list §8.3)."""
        known = self.lists.get(uri)
        headers = {"Accept": "application/statuslist+jwt"}
        if known and known.etag:
            headers["If-None-Match"] = known.etag
        answer = self.fetch(uri, headers, 2, MAX_TOKEN_BYTES)
        if answer is None:
            return
        token = answer[0].decode("ascii")
        verified = jwt.decode_complete(
            token,
            self.key(jwt.get_unverified_header(token).get("kid")),
            algorithms=["RS256"],  # RFC 8725 §3.1
            issuer=self.issuer,
            leeway=30,
            options={"require": ["iss", "sub", "iat", "exp", "ttl", "seq", "status_list"]},
        )
        header, claims = verified["header"], verified["payload"]
        if header.get("typ") not in ("statuslist+jwt", "application/statuslist+jwt"):  # RFC 8725 §3.11
            raise ValueError("not a status list")
        if claims["sub"] != uri or claims["status_list"]["bits"] != 1:  # §5.1: sub is where the list was asked for
            raise ValueError("another list")
        seq, iat = claims["seq"], claims["iat"]
        if known and seq < known.seq:
            if known.exp > self.clock() and iat <= known.iat + WENT_BACK_AFTER:
                return  # of an instance that is a moment behind, or kept by somebody on the way
            self.cursor = None  # the issuer's database was put back: the feed begins anew, from the lists
        bits = inflate(claims["status_list"]["lst"])
        self.lists[uri] = List(bits, seq, iat, claims["exp"], max(1, claims["ttl"]), answer[1])
        # A change that is still missing long after we heard of it was lost with the issuer's database.
        self.told = {
            place: (n, at)
            for place, (n, at) in self.told.items()
            if place[0] != uri or (n > seq and iat <= at + WENT_BACK_AFTER)
        }

    def follow(self, wait: int) -> None:
        """Asks for the changes since the last that we know of; the answer comes with the next one, or after `wait`."""
        since = self.cursor
        if since is None:  # from the lists, and at once
            since, wait = min((known.seq for known in self.lists.values()), default=0), 0
        self.cursor = None  # after a failure it begins anew
        url = f"{self.issuer}/status/events?since={since}&wait={wait}"
        try:
            answer = self.fetch(url, {"Authorization": self.authorization}, wait + 5, MAX_FEED_BYTES)
        except urllib.error.HTTPError as error:
            if error.code not in (400, 401, 403):
                raise
            after = REFUSED_FOR[min(self.refusals, 2)]
            self.refusals, self.feed_due = self.refusals + 1, time.monotonic() + after
            log.warning("HTTP %s: the feed is refused and asked for again in %s s; lists are polled", error.code, after)
            return
        self.cursor, self.refusals = since, 0
        for event in json.loads(answer[0])["events"] if answer else ():
            self.apply(event["event"], event["data"])

    def apply(self, event: str, data: Any) -> None:
        """What tightens is in force at once; what loosens waits for the signed list. What is not clear fetches the lists."""
        if event == "hello":  # with every cut-off that is in force
            self._cut(data["cuts"])
            self.cuts = {json.dumps(cut) for cut in data["cuts"]}
        elif event == "change" and self.cursor is not None and data["n"] == self.cursor + 1:
            self.cursor = data["n"]
            uris = {number: f"{self.issuer}/status/{number // ENTRIES}" for number in data.get("set", ())}
            self.told |= {(uri, number % ENTRIES): (data["n"], self.clock()) for number, uri in uris.items()}
            self._cut(data.get("cut", ()))
            self.ack |= data.get("ack") is True
            if not data.keys() <= KNOWN_MEMBERS:  # `lists`, or something new
                self.lists_due = 0
        elif event not in ("beat", "ckpt"):  # a reset, a gap, or something new
            self.lists_due = 0
            self.cursor = None
            raise ValueError(f"the feed does not go on: {event}")

    def _cut(self, cuts: Any) -> None:
        for cut in cuts:
            if json.dumps(cut) in self.cuts:
                continue
            self.cuts.add(json.dumps(cut))
            if cut["k"] == "kid":
                self.killed |= {cut["h"]}
                self.keys_due = 0
            else:
                self.lists_due = 0

    def _receipts(self) -> None:
        """Tells the issuer every 10 s, and when it asks, how far we are. Nothing is lost if one is."""
        headers = {"Authorization": self.authorization, "Content-Type": "application/json"}
        verifier, leaves = secrets.token_urlsafe(16), False
        while not leaves:
            self.receipt_wanted.wait(RECEIPT_EVERY)
            self.receipt_wanted.clear()
            leaves = self.leaving
            if self.seq is None:
                continue
            receipt = {"verifier": verifier, "name": self.name, "seq": self.seq, "leaves": leaves}
            try:
                self.fetch(f"{self.issuer}/status/receipts", headers, 2, 0, json.dumps(receipt).encode())
            except (OSError, ValueError, http.client.HTTPException) as error:
                log.debug("a receipt was not taken: %s", error)

"""What is over, in memory: Countersign's keys and status lists, kept fresh by one thread, for any Python service.

    status = Status("https://id.example.com", feed=("orders", secret)).start()
    status.is_over(header, claims)     # of a token whose signature was verified; asks nobody

Without `feed` a revocation is known as soon as the list is fetched again (15 s), with it within a second. `feed` is a
client with the scope `status.read`. One token of a machine that was revoked by itself is in no list: it lives until its
`exp`. It needs PyJWT and no framework.
"""

import base64
import json
import logging
import math
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from typing import Any, Callable, NamedTuple

import jwt

ENTRIES = 1 << 20  # how many grants a list has room for
LIST_BYTES = ENTRIES // 8
MAX_TOKEN_BYTES = 512 * 1024  # a list that does not compress at all is half as long
MAX_FEED_BYTES = 16 * 1024 * 1024
KEYS_EVERY, KEYS_LIFE, RETRY_AFTER = 240, 3600, 15  # seconds
KNOWN_MEMBERS = {"n", "set", "clr", "cut", "uncut", "ack"}

log = logging.getLogger(__name__)


class Blind(Exception):
    """We do not know whether a token is over. Answer 503 with Retry-After: it is not the token's fault, so never 401."""


class List(NamedTuple):
    bits: bytes
    seq: int  # the last change that is in it
    exp: int
    ttl: int
    etag: str


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect)


def fetch(url: str, headers: dict[str, str], timeout: float, most: int) -> tuple[bytes, str] | None:
    """The body and its ETag; None when it is the one that is known."""
    try:
        with _opener.open(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
            body = answer.read(most + 1)
            if len(body) > most:
                raise ValueError(f"{url} is too long")
            return body, answer.headers.get("ETag", "")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 304:
            return None
        raise


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
    ) -> None:
        url = urllib.parse.urlsplit(issuer)
        if url.scheme != "https" and url.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError("the issuer is not https")
        self.issuer, self.feed, self.clock, self.fetch = issuer, feed, clock, fetch
        # The background fetches every 240 s, so no request waits for keys; an hour is for when the issuer is away.
        self.keys = keys or jwt.PyJWKClient(
            f"{issuer}/jwks.json", lifespan=KEYS_LIFE, timeout=2, cooldown_duration=10, cache_keys=False
        )
        self.lists: dict[str, List] = {}
        self.told: dict[tuple[str, int], int] = {}  # bits that the feed set, until they are in a list: by which change
        self.killed: frozenset[str] = frozenset()  # keys that were compromised
        self.cuts: set[str] = set()  # those that we have heard of
        self.cursor: int | None = None  # the last change that the feed told us
        self.keys_due = self.lists_due = 0.0
        self.loaded = False

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
        if not isinstance(uri, str) or not uri.startswith(f"{self.issuer}/status/"):
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
        return self

    def _run(self) -> None:
        pause = 0.5
        while True:
            try:
                self.step()
                pause = 0.5
            except Exception as error:  # whatever it is, we go on with what we have until it is too old
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
        wait = max(1, math.ceil(min(self.keys_due, self.lists_due) - time.monotonic()))
        if self.feed is None:
            time.sleep(wait)
            return
        asked = time.monotonic()
        self.follow(min(wait, 20))
        time.sleep(max(0, asked + 0.2 - time.monotonic()))  # no issuer is asked more than five times a second

    def refresh(self) -> None:
        """Fetches every list that has changed."""
        answer = self.fetch(f"{self.issuer}/status", {}, 2, MAX_TOKEN_BYTES)
        for uri in json.loads(answer[0])["status_lists"] if answer else ():
            if uri.startswith(f"{self.issuer}/status/"):
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
        if known and known.exp > self.clock() and claims["seq"] < known.seq:
            return  # of an instance that is a moment behind
        bits = inflate(claims["status_list"]["lst"])
        self.lists[uri] = List(bits, claims["seq"], claims["exp"], max(1, claims["ttl"]), answer[1])
        self.told = {place: n for place, n in self.told.items() if place[0] != uri or n > claims["seq"]}

    def follow(self, wait: int) -> None:
        """Asks for the changes since the last that we know of; the answer comes with the next one, or after `wait`."""
        since = self.cursor if self.cursor is not None else min((known.seq for known in self.lists.values()), default=0)
        client = ":".join(urllib.parse.quote_plus(part) for part in self.feed or ())  # RFC 6749 §2.3.1
        headers = {"Authorization": "Basic " + base64.b64encode(client.encode()).decode()}
        self.cursor = None  # after a failure it begins anew, from the lists
        answer = self.fetch(f"{self.issuer}/status/events?since={since}&wait={wait}", headers, wait + 5, MAX_FEED_BYTES)
        self.cursor = since
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
            self.told |= {(uri, number % ENTRIES): data["n"] for number, uri in uris.items()}
            self._cut(data.get("cut", ()))
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

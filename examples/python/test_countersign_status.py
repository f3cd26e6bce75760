"""What is taken for a list, what the feed does to it, and what is said when it is too old."""

import base64
import http.server
import os
import subprocess
import sys
import threading
import time
import unittest
import zlib
from unittest import mock

import jwt
from countersign_status import LIST_BYTES, Blind, Status
from fake_issuer import ISSUER, LIST, FakeIssuer

ASK = """
import sys
from countersign_status import Status, fetch
status = Status(sys.argv[1])
fetch(status.issuer + "/status", {}, 2, 100)
status.keys.fetch_data()
"""


asked: list[str] = []


class Recorder(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_args: object) -> None:
        pass


class Lists(unittest.TestCase):
    def setUp(self) -> None:
        self.issuer = FakeIssuer()
        self.status = self.issuer.status()

    def is_over(self, idx: object, uri: object = LIST) -> bool:
        return self.status.is_over({"kid": "key"}, {"status": {"status_list": {"idx": idx, "uri": uri}}})

    def test_a_bit_is_found_where_the_draft_says(self) -> None:
        self.issuer.bits[0:2] = b"\xb9\xa3"  # draft-ietf-oauth-status-list §4.1
        self.status.refresh()
        self.assertTrue(self.status.loaded)
        self.assertEqual([idx for idx in range(16) if self.is_over(idx)], [0, 3, 4, 5, 7, 8, 9, 13, 15])

    def test_nothing_is_known_before_the_first_list_and_after_its_end(self) -> None:
        with self.assertRaises(Blind):
            self.is_over(1)
        self.status.refresh()
        self.issuer.now += 359
        self.assertFalse(self.is_over(1))
        self.issuer.now += 1
        with self.assertRaises(Blind):
            self.is_over(1)
        # An issuer that is away leaves what there is.
        self.issuer.now -= 60
        self.issuer.away = True
        with self.assertRaises(OSError):
            self.status.refresh()
        self.assertFalse(self.is_over(1))

    def test_a_token_without_a_place_is_over_and_one_in_a_new_list_is_not_known(self) -> None:
        self.status.refresh()
        for idx in (1 << 20, -1, "1", True):
            self.assertTrue(self.is_over(idx), idx)
        for uri in ("https://other.example/status/0", f"{LIST}/../0", f"{ISSUER}/status/00", f"{LIST}\n", 0):
            self.assertTrue(self.is_over(1, uri), uri)
        for claims in ({}, {"status": None}, {"status": {"status_list": 1}}):
            self.assertTrue(self.status.is_over({"kid": "key"}, claims), claims)
        with self.assertRaises(Blind):
            self.is_over(1, f"{ISSUER}/status/7")

    def test_only_a_list_that_is_one_is_taken(self) -> None:
        now = int(time.time())
        bad: list[dict[str, object]] = [
            {"typ": "at+jwt"},
            {"kid": "unknown"},
            {"alg": "HS256"},
            {"iss": "https://other.example"},
            {"sub": f"{ISSUER}/status/1"},
            {"exp": now - 31},
            {"iat": now + 60},
            {"seq": None},
            {"status_list": {"bits": 2, "lst": self.issuer.lst(bytes(LIST_BYTES))}},
            {"status_list": {"bits": 1, "lst": self.issuer.lst(bytes(LIST_BYTES - 1))}},
            {"status_list": {"bits": 1, "lst": self.issuer.lst(bytes(LIST_BYTES + 1))}},
            {"status_list": {"bits": 1, "lst": self.issuer.lst(bytes(64 << 20))}},
            {"status_list": {"bits": 1, "lst": self.issuer.lst(bytes(LIST_BYTES))[:-8]}},
            {"status_list": {"bits": 1, "lst": self.issuer.encode(zlib.compress(bytes(LIST_BYTES)) + b"x")}},
            {"status_list": {"bits": 1, "lst": self.issuer.encode(zlib.compress(bytes(LIST_BYTES))[:-1])}},
        ]
        for changed in bad:
            self.issuer.changed = changed
            with self.assertRaises((ValueError, jwt.PyJWTError), msg=str(changed)[:80]):
                self.status.load(LIST)
        self.issuer.changed = {}
        self.status.load(LIST)
        self.assertFalse(self.is_over(1))

    def test_a_bomb_takes_no_memory(self) -> None:
        import tracemalloc

        self.issuer.changed = {"status_list": {"bits": 1, "lst": self.issuer.lst(bytes(200 << 20))}}
        tracemalloc.start()
        with self.assertRaises(ValueError):
            self.status.load(LIST)
        self.assertLess(tracemalloc.get_traced_memory()[1], 8 << 20)
        tracemalloc.stop()

    def test_what_has_not_changed_is_not_sent_again_and_what_is_older_is_not_taken(self) -> None:
        self.status.refresh()
        self.status.refresh()
        self.assertEqual(self.issuer.unchanged, 1)
        self.issuer.bits[0], self.issuer.seq = 1, 9
        self.status.refresh()
        self.issuer.bits[0], self.issuer.seq = 0, 8
        self.status.refresh()
        self.assertTrue(self.is_over(0), "of an instance that is behind")

    def test_a_smaller_number_is_taken_long_after_the_last_list_and_the_feed_begins_anew(self) -> None:
        self.issuer.now -= 100
        self.status.refresh()
        self.feed(self.change(6), self.change(7))
        self.issuer.seq = 7
        self.status.refresh()
        self.issuer.seq, self.issuer.now = 2, int(self.issuer.now) + 60
        self.status.refresh()
        self.assertEqual((self.status.lists[LIST].seq, self.status.cursor), (7, 7), "kept by somebody on the way")
        self.issuer.now += 1
        self.status.refresh()
        self.assertEqual((self.status.lists[LIST].seq, self.status.cursor), (2, None))
        self.feed()
        self.assertEqual(self.issuer.since, "2")

    def test_a_bit_that_was_told_is_dropped_when_the_issuer_has_lost_it(self) -> None:
        self.issuer.now = int(self.issuer.now) - 100
        self.status.refresh()
        self.feed(self.change(6), self.change(7), self.change(8, set=[3]))
        for seq, later, is_over in ((6, 60, True), (7, 1, False)):
            self.issuer.seq, self.issuer.now = seq, self.issuer.now + later
            self.status.refresh()
            self.assertEqual(self.is_over(3), is_over)

    def feed(self, *events: object) -> None:
        self.issuer.events = [{"event": "hello", "data": {"n": 9, "lists": 1, "cuts": []}}, *events]
        self.status.follow(1)

    def change(self, n: int, **more: object) -> object:
        return {"event": "change", "data": {"n": n, **more}}

    def test_the_feed_tightens_at_once_and_only_a_list_loosens(self) -> None:
        self.status.refresh()
        self.feed(self.change(6, set=[3, (1 << 20) + 4]), {"event": "beat", "data": {"n": 6}})
        self.assertEqual((self.issuer.since, self.status.cursor), ("5", 6))
        self.assertTrue(self.is_over(3) and not self.is_over(4) and self.is_over(4, f"{ISSUER}/status/1"))
        self.feed(self.change(7, clr=[3]), self.change(8, set=[5]))
        self.assertTrue(self.is_over(3))
        self.issuer.seq = 7
        self.status.refresh()
        self.assertFalse(self.is_over(3))
        self.assertTrue(self.is_over(5), "the list is older than the change")

    def test_what_is_not_clear_fetches_the_lists_anew(self) -> None:
        far = time.monotonic() + 1000
        cut = {"k": "sub", "h": "x", "nbf": 1, "until": 2}
        for event, goes_on in (
            (self.change(6, cut=[cut]), True),
            (self.change(6, lists=2), True),
            (self.change(6, weather="fine"), True),
            (self.change(8), False),
            ({"event": "reset", "data": {}}, False),
            ({"event": "weather", "data": {}}, False),
        ):
            self.status = self.issuer.status()
            self.status.refresh()
            self.status.lists_due = far
            if goes_on:
                self.feed(event)
                self.assertEqual(self.status.cursor, 6)
            else:
                with self.assertRaises(ValueError):
                    self.feed(event)
                self.assertIsNone(self.status.cursor)
            self.assertEqual(self.status.lists_due, 0, event)

    def test_a_cut_off_is_news_once(self) -> None:
        self.status.refresh()
        cut = {"k": "sub", "h": "x", "nbf": 1, "until": 2}
        for due in (0, 1000):
            self.status.lists_due = 1000
            self.issuer.events = [{"event": "hello", "data": {"n": 5, "lists": 1, "cuts": [cut]}}]
            self.status.follow(1)
            self.assertEqual(self.status.lists_due, due)

    def test_a_compromised_key_signs_nothing(self) -> None:
        self.status.refresh()
        self.status.keys_due = 1000
        self.feed(self.change(6, cut=[{"k": "kid", "h": "key", "nbf": 1, "until": 0}]))
        self.assertTrue(self.is_over(1))
        self.assertEqual(self.status.keys_due, 0)
        self.issuer.seq = 6
        with self.assertRaises(jwt.InvalidTokenError):
            self.status.load(LIST)

    def test_after_a_failure_the_feed_begins_where_the_lists_are(self) -> None:
        self.status.refresh()
        self.feed(self.change(6, set=[3]))
        self.issuer.away = True
        with self.assertRaises(OSError):
            self.status.follow(1)
        self.issuer.away = False
        self.feed(self.change(6, set=[3]))
        self.assertEqual(self.issuer.since, "5")

    def test_who_follows_says_who_it_is(self) -> None:
        self.status.refresh()
        self.feed()
        scheme, credentials = self.issuer.authorization.split(" ")
        self.assertEqual((scheme, base64.b64decode(credentials)), ("Basic", b"orders:a+b%3A"))

    def test_a_feed_that_is_refused_is_asked_for_again_and_the_lists_are_polled(self) -> None:
        self.status.refresh()
        for code, after in ((401, 2), (403, 5), (400, 15), (403, 15)):
            self.issuer.refusal = code
            with self.assertLogs("countersign_status", "WARNING") as logs:
                self.status.follow(1)
            self.assertRegex(logs.output[0], f"HTTP {code}: .* in {after} s")
            self.assertAlmostEqual(self.status.feed_due - time.monotonic(), after, delta=0.5)
        self.issuer.refusal, self.issuer.bits[0], self.issuer.seq = 0, 1, 6
        self.status.feed_due, self.status.lists_due = time.monotonic() + 0.1, 0
        self.status.step()
        self.assertEqual((self.is_over(0), self.issuer.since), (True, ""))
        self.feed()
        self.assertEqual((self.issuer.since, self.issuer.wait, self.status.refusals), ("6", "0", 0))
        self.issuer.refusal = 503
        with self.assertRaises(OSError):
            self.status.follow(1)

    def receipts(self, at_least: int) -> list[object]:
        """What was said in the receipts; waited for until there are so many."""
        began = time.monotonic()
        while len(self.issuer.receipts) < at_least and time.monotonic() - began < 5:
            time.sleep(0.01)
        return [(receipt["seq"], receipt["leaves"]) for receipt in self.issuer.receipts]

    def test_the_issuer_is_told_how_far_we_are_and_that_we_leave(self) -> None:
        self.status.receipts.start()
        cut = {"k": "sub", "h": "x", "nbf": 1, "until": 2}
        for change in (self.change(6), self.change(7), self.change(8, ack=True, cut=[cut])):
            self.issuer.events = [change]
            self.status.step()
        self.assertEqual(self.receipts(1), [(6, False)], "at the beginning, and 10 s later")
        self.issuer.events, self.issuer.away = [], True
        with self.assertRaises(OSError):
            self.status.step()
        self.assertEqual(self.receipts(1), [(6, False)], "the lists lack the change")
        self.issuer.away = False
        self.status.step()
        self.assertEqual(self.receipts(2), [(6, False), (8, False)], "the issuer asked")
        with mock.patch("countersign_status.RECEIPT_EVERY", 0.01):
            self.status.receipt_wanted.set()
            self.assertEqual(self.receipts(9)[:9], [(6, False)] + [(8, False)] * 8)
        self.status.leave()
        said = self.receipts(1)
        self.assertEqual((said[-1], said.count(said[-1]), self.status.receipts.is_alive()), ((8, True), 1, False))
        verifiers = {receipt["verifier"] for receipt in self.issuer.receipts}
        self.assertEqual([len(base64.urlsafe_b64decode(verifier + "==")) for verifier in verifiers], [16])
        self.assertEqual({receipt["name"] for receipt in self.issuer.receipts}, {"shop 1"})

    def test_who_does_not_follow_says_nothing(self) -> None:
        self.issuer.events = [self.change(6)]
        self.status.step()
        self.issuer.refusal = 403
        with self.assertLogs("countersign_status", "WARNING"):
            self.status.step()
        self.assertEqual(self.status.seq, 6)
        self.status.feed_due = time.monotonic() + 0.1
        self.status.step()
        self.assertIsNone(self.status.seq)
        self.status.receipts.start()
        self.status.leave()
        self.assertEqual((self.status.receipts.is_alive(), self.issuer.receipts), (False, []))

    def test_no_proxy_is_asked(self) -> None:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        environment = os.environ | {"HTTP_PROXY": here, "http_proxy": here, "no_proxy": "", "NO_PROXY": ""}
        subprocess.run([sys.executable, "-c", ASK, here], env=environment, check=True)
        server.shutdown()
        server.server_close()
        # A proxy would be asked for the whole address.
        self.assertEqual(asked, ["/status", "/jwks.json"])

    def test_an_issuer_elsewhere_is_https(self) -> None:
        with self.assertRaises(ValueError):
            Status("http://id.example.com")
        Status("http://127.0.0.1:8080")


if __name__ == "__main__":
    unittest.main()

"""What is taken for a list, what the feed does to it, and what is said when it is too old."""

import base64
import time
import unittest
import zlib

import jwt
from countersign_status import LIST_BYTES, Blind, Status
from fake_issuer import ISSUER, LIST, FakeIssuer


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
        for idx, uri in ((1 << 20, LIST), (-1, LIST), ("1", LIST), (True, LIST), (1, "https://other.example/status/0")):
            self.assertTrue(self.is_over(idx, uri), (idx, uri))
        for claims in ({}, {"status": None}, {"status": {"status_list": 1}}):
            self.assertTrue(self.status.is_over({"kid": "key"}, claims), claims)
        with self.assertRaises(Blind):
            self.is_over(1, f"{ISSUER}/status/7")

    def test_only_a_list_that_is_one_is_taken(self) -> None:
        now = int(time.time())
        bad = [
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

    def test_an_issuer_elsewhere_is_https(self) -> None:
        with self.assertRaises(ValueError):
            Status("http://id.example.com")
        Status("http://127.0.0.1:8080")


if __name__ == "__main__":
    unittest.main()

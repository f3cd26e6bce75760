"""What the service answers, with an issuer in memory: chiefly that a list that is too old is a 503 and no 401."""

import os
import unittest

from fake_issuer import AUDIENCE, ISSUER, FakeIssuer

os.environ |= {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE}

import app
from countersign_status import Blind
from fastapi import HTTPException
from fastapi.security import HTTPAuthorizationCredentials, SecurityScopes


class Service(unittest.TestCase):
    def setUp(self) -> None:
        self.issuer = FakeIssuer()
        self.issuer.bits[0] = 1
        app.status = self.status = self.issuer.status()

    def ask(self, token: str | None) -> tuple[int, str | None, str | None]:
        bearer = HTTPAuthorizationCredentials(scheme="Bearer", credentials=token) if token else None
        try:
            app.verified(SecurityScopes(["read"]), bearer)
        except HTTPException as refusal:
            return refusal.status_code, (refusal.headers or {}).get("WWW-Authenticate"), None
        except Blind as error:
            answer = app.blind(None, error)
            return answer.status_code, None, answer.headers.get("Retry-After")
        return 200, None, None

    def test_blindness_is_a_503_that_says_when_to_come_back(self) -> None:
        self.assertEqual(app.health().status_code, 503)
        self.assertEqual(self.ask(self.issuer.access_token()), (503, None, "15"))
        self.status.refresh()
        self.assertEqual(app.health().status_code, 200)
        self.assertEqual(self.ask(self.issuer.access_token()), (200, None, None))
        self.issuer.now += 361
        self.assertEqual(self.ask(self.issuer.access_token()), (503, None, "15"))
        self.assertEqual(self.ask(self.issuer.access_token(typ="JWT"))[0], 401)

    def test_each_check_refuses_by_itself(self) -> None:
        self.status.refresh()
        refused = (401, 'Bearer error="invalid_token"', None)
        now = int(self.issuer.now)
        for more in (
            {"idx": 0},
            {"typ": "JWT"},
            {"typ": "statuslist+jwt"},
            {"iss": "https://other.example"},
            {"aud": ["https://elsewhere.example"]},
            {"exp": now - 31},
            {"exp": str(now + 600)},
            {"iat": now + 60},
            {"jti": None},
            {"client_id": None},
            {"typ": 5},
            {"status": None},
            {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
        ):
            self.assertEqual(self.ask(self.issuer.access_token(**more)), refused, more)
        self.assertEqual(self.ask("nonsense"), refused)
        self.assertEqual(self.ask(self.issuer.access_token(exp=now - 20))[0], 200, "the leeway")
        self.assertEqual(self.ask(self.issuer.access_token(typ="application/at+jwt"))[0], 200)
        challenge = 'Bearer error="insufficient_scope", scope="read"'
        self.assertEqual(self.ask(self.issuer.access_token(scope="readers write")), (403, challenge, None))
        self.assertEqual(self.ask(None), (401, "Bearer", None))


if __name__ == "__main__":
    unittest.main()

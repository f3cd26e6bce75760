"""A machine on Authlib that has a key in the place of a secret (private_key_jwt).

usage: authlib_keys.py < {"issuer": …, "audience": …, "client": {"client_id": …, "key": PEM}}
"""

import json
import sys
import time

import authlib
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey

from person import TIMEOUT, Steps, discover


class OfAMinute(PrivateKeyJWT):
    """By itself it makes assertions that last an hour, and of claims that it is given it keeps the `jti`."""

    def sign(self, auth, token_endpoint):
        self.claims = {"exp": int(time.time()) + 60}
        return super().sign(auth, token_endpoint)


def main():
    asked, steps = json.load(sys.stdin), Steps()
    metadata = discover(asked["issuer"])
    endpoint = metadata["token_endpoint"]
    steps.did("discovered", "ES256" in metadata["token_endpoint_auth_signing_alg_values_supported"])
    key = ECKey.import_key(asked["client"]["key"])

    def session(method):
        session = OAuth2Session(
            asked["client"]["client_id"], key, token_endpoint_auth_method="private_key_jwt", default_timeout=TIMEOUT
        )
        session.register_client_auth_method(method)
        return session

    machine = session(OfAMinute(endpoint, alg="ES256"))
    first = machine.fetch_token(endpoint, grant_type="client_credentials")
    steps.did("tokens", first["token_type"] == "Bearer")
    seen = machine.introspect_token(metadata["introspection_endpoint"], token=first["access_token"]).json()
    steps.did("introspected", seen["active"] and seen["client_id"] == asked["client"]["client_id"])
    again = machine.fetch_token(endpoint, grant_type="client_credentials")
    steps.did("again", again["access_token"] != first["access_token"])
    try:
        session(PrivateKeyJWT(endpoint, alg="ES256")).fetch_token(endpoint, grant_type="client_credentials")
        sys.exit("an assertion of an hour was good")
    except OAuthError as error:
        steps.did("too_long", error.error == "invalid_client")
    steps.report(f"Authlib {authlib.__version__}")


main()

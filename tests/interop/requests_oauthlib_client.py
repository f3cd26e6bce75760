"""A relying party on requests-oauthlib, with PyJWT for the ID token, of which it knows nothing.

usage: requests_oauthlib_client.py < {"issuer": …, "person": {"username": …, "password": …}}
"""

import json
import os
import secrets
import sys

import jwt
import requests
import requests_oauthlib
from oauthlib.oauth2 import InvalidGrantError

from person import AFTERWARDS, CALLBACK, TIMEOUT, Person, Steps, discover, register

# The issuer of a test is on loopback.
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"


def main():
    asked = json.load(sys.stdin)
    steps, person = Steps(), Person(asked["issuer"], asked["person"])
    metadata = discover(asked["issuer"])
    registered = register(metadata, {"token_endpoint_auth_method": "client_secret_post"})
    client_id, secret = registered["client_id"], registered["client_secret"]
    steps.did("registered", secret)
    steps.did("discovered", metadata["issuer"] == asked["issuer"])

    scope = ["openid", "email", "offline_access"]
    session = requests_oauthlib.OAuth2Session(client_id, redirect_uri=CALLBACK, scope=scope, pkce="S256")
    nonce = secrets.token_urlsafe(16)
    url, _ = session.authorization_url(metadata["authorization_endpoint"], nonce=nonce)
    answer = person.follow(url)
    steps.did("asked", person.seen == ["Log in", "Allow access?"])
    endpoint = metadata["token_endpoint"]
    tokens = session.fetch_token(endpoint, authorization_response=answer, client_secret=secret, include_client_id=True)
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(tokens["id_token"])
    claims = jwt.decode(tokens["id_token"], key, algorithms=["RS256"], audience=client_id, issuer=asked["issuer"])
    steps.did("code", claims["nonce"] == nonce and tokens["refresh_token"])

    user = session.get(metadata["userinfo_endpoint"], timeout=TIMEOUT).json()
    steps.did("userinfo", user["email"] == asked["person"]["username"] and user["sub"] == claims["sub"])
    proof = {"client_id": client_id, "client_secret": secret}
    old = tokens["refresh_token"]
    refreshed = session.refresh_token(endpoint, **proof)
    steps.did("refreshed", refreshed["refresh_token"] != old)
    form = proof | {"token": refreshed["access_token"]}
    seen = requests.post(metadata["introspection_endpoint"], data=form, timeout=TIMEOUT).json()
    steps.did("introspected", seen["active"] and seen["sub"] == claims["sub"])
    where, headers, body = session._client.prepare_token_revocation_request(
        metadata["revocation_endpoint"], refreshed["refresh_token"], "refresh_token", **proof
    )
    steps.did("revoked", requests.post(where, headers=headers, data=body, timeout=TIMEOUT).status_code == 200)
    try:
        session.refresh_token(endpoint, **proof)
        sys.exit("a revoked token was refreshed")
    except InvalidGrantError:
        pass

    bye = requests.Request(
        "GET",
        metadata["end_session_endpoint"],
        params={"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": AFTERWARDS, "state": "out"},
    )
    steps.did("logged_out", person.follow(bye.prepare().url) == f"{AFTERWARDS}?state=out")
    person.follow(url)
    steps.did("asked_again", person.seen[0] == "Log in")
    steps.report(f"requests-oauthlib {requests_oauthlib.__version__}")


main()

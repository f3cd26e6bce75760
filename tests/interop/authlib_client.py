"""A relying party on Authlib's client for Flask, as an application would use it.

usage: authlib_client.py < {"issuer": …, "person": {"username": …, "password": …}}
"""

import json
import sys

import authlib
import flask
from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth

from person import AFTERWARDS, CALLBACK, Person, Steps, discover, register


def main():
    asked = json.load(sys.stdin)
    steps, person = Steps(), Person(asked["issuer"], asked["person"])
    metadata = discover(asked["issuer"])
    registered = register(metadata, {"token_endpoint_auth_method": "client_secret_basic"})
    steps.did("registered", registered["client_secret"])
    steps.did("discovered", metadata["issuer"] == asked["issuer"])

    application = flask.Flask(__name__)
    application.secret_key = "of this process"
    client = OAuth(application).register(
        "countersign",
        client_id=registered["client_id"],
        client_secret=registered["client_secret"],
        server_metadata_url=f"{asked['issuer']}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid email offline_access", "code_challenge_method": "S256"},
    )

    @application.get("/")
    def log_in():
        return client.authorize_redirect(CALLBACK)

    @application.get("/cb")
    def callback():
        # Checks state, iss, the ID token's signature, nonce and claims.
        return flask.jsonify(client.authorize_access_token())

    with application.test_client() as browser:
        url = browser.get("/", base_url="https://app.example").headers["Location"]
        answer = person.follow(url)
        steps.did("asked", person.seen == ["Log in", "Allow access?"])
        tokens = browser.get(answer.removeprefix("https://app.example"), base_url="https://app.example").json
    sub = tokens["userinfo"]["sub"]
    steps.did("code", tokens["refresh_token"] and tokens["userinfo"]["aud"] == registered["client_id"])

    with application.test_request_context():
        user = client.userinfo(token=tokens)
        steps.did("userinfo", user["email"] == asked["person"]["username"] and user["sub"] == sub)
        with client._get_oauth_client(**client.load_server_metadata()) as session:
            endpoint, old = metadata["token_endpoint"], tokens["refresh_token"]
            refreshed = session.refresh_token(endpoint, refresh_token=old)
            steps.did("refreshed", refreshed["refresh_token"] != old)
            seen = session.introspect_token(metadata["introspection_endpoint"], token=refreshed["access_token"])
            steps.did("introspected", seen.json()["active"] and seen.json()["sub"] == sub)
            session.revoke_token(metadata["revocation_endpoint"], token=refreshed["refresh_token"])
            try:
                session.refresh_token(endpoint, refresh_token=refreshed["refresh_token"])
            except OAuthError as error:
                steps.did("revoked", error.error == "invalid_grant")

        ends = getattr(client, "logout_redirect", None)
        bye = (
            ends(post_logout_redirect_uri=AFTERWARDS, id_token_hint=tokens["id_token"], state="out").headers["Location"]
            if ends
            else f"{metadata['end_session_endpoint']}?id_token_hint={tokens['id_token']}"
            f"&post_logout_redirect_uri={AFTERWARDS}&state=out"
        )
    steps.did("logged_out", person.follow(bye) == f"{AFTERWARDS}?state=out")
    person.follow(url)
    steps.did("asked_again", person.seen[0] == "Log in")
    steps.report(f"Authlib {authlib.__version__}")


main()

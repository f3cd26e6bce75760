"""A web application: Flask, with Authlib for OpenID Connect. Tokens stay on this server; the browser gets a cookie that stands for
them. They are kept in memory here, and in a database in yours.

ISSUER and BASE say where Countersign and this application are found, CLIENT_ID and SECRET_FILE who it is.
"""

import dataclasses
import os
import pathlib
import secrets
import threading
import time

import flask
import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth

ISSUER, BASE = os.environ["ISSUER"], os.environ["BASE"]
CLIENT = os.environ["CLIENT_ID"], pathlib.Path(os.environ["SECRET_FILE"]).read_text(encoding="ascii").strip()
TIMEOUT = 10

application = flask.Flask(__name__)
application.secret_key = secrets.token_bytes(32)
application.config.update(
    SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_HTTPONLY=True, SESSION_COOKIE_SECURE=BASE.startswith("https:")
)
countersign = OAuth(application).register(
    "countersign",
    client_id=CLIENT[0],
    client_secret=CLIENT[1],
    server_metadata_url=f"{ISSUER}/.well-known/openid-configuration",
    client_kwargs={"scope": "openid email read", "code_challenge_method": "S256"},
)


@dataclasses.dataclass
class Grant:
    """What a log-in got."""

    tokens: dict
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    attempt: str | None = None


# By the name that the browser's cookie has for them.
GRANTS = {}


class LoggedOut(Exception):
    """The grant is over: the person logs in again."""


def access_token(grant):
    """One that is good for a minute more. One request at a time refreshes; the others wait for what it gets."""
    with grant.lock:
        if time.time() < grant.tokens["expires_at"] - 60:
            return grant.tokens["access_token"]
        # The same for every repeat, so that one after a lost answer is known for what it is.
        grant.attempt = grant.attempt or secrets.token_urlsafe(24)
        form = {
            "grant_type": "refresh_token",
            "refresh_token": grant.tokens["refresh_token"],
            "refresh_attempt": grant.attempt,
        }
        answer = post("token_endpoint", form)
        if answer.status_code == 200:
            # Stored before anything of it is used.
            grant.tokens |= answer.json()
            grant.tokens["expires_at"] = time.time() + grant.tokens["expires_in"]
            grant.attempt = None
            return grant.tokens["access_token"]
        if answer.json().get("error") == "invalid_grant":
            raise LoggedOut
        answer.raise_for_status()


def post(endpoint, form):
    """Repeats a request that is not answered, or by 503: what we send may be sent again."""
    url = countersign.load_server_metadata()[endpoint]
    for pause in (1, 3, None):
        try:
            answer = requests.post(url, data=form, auth=CLIENT, timeout=TIMEOUT)
            if answer.status_code < 500 or pause is None:
                return answer
        except requests.RequestException:
            if pause is None:
                raise
        time.sleep(pause)


@application.get("/")
def home():
    grant = GRANTS.get(flask.session.get("grant"))
    if not grant:
        return '<a href="/login">Log in</a>'
    try:
        bearer = {"Authorization": f"Bearer {access_token(grant)}"}
    except LoggedOut:
        GRANTS.pop(flask.session.pop("grant"), None)
        return '<a href="/login">Log in again</a>'
    endpoint = countersign.load_server_metadata()["userinfo_endpoint"]
    user = requests.get(endpoint, headers=bearer, timeout=TIMEOUT).json()
    return flask.render_template_string(
        'Logged in: {{ email }}<form method="post" action="/logout"><button>Log out</button></form>', **user
    )


@application.get("/login")
def log_in():
    return countersign.authorize_redirect(f"{BASE}/callback")


@application.get("/callback")
def callback():
    # RFC 9207 §2.4: Authlib does not look at it.
    if flask.request.args.get("iss") != ISSUER:
        flask.abort(400)
    try:
        # State, code and PKCE; the ID token's signature, issuer, audience, times and nonce.
        tokens = countersign.authorize_access_token()
    except OAuthError as error:
        return flask.render_template_string("Not logged in: {{ error }}", error=error.error), 400
    # Another cookie than before the log-in, that stands for its tokens.
    flask.session.clear()
    flask.session["grant"] = secrets.token_urlsafe(24)
    GRANTS[flask.session["grant"]] = Grant(tokens)
    return flask.redirect("/")


@application.post("/logout")
def log_out():
    grant = GRANTS.pop(flask.session.pop("grant", None), None)
    if not grant:
        return flask.redirect("/")
    post("revocation_endpoint", {"token": grant.tokens["refresh_token"]})
    return countersign.logout_redirect(f"{BASE}/", id_token_hint=grant.tokens["id_token"])

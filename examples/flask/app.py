"""Orders, on Flask with Flask-JWT-Extended: its blocklist is Countersign's status list, in memory, and no Redis."""

import atexit
import functools
import os
from collections.abc import Callable
from typing import Any

import jwt
from countersign_status import RETRY_AFTER, Blind, Status
from flask import Flask, Response, jsonify
from flask_jwt_extended import JWTManager, get_jwt, get_jwt_identity, jwt_required

REQUIRED = {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"}  # RFC 9068 §2.2
NOT_YET = {"Retry-After": str(RETRY_AFTER)}


def refuse(error: str | None, scope: str | None = None) -> Response:
    """RFC 6750 §3: a challenge; without an error if there was no token at all (§3.1)."""
    parameters = [f'error="{error}"'] if error else []
    parameters += [f'scope="{scope}"'] if scope else []
    answer = jsonify(error=error or "no token")
    answer.status_code = 403 if error == "insufficient_scope" else 401  # §3.1
    answer.headers["WWW-Authenticate"] = " ".join(["Bearer", ", ".join(parameters)]).strip()
    return answer


def scope_required(scope: str) -> Callable[..., Any]:
    """A route for tokens with that scope (RFC 9068 §2.2.3)."""

    def guard(view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        @jwt_required()
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if scope not in get_jwt().get("scope", "").split(" "):
                return refuse("insufficient_scope", scope)
            return view(*args, **kwargs)

        return guarded

    return guard


def create_app(status: Status | None = None) -> Flask:
    issuer, audience = os.environ["ISSUER"], os.environ["AUDIENCE"]
    if status is None:
        feed = (os.environ["FEED_CLIENT"], os.environ["FEED_SECRET"]) if "FEED_CLIENT" in os.environ else None
        status = Status(issuer, feed).start()
        atexit.register(status.leave)

    app = Flask(__name__)
    app.config.update(
        JWT_ALGORITHM="RS256",
        JWT_DECODE_ALGORITHMS=["RS256"],  # RFC 8725 §3.1: never the token's own choice
        JWT_DECODE_ISSUER=issuer,  # RFC 9068 §4
        JWT_DECODE_AUDIENCE=audience,  # RFC 9068 §4; without it the library takes tokens for others
        JWT_DECODE_LEEWAY=30,
        JWT_IDENTITY_CLAIM="sub",
        JWT_TOKEN_LOCATION=["headers"],  # RFC 9700 §4.3.2: not in a URL
    )
    manager = JWTManager(app)

    @manager.decode_key_loader
    def key(header: dict[str, Any], claims: dict[str, Any]) -> Any:
        # The claims are not verified yet; those that are missing now will be missing then. The library checks neither.
        if str(header.get("typ")).lower() not in ("at+jwt", "application/at+jwt"):  # RFC 9068 §4, RFC 8725 §3.11
            raise jwt.InvalidTokenError("not an access token")
        if any(claims.get(claim) is None for claim in REQUIRED):
            raise jwt.InvalidTokenError("a claim is missing")
        if type(claims["exp"]) not in (int, float):  # RFC 7519 §2; PyJWT takes a text for a number
            raise jwt.InvalidTokenError("exp is not a number")
        if "cnf" in claims:  # RFC 9449 §7.2: bound to a key, so no bearer token; nothing here wants a proof
            raise jwt.InvalidTokenError("bound to a key")
        return status.key(header.get("kid")).key

    # Where a service would otherwise ask Redis on every request.
    manager.token_in_blocklist_loader(status.is_over)

    manager.unauthorized_loader(lambda _reason: refuse(None))
    manager.invalid_token_loader(lambda _reason: refuse("invalid_token"))
    for loader in (manager.expired_token_loader, manager.revoked_token_loader):
        loader(lambda _header, _claims: refuse("invalid_token"))
    # Our own blindness logs nobody out.
    app.register_error_handler(Blind, lambda _error: (jsonify(error="not known at the moment"), 503, NOT_YET))

    orders: list[dict[str, str]] = []

    @app.get("/")
    def front() -> Any:
        return jsonify(service="orders")

    @app.get("/healthz")
    def health() -> Any:
        return (jsonify(status="ready"), 200) if status.loaded else (jsonify(status="starting"), 503, NOT_YET)

    @app.get("/orders")
    @scope_required("read")
    def list_orders() -> Any:
        return jsonify(orders=[order for order in orders if order["sub"] == get_jwt_identity()])

    @app.post("/orders")
    @scope_required("write")
    def make_order() -> Any:
        orders.append({"id": str(len(orders) + 1), "sub": get_jwt_identity()})
        return jsonify(orders[-1]), 201

    return app

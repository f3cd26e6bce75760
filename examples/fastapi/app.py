"""Orders, on FastAPI with PyJWT: routes are given the verified claims, and say which scope they need."""

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

import jwt
from countersign_status import RETRY_AFTER, Blind, Status
from fastapi import Depends, FastAPI, HTTPException, Request, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

ISSUER, AUDIENCE = os.environ["ISSUER"], os.environ["AUDIENCE"]
FEED = (os.environ["FEED_CLIENT"], os.environ["FEED_SECRET"]) if "FEED_CLIENT" in os.environ else None
REQUIRED = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]  # RFC 9068 §2.2
NOT_YET = {"Retry-After": str(RETRY_AFTER)}

status = Status(ISSUER, FEED)


@contextlib.asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    status.start()
    yield
    status.leave()


app = FastAPI(title="Orders", lifespan=lifespan)


@app.exception_handler(Blind)
def blind(_request: Request, _error: Blind) -> JSONResponse:
    # Our own blindness logs nobody out.
    return JSONResponse({"detail": "not known at the moment"}, 503, NOT_YET)


def refuse(code: int, error: str | None = None, scope: str | None = None) -> HTTPException:
    """RFC 6750 §3: a challenge; without an error if there was no token at all (§3.1)."""
    parameters = [f'error="{error}"'] if error else []
    parameters += [f'scope="{scope}"'] if scope else []
    challenge = " ".join(["Bearer", ", ".join(parameters)]).strip()
    return HTTPException(code, error or "no token", {"WWW-Authenticate": challenge})


def verify(token: str) -> dict[str, Any]:
    """The claims of an access token for us; raises jwt.InvalidTokenError, or Blind."""
    header = jwt.get_unverified_header(token)
    if str(header.get("typ")).lower() not in ("at+jwt", "application/at+jwt"):  # RFC 9068 §4, RFC 8725 §3.11
        raise jwt.InvalidTokenError("not an access token")
    claims = jwt.decode(
        token,
        status.key(header.get("kid")),
        algorithms=["RS256"],  # RFC 8725 §3.1: never the token's own choice
        issuer=ISSUER,  # RFC 9068 §4
        audience=AUDIENCE,  # RFC 9068 §4
        leeway=30,
        options={"require": REQUIRED},
    )
    if type(claims["exp"]) not in (int, float):  # RFC 7519 §2; PyJWT takes a text for a number
        raise jwt.InvalidTokenError("exp is not a number")
    if "cnf" in claims:  # RFC 9449 §7.2: bound to a key, so no bearer token; nothing here wants a proof
        raise jwt.InvalidTokenError("bound to a key")
    if status.is_over(header, claims):  # draft-ietf-oauth-status-list §8.3
        raise jwt.InvalidTokenError("over")
    return claims


# No `async`: FastAPI runs it in a thread, since an unknown key is asked for.
def verified(
    scopes: SecurityScopes,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> dict[str, Any]:
    if bearer is None:
        raise refuse(401)
    try:
        claims = verify(bearer.credentials)
    except jwt.InvalidTokenError:
        raise refuse(401, "invalid_token") from None
    if not set(scopes.scopes) <= set(claims.get("scope", "").split(" ")):  # RFC 9068 §2.2.3
        raise refuse(403, "insufficient_scope", scopes.scope_str)  # RFC 6750 §3.1
    return claims


Reader = Annotated[dict[str, Any], Security(verified, scopes=["read"])]
Writer = Annotated[dict[str, Any], Security(verified, scopes=["write"])]
orders: list[dict[str, str]] = []


@app.get("/")
def front() -> dict[str, str]:
    return {"service": "orders"}


@app.get("/healthz")
def health() -> JSONResponse:
    if status.loaded:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "starting"}, 503, NOT_YET)


@app.get("/orders")
def list_orders(claims: Reader) -> dict[str, Any]:
    return {"orders": [order for order in orders if order["sub"] == claims["sub"]]}


@app.post("/orders", status_code=201)
def make_order(claims: Writer) -> dict[str, str]:
    orders.append({"id": str(len(orders) + 1), "sub": claims["sub"]})
    return orders[-1]

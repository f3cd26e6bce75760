"""A resource server on Flask-JWT-Extended: a real Flask application whose route is guarded by `@jwt_required()`.

usage: flask_verify.py ISSUER AUDIENCE < {"good": [token, ...], "bad": [token, ...]}

Every good token must reach the route and every bad token must be answered 401; anything else, a key set that cannot be
fetched included, exits 1.

Flask-JWT-Extended was made for tokens of its own, which carry the claims `type` and `fresh`. It takes a token without
`type` for an access token and one without `fresh` for a stale one, so a route may ask for `@jwt_required()` but not for
`@jwt_required(fresh=True)`; `auth_time` serves that purpose. It has no JWKS client, so PyJWT's is its key loader.
"""

import importlib.metadata
import json
import sys
import urllib.request

import jwt
from flask import Flask, jsonify
from flask_jwt_extended import JWTManager, get_jwt_identity, jwt_required

REQUIRED_CLAIMS = {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"}
ACCESS_TOKEN_TYPES = {"at+jwt", "application/at+jwt"}


def fail(message):
    print(f"flask_verify: {message}", file=sys.stderr)
    sys.exit(1)


def discover(issuer):
    url = f"{issuer}/.well-known/oauth-authorization-server"
    with urllib.request.urlopen(url, timeout=10) as response:
        metadata = json.load(response)
    if metadata.get("issuer") != issuer:
        fail(f"metadata names issuer {metadata.get('issuer')!r}, expected {issuer!r}")
    return metadata["jwks_uri"]


def resource_server(issuer, audience):
    app = Flask(__name__)
    app.config["JWT_ALGORITHM"] = "RS256"
    app.config["JWT_DECODE_ALGORITHMS"] = ["RS256"]
    app.config["JWT_DECODE_ISSUER"] = issuer
    app.config["JWT_DECODE_AUDIENCE"] = audience
    app.config["JWT_TOKEN_LOCATION"] = ["headers"]

    manager = JWTManager(app)
    keys = jwt.PyJWKClient(discover(issuer))

    @manager.decode_key_loader
    def signing_key(header, _claims):
        return keys.get_signing_key(header.get("kid")).key

    # The header's typ and the presence of claims are the application's to check: the library does neither.
    @manager.token_verification_loader
    def is_access_token(header, claims):
        typ = header.get("typ")
        typed = isinstance(typ, str) and typ.lower() in ACCESS_TOKEN_TYPES
        # RFC 9449 section 7.2: bound to a key, so no bearer token; nothing here wants a proof.
        unbound = "cnf" not in claims
        return typed and unbound and all(claims.get(claim) is not None for claim in REQUIRED_CLAIMS)

    # RFC 6750 section 3.1: 401 for an invalid token, where the library's own answers are 422 and 400.
    def refuse(message):
        return jsonify(msg=message), 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}

    manager.invalid_token_loader(refuse)
    manager.unauthorized_loader(refuse)
    manager.expired_token_loader(lambda _header, _claims: refuse("expired"))
    manager.token_verification_failed_loader(lambda _header, _claims: refuse("not an access token"))
    app.register_error_handler(jwt.PyJWKClientError, lambda error: refuse(str(error)))
    app.register_error_handler(jwt.PyJWKClientConnectionError, lambda error: (jsonify(msg=str(error)), 503))

    @app.get("/whoami")
    @jwt_required()
    def whoami():
        return jsonify(sub=get_jwt_identity())

    return app


def main():
    if len(sys.argv) != 3:
        fail("usage: flask_verify.py ISSUER AUDIENCE")
    issuer, audience = sys.argv[1:]
    tokens = json.load(sys.stdin)
    client = resource_server(issuer, audience).test_client()

    def ask(token):
        return client.get("/whoami", headers={"Authorization": f"Bearer {token}"})

    if client.get("/whoami").status_code != 401:
        fail("a request without a token was not answered 401")

    subjects = []
    for number, token in enumerate(tokens["good"]):
        answer = ask(token)
        if answer.status_code != 200:
            fail(f"good token {number} was answered {answer.status_code}: {answer.get_data(as_text=True).strip()}")
        subjects.append(answer.get_json()["sub"])

    refused = 0
    for number, token in enumerate(tokens["bad"]):
        answer = ask(token)
        if answer.status_code != 401:
            fail(f"bad token {number} was answered {answer.status_code}: {answer.get_data(as_text=True).strip()}")
        refused += 1

    library = f"Flask-JWT-Extended {importlib.metadata.version('flask-jwt-extended')}"
    print(json.dumps({"verified": len(subjects), "refused": refused, "subjects": subjects, "library": library}))


if __name__ == "__main__":
    main()

"""Resource servers that stay: each verifies one access token a line, as long as lines come.

usage: watch.py LIBRARY ISSUER AUDIENCE SCALE

LIBRARY is pyjwt, flask or authlib. Every cache lives SCALE times as long as the library (or its manual) has it live, so
that a rehearsal of days takes minutes. For each line of standard input one line is printed: "ok", or "no" and the reason.
"""

import json
import sys
import time
import urllib.request

import jwt

# Both that the issuer may sign by: it moves from one to the other under these eyes.
ALGORITHMS = ["RS256", "PS256"]
JWKS_LIFESPAN = 300
COOLDOWN = 30


def jwks_uri(issuer):
    with urllib.request.urlopen(f"{issuer}/.well-known/oauth-authorization-server", timeout=10) as response:
        return json.load(response)["jwks_uri"]


def pyjwt(issuer, audience, scale):
    client = jwt.PyJWKClient(jwks_uri(issuer), lifespan=JWKS_LIFESPAN * scale, cooldown_duration=COOLDOWN * scale)

    def verify(token):
        key = client.get_signing_key_from_jwt(token)
        jwt.decode(token, key, algorithms=ALGORITHMS, issuer=issuer, audience=audience)

    return verify


def flask(issuer, audience, scale):
    from flask import Flask
    from flask_jwt_extended import JWTManager, jwt_required

    client = jwt.PyJWKClient(jwks_uri(issuer), lifespan=JWKS_LIFESPAN * scale, cooldown_duration=COOLDOWN * scale)
    app = Flask(__name__)
    app.config.update(
        JWT_ALGORITHM="RS256",
        JWT_DECODE_ALGORITHMS=ALGORITHMS,
        JWT_DECODE_AUDIENCE=audience,
        JWT_DECODE_ISSUER=issuer,
    )
    manager = JWTManager(app)

    @manager.decode_key_loader
    def key(header, _claims):
        return client.get_signing_key(header["kid"]).key

    # A key that is not in the set is no error of the library's own, so whoever uses it says what it means.
    @app.errorhandler(jwt.PyJWKClientError)
    def unknown_key(error):
        return {"msg": str(error)}, 401

    @app.get("/")
    @jwt_required()
    def resource():
        return "ok"

    caller = app.test_client()

    def verify(token):
        answer = caller.get("/", headers={"Authorization": f"Bearer {token}"})
        if answer.status_code != 200:
            raise ValueError(f"{answer.status_code} {answer.get_data(as_text=True).strip()}")

    return verify


def authlib(issuer, audience, scale):
    import warnings

    warnings.simplefilter("ignore")
    from authlib.jose import JsonWebKey, JsonWebToken

    uri = jwks_uri(issuer)
    decoder = JsonWebToken(ALGORITHMS)
    claims = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": audience}}
    kept = {"keys": None, "fetched": 0.0}

    def keys():
        # The library fetches nothing itself; its manual has users keep the set for a while.
        if kept["keys"] is None or time.monotonic() - kept["fetched"] > JWKS_LIFESPAN * scale:
            with urllib.request.urlopen(uri, timeout=10) as response:
                kept["keys"] = JsonWebKey.import_key_set(json.load(response))
            kept["fetched"] = time.monotonic()
        return kept["keys"]

    def verify(token):
        decoder.decode(token, keys(), claims_options=claims).validate()

    return verify


def main():
    library, issuer, audience, scale = sys.argv[1:]
    verify = {"pyjwt": pyjwt, "flask": flask, "authlib": authlib}[library](issuer, audience, float(scale))
    for line in sys.stdin:
        try:
            verify(line.strip())
            print("ok", flush=True)
        except Exception as error:  # noqa: BLE001 (whatever it is, the token was not accepted)
            print(f"no {type(error).__name__}: {error}".replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()

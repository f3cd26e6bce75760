"""A resource server on PyJWT: verifies Countersign's access tokens with the library's own JWKS client.

usage: pyjwt_verify.py ISSUER AUDIENCE < {"good": [token, ...], "bad": [token, ...]}

Every good token must pass and every bad token must be refused by a verification error; anything else, a key set
that cannot be fetched included, exits 1. RFC 9068 section 4 is the list of what a resource server checks.
"""

import json
import sys
import urllib.request

import jwt

REQUIRED_CLAIMS = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]
ACCESS_TOKEN_TYPES = {"at+jwt", "application/at+jwt"}


def fail(message):
    print(f"pyjwt_verify: {message}", file=sys.stderr)
    sys.exit(1)


def discover(issuer):
    url = f"{issuer}/.well-known/oauth-authorization-server"
    with urllib.request.urlopen(url, timeout=10) as response:
        metadata = json.load(response)
    if metadata.get("issuer") != issuer:
        fail(f"metadata names issuer {metadata.get('issuer')!r}, expected {issuer!r}")
    return metadata["jwks_uri"]


def verify(token, keys, issuer, audience):
    """Claims of a valid access token; raises a jwt.PyJWTError for any other."""
    key = keys.get_signing_key_from_jwt(token)
    decoded = jwt.decode_complete(
        token,
        key,
        algorithms=["RS256"],
        issuer=issuer,
        audience=audience,
        options={"require": REQUIRED_CLAIMS},
    )
    # PyJWT has no option for the header's typ, so its users compare it themselves.
    typ = decoded["header"].get("typ")
    if not isinstance(typ, str) or typ.lower() not in ACCESS_TOKEN_TYPES:
        raise jwt.InvalidTokenError(f"typ is {typ!r}, not an access token")
    # RFC 9449 section 7.2: bound to a key, so no bearer token; nothing here wants a proof.
    if "cnf" in decoded["payload"]:
        raise jwt.InvalidTokenError("bound to a key")
    return decoded["payload"]


def main():
    if len(sys.argv) != 3:
        fail("usage: pyjwt_verify.py ISSUER AUDIENCE")
    issuer, audience = sys.argv[1:]
    tokens = json.load(sys.stdin)
    keys = jwt.PyJWKClient(discover(issuer))

    subjects = []
    for number, token in enumerate(tokens["good"]):
        try:
            subjects.append(verify(token, keys, issuer, audience)["sub"])
        except jwt.PyJWTError as error:
            fail(f"good token {number} was refused: {type(error).__name__}: {error}")

    refused = 0
    for number, token in enumerate(tokens["bad"]):
        try:
            verify(token, keys, issuer, audience)
        except jwt.PyJWKClientConnectionError as error:
            fail(f"bad token {number} met an unreachable key set: {error}")
        except (jwt.InvalidTokenError, jwt.PyJWKClientError):
            refused += 1
        else:
            fail(f"bad token {number} was accepted")

    library = f"PyJWT {jwt.__version__}"
    print(json.dumps({"verified": len(subjects), "refused": refused, "subjects": subjects, "library": library}))


if __name__ == "__main__":
    main()

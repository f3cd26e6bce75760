"""A program on people's own devices: the code comes back to a free port of this machine (RFC 8252), and the tokens are bound to a
key that was made for them (DPoP, RFC 9449). It logs in, says who that was, refreshes and logs out.

usage: native.py ISSUER CLIENT_ID
"""

import base64
import hashlib
import http.server
import queue
import secrets
import sys
import threading
import time
import urllib.parse
import webbrowser

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import ec

TIMEOUT = 10


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Client:
    def __init__(self, issuer, client_id):
        self.issuer, self.client_id = issuer, client_id
        self.metadata = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=TIMEOUT).json()
        assert self.metadata["issuer"] == issuer
        self.key, self.nonce = ec.generate_private_key(ec.SECP256R1()), None

    def proof(self, method, url, access_token):
        """RFC 9449 §4.2: that whoever sends this request has the key."""
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        claims = {"jti": secrets.token_urlsafe(16), "htm": method, "htu": url, "iat": int(time.time())}
        if self.nonce:
            claims["nonce"] = self.nonce
        if access_token:
            claims["ath"] = base64url(hashlib.sha256(access_token.encode()).digest())
        return jwt.encode(claims, self.key, "ES256", headers={"typ": "dpop+jwt", "jwk": jwk})

    def send(self, method, url, access_token=None, **more):
        for _ in range(2):
            headers = {"DPoP": self.proof(method, url, access_token)}
            if access_token:
                headers["Authorization"] = f"DPoP {access_token}"
            answer = requests.request(method, url, headers=headers, timeout=TIMEOUT, **more)
            # RFC 9449 §8: once more, with what the server says, if it says so.
            self.nonce = answer.headers.get("DPoP-Nonce", self.nonce)
            if "use_dpop_nonce" not in answer.text + answer.headers.get("WWW-Authenticate", ""):
                break
        return answer

    def token(self, **form):
        form["client_id"] = self.client_id
        answer = self.send("POST", self.metadata["token_endpoint"], data=form)
        if answer.status_code != 200:
            sys.exit(f"no tokens: {answer.json().get('error')}")
        return answer.json()

    def log_in(self, scope):
        verifier, state, nonce = (secrets.token_urlsafe(32) for _ in range(3))
        with Listener(state, self.issuer) as listener:
            parameters = {
                "response_type": "code",
                "client_id": self.client_id,
                "redirect_uri": listener.redirect_uri,
                "scope": scope,
                "state": state,
                "nonce": nonce,
                "code_challenge": base64url(hashlib.sha256(verifier.encode()).digest()),
                "code_challenge_method": "S256",
            }
            url = f"{self.metadata['authorization_endpoint']}?{urllib.parse.urlencode(parameters)}"
            print(f"If no browser opens, go to {url}", flush=True)
            webbrowser.open(url)
            answer = listener.answers.get(timeout=600)
        if "code" not in answer:
            sys.exit(f"not logged in: {answer.get('error')}")
        tokens = self.token(
            grant_type="authorization_code",
            code=answer["code"],
            redirect_uri=parameters["redirect_uri"],
            code_verifier=verifier,
        )
        key = jwt.PyJWKClient(self.metadata["jwks_uri"]).get_signing_key_from_jwt(tokens["id_token"])
        claims = jwt.decode(
            tokens["id_token"], key, algorithms=["RS256"], audience=self.client_id, issuer=self.issuer, leeway=60
        )
        if claims.get("nonce") != nonce:
            sys.exit("not logged in: the ID token is for another request")
        return tokens


class Listener:
    """Waits on a free port for the one answer that has our state and our issuer; anything else is turned away."""

    def __init__(self, state, issuer):
        self.answers = answers = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path, _, query = self.path.partition("?")
                answer = dict(urllib.parse.parse_qsl(query))
                # RFC 9700 §4.7 and RFC 9207 §2.4.
                ours = path == "/callback" and (answer.get("state"), answer.get("iss")) == (state, issuer)
                body = b"Done. You may close this window." if ours else b"This is not an answer to a question of ours."
                self.send_response(200 if ours else 400)
                self.send_header("Content-Type", "text/plain")
                self.end_headers()
                self.wfile.write(body)
                if ours:
                    answers.put(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.redirect_uri = f"http://127.0.0.1:{self.server.server_port}/callback"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def main():
    client = Client(*sys.argv[1:3])
    tokens = client.log_in("openid email read")
    user = client.send("GET", client.metadata["userinfo_endpoint"], tokens["access_token"]).json()
    print(f"Logged in: {user['email']}, tokens of the type {tokens['token_type']}")
    # Only with the key: who copies the refresh token has nothing. Keep both in the system's key store if they are to last.
    tokens = client.token(
        grant_type="refresh_token",
        refresh_token=tokens["refresh_token"],
        refresh_attempt=secrets.token_urlsafe(24),
    )
    print("Refreshed")
    form = {"client_id": client.client_id, "token": tokens["refresh_token"]}
    requests.post(client.metadata["revocation_endpoint"], data=form, timeout=TIMEOUT).raise_for_status()
    print("Logged out")


if __name__ == "__main__":
    main()

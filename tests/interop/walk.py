"""A walk past every page that people see, in a real browser: from an application to a log-in, over what it is allowed, back to the
application, and out again. Whoever walks says what is done at each page.

The server is one where clients register themselves; the application is a listener here. The public client `tv`, which an operator
registered, has a device.
"""

import base64
import hashlib
import http.server
import json
import secrets
import threading
import urllib.parse
import urllib.request


class Application:
    """What the browser comes back to: a listener that keeps what it was told."""

    def __enter__(self):
        application = self
        self.answers = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path, _, query = self.path.partition("?")
                self.answer(path, query)

            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                self.answer(self.path.partition("?")[0], self.rfile.read(length).decode())

            def answer(self, path, query):
                if path in ("/cb", "/bye"):
                    application.answers.append(dict(urllib.parse.parse_qsl(query)))
                body = b"<!doctype html><html lang=en><title>Application</title><link rel=icon href=data:,><h1>Application</h1>"
                self.send_response(200 if path in ("/cb", "/bye") else 404)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()


def post(url, body, headers):
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def register(issuer, application, name):
    """A public client that registered itself."""
    metadata = {
        "client_name": name,
        "redirect_uris": [f"{application.base}/cb"],
        "post_logout_redirect_uris": [f"{application.base}/bye"],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
        "scope": "openid profile email offline_access",
    }
    headers = {"Content-Type": "application/json"}
    return post(f"{issuer}/register", json.dumps(metadata).encode(), headers)["client_id"]


def ask(issuer, application, client_id, **more):
    """Where the browser is sent, and what the code is redeemed with."""
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": f"{application.base}/cb",
        "scope": "openid profile email offline_access",
        "state": secrets.token_urlsafe(16),
        "nonce": secrets.token_urlsafe(16),
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    parameters.update(more)
    return f"{issuer}/authorize?{urllib.parse.urlencode(parameters)}", verifier


def past_the_device(browser, issuer, at):
    """Lets a device in, for whoever is logged in at the browser."""
    form = {"client_id": "tv", "scope": "openid profile offline_access"}
    codes = post(f"{issuer}/device_authorization", urllib.parse.urlencode(form).encode(), {})
    browser.go(codes["verification_uri"])
    browser.wait_for("where the code is typed", lambda: browser.find("#user_code"))
    at("device")
    # No code has a vowel, and this one is nobody's.
    browser.type("#user_code", "AAAA-AAAA")
    browser.click("button")
    browser.wait_for("the same again", lambda: browser.find("#problem"))
    at("device-again")
    browser.type("#user_code", codes["user_code"].lower())
    browser.click("button")
    browser.wait_for("the question", lambda: browser.find("button[value=allow]"))
    assert browser.text(".code") == codes["user_code"], browser.text(".code")
    at("device-consent")
    browser.click("button[value=allow]")
    browser.wait_for("the answer", lambda: browser.text("h1") == "Your device is connected")
    at("device-answered")
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "client_id": "tv",
        "device_code": codes["device_code"],
    }
    assert "access_token" in post(f"{issuer}/token", urllib.parse.urlencode(form).encode(), {})


def walk(browser, issuer, person, at):
    """Goes past every page; `at(name)` is called at each. Returns what the application was told at last."""
    with Application() as application:
        client_id = register(issuer, application, "Orchard")
        url, verifier = ask(issuer, application, client_id)
        browser.go(url)
        browser.wait_for("the log-in", lambda: browser.find("#password"))
        at("log-in")
        browser.type("#username", person["username"])
        browser.type("#password", "not the password of anybody")
        browser.click("button")
        browser.wait_for("the same again", lambda: browser.find("#problem"))
        at("log-in-again")
        browser.type("#username", person["username"])
        browser.type("#password", person["password"])
        browser.click("input[name=remember]")
        browser.click("button")
        browser.wait_for("the consent", lambda: browser.find("button[value=allow]"))
        at("consent")
        browser.click("button[value=allow]")
        browser.wait_for("the application", lambda: browser.url.startswith(application.base))
        told = application.answers[-1]

        # The same by a form, which the page sends by itself.
        posted, _ = ask(issuer, application, client_id, response_mode="form_post", prompt="consent")
        browser.go(posted)
        browser.wait_for("the consent", lambda: browser.find("button[value=allow]"))
        browser.click("button[value=allow]")
        browser.wait_for("the application", lambda: len(application.answers) == 2)
        assert "code" in application.answers[-1], application.answers[-1]

        which, _ = ask(issuer, application, client_id, prompt="select_account")
        browser.go(which)
        browser.wait_for("which account", lambda: browser.find("form[action='/select-account']"))
        at("select-account")
        browser.click("button")
        browser.wait_for("the consent", lambda: browser.find("button[value=allow]"))
        browser.click("button[value=allow]")
        browser.wait_for("the application", lambda: len(application.answers) == 3)

        form = {
            "grant_type": "authorization_code",
            "client_id": client_id,
            "code": told["code"],
            "redirect_uri": f"{application.base}/cb",
            "code_verifier": verifier,
        }
        tokens = post(f"{issuer}/token", urllib.parse.urlencode(form).encode(), {})

        past_the_device(browser, issuer, at)
        browser.go(f"{issuer}/account")
        browser.wait_for("the account", lambda: browser.find("button[name=everything]"))
        account = browser.text("main")
        assert all(text in account for text in ("this browser", "Orchard", "Living Room")), account
        at("account")

        browser.go(f"{issuer}/authorize?client_id=nobody&redirect_uri=https%3A%2F%2Fapp.example%2Fcb")
        browser.wait_for("the refusal", lambda: browser.find("[role=alert]"))
        at("refused")

        bye = {"client_id": client_id, "post_logout_redirect_uri": f"{application.base}/bye", "state": "out"}
        browser.go(f"{issuer}/logout?{urllib.parse.urlencode(bye)}")
        browser.wait_for("the question", lambda: browser.find("form[action='/logout']"))
        at("log-out")
        browser.click("button")
        browser.wait_for("the application", lambda: browser.url.startswith(f"{application.base}/bye"))
        assert application.answers[-1] == {"state": "out"}, application.answers[-1]
        browser.go(f"{issuer}/logout")
        browser.wait_for("the end", lambda: browser.find("h1"))
        at("logged-out")
        return {"tokens": sorted(tokens), "iss": told["iss"]}

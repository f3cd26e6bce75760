"""A person at the web application of examples/clients: in, to and fro, and out.

usage: example_web.py < {"issuer": …, "application": …, "person": {"username": …, "password": …}}
"""

import base64
import concurrent.futures
import json
import sys
import urllib.parse
import zlib

import requests

from person import TIMEOUT, Person, Steps


def main():
    asked = json.load(sys.stdin)
    application, steps = asked["application"], Steps()
    person, browser = Person(asked["issuer"], asked["person"]), requests.Session()

    def get(url, browser=browser):
        return browser.get(url, allow_redirects=False, timeout=TIMEOUT)

    def home():
        return get(f"{application}/").text

    def log_in():
        url = get(f"{application}/login").headers["Location"]
        return url, person.follow(url)

    def held():
        """What the browser's cookie says."""
        payload = browser.cookies["session"]
        compressed = payload.startswith(".")
        data = payload.lstrip(".").split(".")[0]
        data = base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))
        return (zlib.decompress(data) if compressed else data).decode()

    steps.did("greeted", "Log in" in home())
    url, answer = log_in()
    steps.did("asked", person.seen[0] == "Log in" and answer.startswith(f"{application}/callback?"))
    iss = urllib.parse.quote(asked["issuer"], safe="")
    assert iss in answer, answer
    elsewhere = get(answer, requests.Session())
    steps.did("another_browser_refused", elsewhere.status_code == 400)
    steps.did("another_issuer_refused", get(answer.replace(iss, "https%3A%2F%2Fother.example")).status_code == 400)
    before = held()
    steps.did("logged_in", get(answer).status_code == 302 and asked["person"]["username"] in home())
    after = held()
    steps.did("cookie_without_tokens", before != after and "csr_" not in after and "eyJ" not in after)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: home(), range(16)))
    steps.did("refreshed_at_once", all(asked["person"]["username"] in page for page in seen))

    bye = browser.post(f"{application}/logout", allow_redirects=False, timeout=TIMEOUT).headers["Location"]
    steps.did("logged_out", person.follow(bye).startswith(f"{application}/") and "Log in" in home())
    _, answer = log_in()
    steps.did("asked_again", person.seen[0] == "Log in" and get(answer).status_code == 302)
    steps.did("logged_in_again", asked["person"]["username"] in home())
    person.follow(f"{asked['issuer']}/logout")
    steps.did("logged_out_elsewhere", "Log in again" in home())
    steps.report("examples/clients/web.py")


main()

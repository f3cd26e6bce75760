"""An application behind Apache with mod_auth_openidc, in Chromium: in by our pages, and out by them.

usage: apache_in_chromium.py < {"application": …, "issuer": …, "person": {"username": …, "password": …}}

Prints {"done": […], "complaints": […]}.
"""

import json
import sys

from webdriver import Browser

USER = "return fetch('/', {cache: 'no-store'}).then((answer) => answer.headers.get('x-user'))"


def main():
    asked = json.load(sys.stdin)
    application, issuer, person = asked["application"], asked["issuer"], asked["person"]
    done, complaints = [], []

    def did(step, holds):
        if not holds:
            sys.exit(f"{step}: it is not so, at {browser.url}")
        done.append(step)
        complaints.extend(line["message"] for line in browser.log() if "Content Security Policy" in line["message"])

    def at_log_in():
        return browser.url.startswith(f"{issuer}/login") and browser.find("#password")

    with Browser() as browser:
        browser.go(f"{application}/")
        browser.wait_for("the log-in", at_log_in)
        did("sent here", True)
        browser.type("#username", person["username"])
        browser.type("#password", person["password"])
        browser.click("button")
        browser.wait_for("the consent", lambda: browser.find("button[value=allow]"))
        browser.click("button[value=allow]")
        browser.wait_for("the application", lambda: browser.url == f"{application}/")
        did("in", browser.run(USER) == person["username"])
        browser.go(f"{application}/cb?logout={application}/bye")
        browser.wait_for("the end", lambda: browser.url.startswith(f"{application}/bye"))
        did("out", True)
        browser.go(f"{application}/")
        browser.wait_for("the log-in", at_log_in)
        did("asked again", True)
    print(json.dumps({"done": done, "complaints": complaints}))


main()

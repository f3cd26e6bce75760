"""A person at a browser that keeps cookies: logs in on our page, allows what is asked, and says where they end up. No part of any
library under test. And what the Python clients under test share."""

import html
import json
import re
import sys
import urllib.parse

import requests

CALLBACK = "https://app.example/cb"
AFTERWARDS = "https://app.example/bye"
METADATA = {
    "client_name": "Interop",
    "redirect_uris": [CALLBACK],
    "post_logout_redirect_uris": [AFTERWARDS],
    "grant_types": ["authorization_code", "refresh_token"],
}
TIMEOUT = 20


class Person:
    def __init__(self, issuer, person):
        self.issuer, self.person, self.seen = issuer, person, []
        self.browser = requests.Session()

    def send(self, url, form=None):
        # What a browser says of a form on our own page.
        headers = {"Origin": self.issuer} if form else {}
        method = "POST" if form else "GET"
        return self.browser.request(
            method, url, data=form, headers=headers, allow_redirects=False, timeout=TIMEOUT
        )

    def follow(self, url):
        """Goes on from a URL until it leads away from us, or to a page without a form. What was shown is in `seen`."""
        self.seen = []
        answer = self.send(url)
        for _ in range(20):
            location = answer.headers.get("Location")
            if location:
                url = urllib.parse.urljoin(url, location)
                if not url.startswith(f"{self.issuer}/"):
                    return url
                answer = self.send(url)
                continue
            page = answer.text
            action = re.search(r'<form[^>]* action="([^"]*)"', page)
            self.seen.append(re.search(r"<h1>([^<]*)", page).group(1))
            if answer.status_code != 200 or not action:
                return url
            hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page)
            form = {name: html.unescape(value) for name, value in hidden}
            if action.group(1) == "/login":
                form |= self.person
            if action.group(1) == "/consent":
                form["decision"] = "allow"
            if action.group(1) == "/device":
                form["user_code"] = re.search(r'name="user_code"[^>]* value="([^"]*)"', page).group(1)
            answer = self.send(urllib.parse.urljoin(url, action.group(1)), form)
        raise AssertionError(f"it never ends: {self.seen}")


class Steps:
    def __init__(self):
        self.done = []

    def did(self, step, holds):
        if not holds:
            sys.exit(f"{step}: it is not so")
        self.done.append(step)

    def report(self, library):
        print(json.dumps({"library": library, "done": self.done}))


def register(metadata, wanted):
    answer = requests.post(metadata["registration_endpoint"], json=METADATA | wanted, timeout=TIMEOUT)
    assert answer.status_code == 201, answer.text
    return answer.json()


def discover(issuer):
    return requests.get(f"{issuer}/.well-known/openid-configuration", timeout=TIMEOUT).json()

"""Every page in Chromium: what axe-core finds wrong with it, and what the browser's log complains of.

usage: pages_in_chromium.py AXE_JS < {"issuer": …, "person": {"username": …, "password": …}}

Prints {"pages": …, "violations": […], "complaints": […], "told": …}.
"""

import json
import pathlib
import sys

from walk import walk
from webdriver import Browser

PHONE, DESK = (390, 844), (1280, 800)
# What WCAG asks for, up to 2.2 AA, and what axe calls good practice. It fetches no style by itself: the policy forbids it.
OPTIONS = {"preload": False, "resultTypes": ["violations"]}


def complaint(line):
    """Whether a line of the log is one: that a page came with the status of a refusal is as it should be."""
    message = line["message"]
    ours = any(f"{path} - Failed to load resource" in message for path in ("/login", "/device", "%2Fcb"))
    refused = ours and message.endswith("the server responded with a status of 400 (Bad Request)")
    return not refused and line["level"] != "INFO"


def main():
    axe = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
    asked = json.load(sys.stdin)
    pages, violations, complaints = 0, [], []
    for size, dark in ((PHONE, False), (PHONE, True), (DESK, False), (DESK, True)):
        with Browser(size, dark) as browser:

            def at(name):
                nonlocal pages
                pages += 1
                where = f"{name} {size[0]} {'dark' if dark else 'light'}"
                # Before anything of ours runs in the page.
                complaints.extend(f"{where}: {line}" for line in browser.log() if complaint(line))
                wide = browser.run("return document.documentElement.scrollWidth > window.innerWidth")
                if wide:
                    complaints.append(f"{where}: it is wider than the screen")
                browser.run(axe)
                found = browser.run("return axe.run(document, arguments[0])", OPTIONS)
                for violation in found["violations"]:
                    nodes = [node["html"] for node in violation["nodes"]]
                    violations.append(f"{where}: {violation['id']}: {violation['help']}: {nodes}")
                browser.log()

            told = walk(browser, asked["issuer"], asked["person"], at)
            complaints.extend(str(line) for line in browser.log() if complaint(line))
    print(json.dumps({"pages": pages, "violations": violations, "complaints": complaints, "told": told}))


main()

"""The single-page application of examples/clients in Chromium: in, loaded anew, in two tabs, and out; and what it leaves where
scripts can read it.

usage: example_page.py < {"issuer": …, "application": …, "person": {"username": …, "password": …}}
"""

import json
import sys

from person import Steps
from webdriver import Browser

# Everything that a script finds in this origin.
STORED = """
return (async () => {
  const found = [JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie, location.href]
  for (const { name, version } of await indexedDB.databases()) {
    const db = await new Promise((resolve, reject) => {
      const opening = indexedDB.open(name, version)
      opening.onsuccess = () => resolve(opening.result)
      opening.onerror = () => reject(opening.error)
    })
    for (const store of db.objectStoreNames) {
      const all = await new Promise((resolve, reject) => {
        const reading = db.transaction(store).objectStore(store).getAll()
        reading.onsuccess = () => resolve(reading.result)
        reading.onerror = () => reject(reading.error)
      })
      found.push(JSON.stringify(all))
    }
    db.close()
  }
  for (const name of await caches.keys()) found.push(name)
  return found.join(' ')
})()
"""
# A token in each of the three, to see that it would be found.
PLANTED = """
localStorage.setItem('canary', 'csr_local')
sessionStorage.setItem('canary', 'csr_session')
return new Promise((resolve) => {
  const opening = indexedDB.open('canary', 1)
  opening.onupgradeneeded = () => opening.result.createObjectStore('canary').put('csr_indexed', 'canary')
  opening.onsuccess = () => { opening.result.close(); resolve(true) }
})
"""
# A question that waits for its answer.
OPEN = "sessionStorage.setItem('asked', JSON.stringify({ verifier: 'v'.repeat(43), state: 'mine', nonce: 'n' }))"


def main():
    asked = json.load(sys.stdin)
    application, person, steps = asked["application"], asked["person"], Steps()
    with Browser() as browser:

        def says(text):
            return browser.wait_for(text, lambda: text in browser.text("#who"))

        def no_token():
            found = browser.run(STORED)
            return "csr_" not in found and "eyJ" not in found and "csc_" not in found

        def log_in():
            browser.click("#log-in")
            browser.wait_for("the log-in", lambda: browser.find("#password"))
            browser.type("#username", person["username"])
            browser.type("#password", person["password"])
            browser.click("button")
            # On loopback the person is always asked.
            browser.wait_for("the consent", lambda: browser.find("button[value=allow]"))
            browser.click("button[value=allow]")
            return says(f"Logged in: {person['username']}")

        browser.go(f"{application}/")
        steps.did("greeted", says("Nobody is logged in."))
        steps.did("logged_in", log_in())
        steps.did("nothing_stored", no_token())
        browser.go(f"{application}/")
        steps.did("loaded_anew", says(f"Logged in: {person['username']}") and no_token())

        first = browser.call("GET", "/window")
        second = browser.call("POST", "/window/new", {"type": "tab"})["handle"]
        for _ in range(2):
            for tab in (second, first):
                browser.call("POST", "/window", {"handle": tab})
                browser.go(f"{application}/")
        for tab in (second, first):
            browser.call("POST", "/window", {"handle": tab})
            says(f"Logged in: {person['username']}")
        steps.did("two_tabs", no_token())

        # To a question that is open, and to none; the code of neither is sent anywhere.
        browser.run(OPEN)
        browser.go(f"{application}/?code=csc_forged&state=forged&iss={asked['issuer']}")
        says('It did not work: unexpected "state"')
        browser.go(f"{application}/?code=csc_forged&state=mine&iss={asked['issuer']}")
        steps.did("forged_answer_refused", says('It did not work: "expectedState"'))
        browser.go(f"{application}/")
        says(f"Logged in: {person['username']}")
        browser.click("#log-out")
        steps.did("logged_out", says("Nobody is logged in.") and no_token())
        steps.did("asked_again", log_in() and no_token())

        browser.run(PLANTED)
        found = browser.run(STORED)
        steps.did("would_be_found", all(f"csr_{where}" in found for where in ("local", "session", "indexed")))
        complaints = [line["message"] for line in browser.log() if line["level"] == "SEVERE"]
        # Refreshes of nobody's.
        steps.did("quiet", all("/token - Failed to load resource" in line for line in complaints))
    steps.report("examples/clients/page")


main()

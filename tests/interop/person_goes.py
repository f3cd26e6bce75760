"""The browser of a person, for a program that opens one: goes where it is sent, past our pages, and to the program's own listener.

usage: ISSUER=… PERSON='{"username": …, "password": …}' person_goes.py URL
"""

import json
import os
import sys

import requests

from person import TIMEOUT, Person


def main():
    issuer = os.environ["ISSUER"]
    person = Person(issuer, json.loads(os.environ["PERSON"]))
    url = person.follow(sys.argv[1])
    if url.startswith(f"{issuer}/"):
        print(json.dumps(person.seen))
        return
    # What somebody else sends there is turned away, and does not keep the answer out.
    other = url.replace("code=", "code=x")
    for forged in (other.replace("state=", "state=x"), other.replace("iss=", "iss=x"), other.replace("/callback", "/")):
        assert requests.get(forged, timeout=TIMEOUT).status_code == 400, forged
    assert requests.get(url, timeout=TIMEOUT).status_code == 200


main()

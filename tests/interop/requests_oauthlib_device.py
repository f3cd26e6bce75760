"""A device on requests-oauthlib, with oauthlib's DeviceClient.

usage: requests_oauthlib_device.py < {"issuer": …, "client": {"client_id": …, "client_secret": …}, "person": {…}}
"""

import json
import os
import sys

import requests
import requests_oauthlib
from oauthlib.oauth2 import DeviceClient, InvalidGrantError, OAuth2Error

from person import TIMEOUT, Person, Steps, discover

# The issuer of a test is on loopback.
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"


def main():
    asked = json.load(sys.stdin)
    steps, person = Steps(), Person(asked["issuer"], asked["person"])
    metadata = discover(asked["issuer"])
    steps.did("discovered", metadata["device_authorization_endpoint"])
    client_id, secret = asked["client"]["client_id"], asked["client"]["client_secret"]
    scope = ["openid", "email", "offline_access"]
    client = DeviceClient(client_id, client_secret=secret, scope=scope)
    # It puts into a query what RFC 8628 §3.1 wants in a form.
    _, form = client.prepare_request_uri(metadata["device_authorization_endpoint"]).split("?")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    codes = requests.post(
        metadata["device_authorization_endpoint"], data=form, headers=headers, timeout=TIMEOUT
    ).json()
    steps.did("began", codes["verification_uri"] == f"{asked['issuer']}/device" and codes["interval"] == 5)

    session = requests_oauthlib.OAuth2Session(client=client)

    def poll():
        return session.fetch_token(
            metadata["token_endpoint"],
            device_code=codes["device_code"],
            include_client_id=True,
            client_secret=secret,
            timeout=TIMEOUT,
        )

    try:
        poll()
        sys.exit("nobody let it in")
    except OAuth2Error as error:
        steps.did("waits", error.error == "authorization_pending")
    person.follow(codes["verification_uri_complete"])
    steps.did("let_in", person.seen == ["Connect a device", "Log in", "Allow access?", "Your device is connected"])
    tokens = poll()
    steps.did("tokens", tokens["token_type"] == "Bearer" and tokens["refresh_token"])

    user = session.get(metadata["userinfo_endpoint"], timeout=TIMEOUT).json()
    steps.did("userinfo", user["email"] == asked["person"]["username"])
    proof = {"client_id": client_id, "client_secret": secret}
    old = tokens["refresh_token"]
    refreshed = session.refresh_token(metadata["token_endpoint"], **proof)
    steps.did("refreshed", refreshed["refresh_token"] != old)
    try:
        poll()
        sys.exit("a device code was good twice")
    except InvalidGrantError:
        steps.did("once", True)
    steps.report(f"requests-oauthlib {requests_oauthlib.__version__}")


main()

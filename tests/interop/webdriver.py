"""A browser: headless Chromium by way of chromedriver and the W3C WebDriver protocol, with nothing but Python's own library."""

import base64
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
STARTED = re.compile(r"started.* on port (\d+)")


class WebDriverError(Exception):
    """What the driver says."""


def started(driver, folder):
    """A running driver and its port.

    It takes a free port of one address family and then the same of the other, where somebody else may have it: then it ends at once,
    and is started again.
    """
    for _ in range(5):
        process = subprocess.Popen(
            [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
        )
        said = []
        for line in process.stdout:
            said.append(line)
            if found := STARTED.search(line):
                return process, int(found[1])
        process.wait()
    sys.exit(f"chromedriver ended with {process.returncode}: {''.join(said)}")


class Browser:
    """One Chromium with a profile of its own; gone with the block that it is used in."""

    def __init__(self, size=(1280, 800), dark=False):
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if not chromium or not driver:
            sys.exit("missing: chromium and chromium-driver (scripts/interop-install)")
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.process, port = started(driver, self.profile.name)
        self.base = f"http://127.0.0.1:{port}"
        options = {
            "binary": chromium,
            "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-gpu",
                "--window-size=1400,1000",
                "--hide-scrollbars",
                "--force-device-scale-factor=1",
                "--lang=en",
                f"--user-data-dir={self.profile.name}/profile",
            ],
            "prefs": {"credentials_enable_service": False, "intl.accept_languages": "en"},
        }
        always = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": always}})
        self.base = f"{self.base}/session/{session['sessionId']}"
        self.show_as(size, dark)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("DELETE", "")
        finally:
            self.process.terminate()
            self.process.wait(10)
            self.profile.cleanup()

    def call(self, method, path, body=None):
        data = json.dumps(body if body is not None else {}).encode() if method == "POST" else None
        request = urllib.request.Request(
            self.base + path, data=data, method=method, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise WebDriverError(f"{value['error']}: {value['message'].splitlines()[0]}") from None

    def cdp(self, command, **parameters):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def show_as(self, size, dark):
        """Takes a size and a colour scheme, as a person's device has them."""
        width, height = size
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = "dark" if dark else "light"
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def go(self, url):
        self.call("POST", "/url", {"url": url})

    def back(self):
        self.call("POST", "/back")

    @property
    def url(self):
        return self.call("GET", "/url")

    @property
    def title(self):
        return self.call("GET", "/title")

    def find(self, selector):
        found = self.call("POST", "/element", {"using": "css selector", "value": selector})
        return f"/element/{found[ELEMENT]}"

    def text(self, selector):
        return self.call("GET", f"{self.find(selector)}/text")

    def type(self, selector, text):
        element = self.find(selector)
        self.call("POST", f"{element}/clear")
        self.call("POST", f"{element}/value", {"text": text})

    def click(self, selector):
        self.call("POST", f"{self.find(selector)}/click")

    def run(self, script, *arguments):
        """Runs a script in the page, beside its policy; one that returns a promise is waited for."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def log(self):
        """What the browser has complained of since it was asked last."""
        return self.call("POST", "/se/log", {"type": "browser"})

    def png(self):
        return base64.b64decode(self.call("GET", "/screenshot"))

    def wait_for(self, what, condition, seconds=20):
        until = time.monotonic() + seconds
        while True:
            try:
                found = condition()
            except WebDriverError:
                found = None
            if found:
                return found
            if time.monotonic() > until:
                raise WebDriverError(f"waited for {what}, and the browser is at {self.url}: {self.title}")
            time.sleep(0.02)

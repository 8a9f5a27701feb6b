"""Open every page of a built book in headless Chromium, from disk, and report what goes wrong.

    python tests/check_browser.py book/_build/html [--shots DIR]

Each page is opened in the light and the dark scheme, and at a phone's width. It is a fault if it asks
for anything that is not a file, if a file is missing, if a script fails, if formulas stay raw, or if
the page is wider than the phone. Chromium is spoken to over a pipe (DevTools protocol), so that
nothing but the standard library and a browser is needed.
"""

import argparse
import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-default-apps", "--no-default-browser-check", "--hide-scrollbars",
    "--force-color-profile=srgb", "--remote-debugging-pipe",
)  # fmt: skip
VIEWS = {"light": ("light", 1280, 900), "dark": ("dark", 1280, 900), "phone": ("light", 360, 740)}
LOCAL = ("file:", "data:", "blob:", "about:")
PATIENCE = 60  # seconds for one answer
TALLEST = 12_000  # pixels of a picture
SETTLED = 0.5  # seconds for sidebars to slide into place
STATE = """({
  ready: document.readyState === "complete" && !document.querySelector("meta[http-equiv=Refresh]")
         && (!window.MathJax?.startup?.promise || window.mathIsSet
             || (MathJax.startup.promise.then(() => { window.mathIsSet = true }), false)),
  raw: [...document.querySelectorAll(".math")].filter(m => !m.querySelector("mjx-container")).length,
  broken: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.currentSrc || i.src),
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  cut: [...document.querySelectorAll("main :is(p, li, a, h1, h2, h3, img, table, pre, figcaption)")].filter(e => {
    const box = e.getBoundingClientRect();
    if (!box.width || box.right <= innerWidth + 1) return false;
    for (let p = e; p; p = p.parentElement) if (/auto|scroll/.test(getComputedStyle(p).overflowX)) return false;
    return true;
  }).map(e => e.tagName.toLowerCase() + " " + e.textContent.trim().slice(0, 30)),
  height: document.documentElement.scrollHeight,
})"""


class Browser:
    """A headless Chromium with one tab."""

    def __init__(self, program: str, profile: str) -> None:
        (read_by_it, self._to), (self._from, written_by_it) = _pipe(), _pipe()
        log = f"--log-net-log={profile}/net.json"
        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", log, "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(3, 4),
            preexec_fn=lambda: (os.dup2(read_by_it, 3), os.dup2(written_by_it, 4)),
        )  # fmt: skip
        os.close(read_by_it)
        os.close(written_by_it)
        os.set_blocking(self._from, False)
        self.count, self.session, self.rest, self.events = 0, None, b"", []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, patience: float = PATIENCE, **params: object) -> dict:
        """Send a command and wait for its result; events that come meanwhile are kept."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        for answer in self._messages(time.monotonic() + patience):
            if answer.get("id") == self.count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)
        raise TimeoutError(f"{method}: Chromium does not answer")

    def _messages(self, end: float) -> Iterator[dict]:
        """Messages as they come, until that time."""
        while time.monotonic() < end:
            while b"\0" in self.rest:
                message, _, self.rest = self.rest.partition(b"\0")
                yield json.loads(message)
            if self.process.poll() is not None:
                raise RuntimeError(f"Chromium ended by itself, exit code {self.process.returncode}")
            if select.select([self._from], [], [], 0.5)[0]:
                self.rest += os.read(self._from, 1 << 20)

    def state(self) -> dict:
        """The page's state once it is loaded and its formulas are set."""
        end, found = time.monotonic() + PATIENCE, {}
        while not found.get("ready") and time.monotonic() < end:
            time.sleep(0.05)
            try:
                answer = self.call("Runtime.evaluate", 5, expression=STATE, returnByValue=True)
                found = answer["result"].get("value", {})
            except TimeoutError:  # a page that redirects may leave a question unanswered,
                continue
            except RuntimeError as error:  # or go while it is asked
                if "navigated" not in str(error):
                    raise
        return found

    def close(self) -> None:
        """End the browser; its log of network traffic is complete then."""
        self.session = None
        self.call("Browser.close")
        self.process.wait(PATIENCE)


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are none of the numbers that Chromium expects its own at."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high


def _event_faults(events: list[dict]) -> Iterator[str]:
    """What the browser reported while it showed a page."""
    for event in events:
        params = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent" if not params["request"]["url"].startswith(LOCAL):
                yield f"asks for {params['request']['url']}"
            case "Runtime.exceptionThrown":
                detail = params["exceptionDetails"]
                yield f"script fails: {detail.get('exception', detail).get('description', detail['text'])}"
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                yield f"error: {params['entry']['text']} {params['entry'].get('url', '')}"


def visit(browser: Browser, page: Path, view: str, shots: Path | None, name: str) -> list[str]:
    """Open a page in one view; its faults."""
    scheme, width, height = VIEWS[view]
    browser.events.clear()
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    browser.call("Page.navigate", url=page.resolve().as_uri())
    state = browser.state()
    faults = list(_event_faults(browser.events)) + [f"image is broken: {image}" for image in state.get("broken", ())]
    faults += [] if state.get("ready") else ["does not finish loading"]
    faults += [f"{state['raw']} formulas are not set"] if state.get("raw") else []
    faults += [f"is {state['wide']} px wider than {width} px"] if state.get("wide", 0) > 0 else []
    faults += [f"cuts off: {element}" for element in state.get("cut", ())]
    if shots:
        _pictures(browser, size, state["height"], shots / f"{name}-{view}")
    return [f"{name} ({view}) {fault}" for fault in dict.fromkeys(faults)]


def _pictures(browser: Browser, size: dict, height: int, path: Path) -> None:
    """The whole page, in pieces if it is tall; the window is as tall as a piece, as a clip beyond it would shift."""
    browser.call("Emulation.setDeviceMetricsOverride", **size | {"height": min(height, TALLEST)})
    for i in range(-(-height // TALLEST)):
        browser.call("Runtime.evaluate", expression=f"scrollTo({{top: {i * TALLEST}, behavior: 'instant'}})")
        time.sleep(SETTLED)
        shot = browser.call("Page.captureScreenshot")
        path.with_name(f"{path.name}{f'-{i + 1}' if i else ''}.png").write_bytes(base64.b64decode(shot["data"]))


def _logged(profile: str) -> Iterator[str]:
    """Addresses that pages asked the web for, by the browser's own log."""
    for event in json.loads(Path(profile, "net.json").read_text("utf-8"))["events"]:
        params = event.get("params", {})
        of_a_page = params.get("initiator", "not an origin") != "not an origin"  # the browser has requests of its own
        if of_a_page and not params["url"].startswith(LOCAL):
            yield params["url"]


def check(html: Path, shots: Path | None = None) -> list[str]:
    """All faults of all pages."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        sys.exit(f"no browser: found none of {', '.join(BROWSERS)}")
    pages = [p for p in sorted(html.rglob("*.html")) if "_static" not in p.parts]
    if not pages:
        sys.exit(f"no pages in {html}")
    faults = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        for page in pages:
            name = page.relative_to(html).with_suffix("").as_posix().replace("/", "-")
            for view in VIEWS:
                faults += visit(browser, page, view, shots, name)
        browser.close()
        asked = [url for url in dict.fromkeys(_logged(profile)) if not any(url in fault for fault in faults)]
        faults += [f"some page asked for {url}" for url in asked]
    print(f"{len(pages)} pages, {len(VIEWS)} views each: {len(faults)} faults")
    return faults


def main() -> None:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("html", type=Path, help="folder of the built pages")
    options.add_argument("--shots", type=Path, help="folder for pictures of every page")
    given = options.parse_args()
    if given.shots:
        given.shots.mkdir(parents=True, exist_ok=True)
    faults = check(given.html, given.shots)
    sys.exit("\n".join(faults) if faults else 0)


if __name__ == "__main__":
    main()

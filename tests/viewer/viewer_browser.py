"""Headless Chromium over its DevTools protocol: pictures, scripts, and what it asked for."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from websockets.sync.client import connect
from websockets.sync.connection import Connection

CANDIDATES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def find_chromium() -> str | None:
    """The path of a Chromium on this machine, or None."""
    return next((path for name in CANDIDATES if (path := shutil.which(name))), None)


# Drawing in software on a machine that others use as well is slow; nothing here measures time.
PATIENCE = 120.0


class Browser:
    """One page of one browser process, with everything it requested and complained about."""

    def __init__(self, socket: Connection) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._socket = socket
        self._sent = 0
        self.command(
            "Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True
        )
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.command(f"{domain}.enable")

    def forget(self) -> None:
        """Leave the page, and forget what it requested and complained about."""
        self.command("Page.navigate", url="about:blank")
        self.wait_for("location.href === 'about:blank' && document.readyState === 'complete'")
        self.requests.clear()
        self.complaints.clear()

    @property
    def strangers(self) -> list[str]:
        """Requests that went to another machine."""
        near = ("file:", "data:", "blob:", "about:")
        near += tuple(f"{s}://{h}" for s in ("http", "ws") for h in ("127.0.0.1", "localhost"))
        return [url[:200] for url in self.requests if not url.startswith(near)]

    def command(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a DevTools command and wait for its answer."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        own = self._sent
        while True:
            answer = json.loads(self._socket.recv(timeout=2 * PATIENCE))
            if answer.get("id") == own:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.webSocketCreated":
                self.requests.append(params["url"])
            case "Target.attachedToTarget":
                # Workers are targets of their own; what they ask for counts as well, from their
                # first line on. `command` skips the answers like any other message.
                for method in ("Network.enable", "Runtime.runIfWaitingForDebugger"):
                    self._sent += 1
                    request = {"id": self._sent, "method": method, "params": {}}
                    self._socket.send(json.dumps(request | {"sessionId": params["sessionId"]}))
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.complaints.append(
                    str(details.get("exception", details).get("description", details))
                )
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "assert"):
                self.complaints.append(
                    str([a.get("value", a.get("description")) for a in params["args"]])
                )
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.complaints.append(
                    f"{params['entry']['text']} {params['entry'].get('url', '')}"
                )

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; promises are awaited."""
        answer = self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = PATIENCE) -> None:
        """Wait until a JavaScript expression is true."""
        self.wait_until(lambda: bool(self.evaluate(expression)), expression, seconds)

    def wait_until(self, test: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Wait until `test` is true."""
        end = time.monotonic() + seconds
        while not test():
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds} s: {what}; complaints {self.complaints}")
            time.sleep(0.1)

    def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a page in a window of a size and a colour scheme."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.command("Page.navigate", url=url)
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")

    def key(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.command("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def press(self, x: float, y: float) -> None:
        """Click at a point of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self.command(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    def screenshot(self, path: Path, selector: str | None = None, full: bool = False) -> np.ndarray:
        """A picture of the window, of one element or of the whole page, as (H, W, 3) uint8."""
        params: dict[str, Any] = {"format": "png"}
        if selector is not None:
            box = self.evaluate(
                "(()=>{const b=document.querySelector("
                f"{json.dumps(selector)}).getBoundingClientRect();"
                "return {x:b.x+scrollX,y:b.y+scrollY,width:b.width,height:b.height,scale:1}})()"
            )
            params["clip"] = box
        if full or selector:
            params["captureBeyondViewport"] = True
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", **params)["data"]))
        return np.asarray(Image.open(path).convert("RGB"))


@contextlib.contextmanager
def open_browser(executable: str) -> Iterator[Browser]:
    """Start a browser with an empty profile, and end it."""
    with tempfile.TemporaryDirectory(prefix="heredity-chromium-") as profile:
        process = subprocess.Popen(
            [executable, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            # What it leaves behind goes with the profile.
            env={**os.environ, "TMPDIR": profile},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port_file = Path(profile) / "DevToolsActivePort"
            end = time.monotonic() + 30
            while not (port_file.exists() and port_file.read_text().strip()):
                if time.monotonic() > end or process.poll() is not None:
                    raise RuntimeError(f"{executable} did not start (exit {process.poll()})")
                time.sleep(0.05)
            port = port_file.read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [t for t in json.load(answer) if t["type"] == "page"]
            with connect(pages[0]["webSocketDebuggerUrl"], max_size=None) as socket:
                yield Browser(socket)
        finally:
            process.terminate()
            process.wait(20)
            # Children of the browser may write into the profile for another moment.
            time.sleep(0.2)

"""Chromium without a window, over its DevTools protocol: how a page looks, and what it complains of."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websocket

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="chromium is not on PATH: no page can be looked at")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "about:blank",
)
_PATIENCE_S = 60.0


class Tab:
    """A tab of a running browser; `complaints` is what its console said of the page, `asked` what it fetched."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self._socket, self._number = socket, 0
        self._events: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Return the result of a DevTools command.

        Raises:
            RuntimeError: the browser refuses the command.
        """
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (message := json.loads(self._socket.recv())).get("id") != self._number:
            self._hear(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        return message["result"]

    def open(
        self, url: str, *, width: int = 1280, height: int = 800, media: str = "screen", dark: bool = False
    ) -> None:
        """Show a page at a size in CSS pixels, and wait until it has loaded."""
        self.complaints, self.asked, self._events = [], [], []
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._hear(json.loads(self._socket.recv()))

    def value(self, script: str) -> Any:
        """Return what an expression of JavaScript is worth on the page, as JSON; a promise is waited for.

        Raises:
            RuntimeError: it throws.
        """
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    def picture(self, target: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        target.write_bytes(base64.b64decode(data))

    def printed(self) -> bytes:
        """Return the page as a PDF of A4 sheets."""
        paper = {"paperWidth": 8.27, "paperHeight": 11.69}
        return base64.b64decode(self.call("Page.printToPDF", printBackground=False, **paper)["data"])

    def _hear(self, message: dict[str, Any]) -> None:
        self._events.append(message)
        method, details = message["method"], message["params"]
        if method == "Network.requestWillBeSent":
            self.asked.append(details["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(details["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and details["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(details["args"]))
        elif method == "Log.entryAdded" and details["entry"]["level"] in ("error", "warning"):
            self.complaints.append(details["entry"]["text"])


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    """Give a tab of a browser of its own, which ends with the block.

    Args:
        profile: a folder for what the browser keeps.
    """
    log = profile / "log.txt"
    profile.mkdir(parents=True, exist_ok=True)
    command = [str(CHROMIUM), f"--user-data-dir={profile / 'user'}", *_FLAGS]
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
    try:
        address = _address(log, time.monotonic() + _PATIENCE_S)
        pages = [each for each in httpx.get(f"http://{address}/json/list").json() if each["type"] == "page"]
        url = pages[0]["webSocketDebuggerUrl"]
        socket = websocket.create_connection(url, timeout=_PATIENCE_S, suppress_origin=True)
        yield Tab(socket)
        socket.close()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _address(log: Path, deadline: float) -> str:
    """Return host and port of the browser, which it writes to its log once it listens."""
    while not (found := re.search(r"DevTools listening on ws://([\d.:]+)/", log.read_text(errors="replace"))):
        if time.monotonic() > deadline:
            raise RuntimeError(f"chromium does not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
    return found[1]

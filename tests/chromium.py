"""A headless Chromium, driven over the pipe that its DevTools protocol may speak: JSON, a zero byte after each."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from .servers import PATIENCE, until

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


def find() -> str | None:
    """Its program, where it is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """The one page of a browser."""

    def __init__(self, send: int, receive: int, ended: Callable[[], str]) -> None:
        """``ended`` tells how its browser did, should it have."""
        self._send, self._receive = send, receive
        self._ended = ended
        self._number = 0
        self._rest = b""
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page, as in a window of this size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        self.until("document.readyState == 'complete' && location.href != 'about:blank'")

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is, or what its promise gives."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, expression: str) -> None:
        until(lambda: bool(self.value(expression)), lambda: f"never: {expression}")

    def choose(self, selector: str, path: str) -> None:
        """Give a file to an input, as its user would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[path])

    def screenshot(self) -> bytes:
        """The whole page as a PNG."""
        told = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(told["data"])

    def call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        asked: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            asked["sessionId"] = self._session
        os.write(self._send, json.dumps(asked).encode() + b"\0")
        while (told := self._message()).get("id") != self._number:
            pass
        assert "error" not in told, (method, told["error"])
        return told["result"]

    def _message(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            assert select.select([self._receive], [], [], max(0.0, end - time.monotonic()))[0], "no answer"
            some = os.read(self._receive, 1 << 20)
            assert some, self._ended()
            self._rest += some
        one, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(one)
        return told


@contextmanager
def browser(program: str) -> Iterator[Page]:
    """A browser with nothing in it, ended with the block."""
    (theirs_in, send), (receive, theirs_out) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(prefix="sm-chromium-", ignore_cleanup_errors=True) as profile:
        # It reads descriptor 3 and writes 4, whatever their numbers are here.
        script = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        command = ["/bin/bash", "-c", script, program, *_FLAGS, f"--user-data-dir={profile}"]
        words = os.path.join(profile, "stderr")
        with open(words, "wb") as stderr:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                pass_fds=[theirs_in, theirs_out], env={**os.environ, "HOME": profile},
            )  # fmt: skip

        def ended() -> str:
            with open(words, errors="replace") as said:
                return f"the browser has ended, with {process.wait(PATIENCE)}; it said:\n{said.read()}"

        os.close(theirs_in)
        os.close(theirs_out)
        try:
            page = Page(send, receive, ended)
            yield page
            page._session = None
            page.call("Browser.close")
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
            os.close(send)
            os.close(receive)

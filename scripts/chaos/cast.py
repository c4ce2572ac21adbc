"""Who takes part: the server's processes, as the kernel knows them, and the clients."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Final

from sharedmodel.server.control import ask
from sharedmodel.server.place import Place

CONFIG: Final = """
[models.shared]
factory = "chaos_models:Calculator"
idempotent = ["times", "laid", "total"]

[models.apart]
factory = "chaos_models:Calculator"
idempotent = ["times", "laid", "total"]
isolate = true
instances = 2
"""
HOSTS: Final = ("", "apart#0", "apart#1")
PATIENCE: Final = 60.0


class Server:
    """`sharedmodel serve`, with its log in a file."""

    def __init__(self, directory: str) -> None:
        config = Path(directory, "config.toml")
        config.write_text(CONFIG)
        shutil.copy(Path(__file__).with_name("chaos_models.py"), directory)
        self.place = Place(directory)
        self._log = Path(directory, "server.log")
        command = [sys.executable, "-m", "sharedmodel.server.cli", "serve", str(config), "--runtime-dir", directory]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def hosts(self) -> dict[str, int]:
        """The pids of the hosts that run at this moment, from their first instruction on; quarantine and all."""
        found = {}
        for pid in children(self.process.pid):
            words = command_of(pid)
            if "sharedmodel.server.host" in words:
                found["".join(words[words.index("sharedmodel.server.host") + 2 :])] = pid
        return found

    def state(self) -> str:
        """As it says itself, in a word."""
        with contextlib.suppress(OSError):
            return str(ask(self.place.control, "status", timeout=PATIENCE)["state"])
        return "absent"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self) -> int:
        """Stop it; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()


class Client:
    """A client, started again whenever it was killed."""

    def __init__(self, number: int, address: str, record: str, seed: int, log: IO[bytes]) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self._command = [sys.executable, "-m", "scripts.chaos.client", address, record, str(number), str(seed)]
        self._log = log

    def start(self) -> None:
        """Begin, or begin again."""
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, cwd=Path(__file__).parents[2]
        )

    def kill(self) -> None:
        """Without a warning."""
        if self.process is not None:
            self.process.kill()
            self._gone()

    def tell_stacks(self) -> None:
        """Have it write down where its threads are."""
        if self.process is not None:
            self.process.send_signal(signal.SIGUSR1)

    def left(self) -> bool:
        """Whether it has ended although nobody asked it to."""
        return self.process is not None and self.process.poll() is not None

    def end(self) -> int:
        """Let it finish its calls; its exit code."""
        if self.process is None:
            return 0
        process = self.process
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.tell_stacks()
            return -1
        finally:
            process.kill()
            self._gone()

    def _gone(self) -> None:
        if self.process is not None:
            self.process.wait()
            if self.process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self.process.stdin.close()
            self.process = None


def children(pid: int) -> list[int]:
    """Of a process, zombies included."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def command_of(pid: int) -> list[str]:
    """The words of its command; none of one that is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    return []


def kill(pid: int, number: int) -> None:
    """One that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)

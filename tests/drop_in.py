"""Runs a program written for `multiprocessing.managers`, as it is and with its one import changed."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
STDLIB, OURS = "from multiprocessing.managers import", "from sharedmodel.manager import"


def prints(program: str, method: str, place: Path, *, changed: bool, quiet: bool = True) -> list[str]:
    """The lines of a program. With ``quiet`` it must say nothing on stderr."""
    text = (PROGRAMS / f"{program}.py").read_text()
    assert text.count(STDLIB) == 1
    own = place / ("ours" if changed else "stdlib")
    own.mkdir()
    script = own / f"{program}.py"
    script.write_text(text.replace(STDLIB, OURS) if changed else text)
    done = run(script, method, str(own))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (quiet and done.stderr), done.stderr
    return done.stdout.splitlines()


def run(script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *words],
        capture_output=True, text=True, timeout=300, check=False, cwd=script.parent,
        env={**os.environ, "PYTHONPATH": str(PROGRAMS.parent.parent)},
    )  # fmt: skip


def same(program: str, method: str, place: Path, *, quiet: bool = True) -> None:
    """Fails unless the program prints the same both times."""
    ours = prints(program, method, place, changed=True, quiet=quiet)
    theirs = prints(program, method, place, changed=False, quiet=quiet)
    assert ours == theirs, "\n".join(difflib.unified_diff(theirs, ours, "the standard library", "ours", lineterm=""))

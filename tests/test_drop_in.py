"""Programs written for `BaseManager` print the same after one import is changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
METHODS = ("spawn", "fork", "forkserver")
STDLIB, OURS = "from multiprocessing.managers import", "from sharedmodel.manager import"


def prints(program: str, method: str, place: Path, *, changed: bool) -> list[str]:
    """The lines of a program, as it is or with its import changed."""
    text = (PROGRAMS / f"{program}.py").read_text()
    assert text.count(STDLIB) == 1
    script = place / f"{program}_{'ours' if changed else 'stdlib'}.py"
    own = place / ("a" if changed else "b")
    own.mkdir()
    script.write_text(text.replace(STDLIB, OURS) if changed else text)
    done = subprocess.run(
        [sys.executable, str(script), method, str(own)],
        capture_output=True, text=True, timeout=60, check=False, cwd=place,
        env={**os.environ, "PYTHONPATH": str(PROGRAMS.parent.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def same(program: str, method: str, place: Path) -> None:
    assert prints(program, method, place, changed=True) == prints(program, method, place, changed=False)


@pytest.mark.parametrize("method", METHODS)
def test_register_takes_every_argument_as_the_standard_library_does(method: str, tmp_path: Path) -> None:
    same("registering", method, tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_a_manager_lives_and_ends_as_in_the_standard_library(method: str, tmp_path: Path) -> None:
    same("life", method, tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_queues_dicts_lists_and_locks_are_shared_as_in_the_standard_library(method: str, tmp_path: Path) -> None:
    same("containers", method, tmp_path)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_iterators_and_namespaces_work_as_in_the_standard_library(method: str, tmp_path: Path) -> None:
    same("iterating", method, tmp_path)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_proxies_of_proxies_work_as_in_the_standard_library(method: str, tmp_path: Path) -> None:
    same("nesting", method, tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_references_are_counted_as_in_the_standard_library(method: str, tmp_path: Path) -> None:
    same("counting", method, tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_proxies_travel_into_pools_and_processes_as_in_the_standard_library(method: str, tmp_path: Path) -> None:
    same("travelling", method, tmp_path)

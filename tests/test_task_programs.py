"""Programs with a task executor: Ctrl-C, a kill, no main guard, functions of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from .crowd import ROOT
from .servers import until, watching

PATIENCE = 200.0
PROGRAM = """
import os, sys
from sharedmodel.client import TaskExecutor
from tests import task_functions as do

{top}
if __name__ == "__main__":
    path = sys.argv[1]
    pool = TaskExecutor(2)
    futures = [pool.submit(do.hang, f"{{path}}/{{n}}") for n in range(5)]
    {body}
"""
BODIES = {
    "in a with block": "with pool: futures[0].result()",
    "in shutdown": "pool.shutdown()",
    "in result, never shut down": "futures[0].result()",
    "at the end of the program": "pass",
}


def started(runtime: str, body: str, top: str = "") -> subprocess.Popen[str]:
    program = Path(runtime, "program.py")
    program.write_text(PROGRAM.format(body=body, top=top))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(program), runtime], env=environment, stderr=subprocess.PIPE, text=True, process_group=0
    )


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_one_ctrl_c_ends_the_program_and_its_workers(body: str, runtime: str) -> None:
    program = started(runtime, body)
    paths = [Path(runtime, "0"), Path(runtime, "1")]
    until(lambda: all(path.exists() for path in paths), lambda: "it does not begin")
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does
    _, errors = program.communicate(timeout=PATIENCE)
    assert program.returncode in (0, -signal.SIGINT)  # 0: it was in its last moments, which have no exit code
    assert errors.count("Traceback") <= 1, errors
    until(lambda: not any(psutil.pid_exists(int(path.read_text())) for path in paths), lambda: "workers are left")


def test_a_program_that_is_killed_takes_its_workers_along(runtime: str) -> None:
    program = started(runtime, "pool.shutdown()")
    path = Path(runtime, "0")
    until(path.exists, lambda: "it does not begin")
    with watching(int(path.read_text())) as gone:
        program.kill()
        assert gone()
    program.communicate()
    assert [name for name in os.listdir(runtime) if name.endswith(".sock")] == []


def test_a_program_without_a_main_guard_is_told_what_to_move(runtime: str) -> None:
    program = started(runtime, "pool.shutdown()", top="TaskExecutor(1).submit(do.pid).result()")
    _, errors = program.communicate(timeout=PATIENCE)
    assert program.returncode == 1
    assert "this line starts a worker" in errors
    assert "program.py, line 6" in errors
    assert "WorkerLost" in errors


def test_functions_of_the_program_itself_run_in_its_workers(runtime: str) -> None:
    program = started(runtime, "stop(futures); print(pool.submit(own, 20).result()); raise SystemExit(3)", top=OWN)
    _, errors = program.communicate(timeout=PATIENCE)
    assert program.returncode == 3, errors


OWN = """
def own(n):
    assert __name__ == "__mp_main__", __name__
    return n + 1


def stop(futures):
    for future in futures:
        future.cancel()
"""

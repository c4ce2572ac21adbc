"""Memory that an ONNX model needed once goes back: after an outlier, on request, and when nobody calls it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from sharedmodel.objects import Objects
from sharedmodel.process import resident
from sharedmodel.server.models.onnx import OnnxModel
from sharedmodel.server.models.onnx_arena import ENTRY, KNOWN_AFTER, Arena
from sharedmodel.server.settings import ModelSettings, Upkeep
from sharedmodel.server.table import Table
from sharedmodel.server.ward import REST_AFTER

from . import onnx_graphs
from .servers import until

ROOT = Path(__file__).parents[1]
MB = 1 << 20

# 40,000 rows of 1,024 floats between the layers: 160 MB at a time.
_OUTLIER = """
import json, sys
import numpy as np
from sharedmodel.server.machine.own import own_memory
from sharedmodel.server.models.onnx import OnnxModel
model = OnnxModel(sys.argv[1], threads=1)
def run(rows):
    model.run(None, {"x": np.ones((rows, 64), "f4")})
    return own_memory().rss
told = {"before": [run(8) for _ in range(20)][-1]}
run(40000)
told["after"] = run(8)
told["usual"] = [run(40000) for _ in range(20)][-1]
model.shrink()
told["shrunk"] = run(8)
print(json.dumps(told))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "net.onnx"
    file.write_bytes(onnx_graphs.mlp(1024, 1, 64))
    return file


def test_memory_comes_back_after_an_outlier_and_on_request(path: Path) -> None:
    command = [sys.executable, "-c", _OUTLIER, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    told = json.loads(done.stdout)
    assert told["after"] <= 1.2 * told["before"], told
    assert told["usual"] >= told["before"] + 100 * MB, told  # what is usual is kept warm
    assert told["shrunk"] <= 1.2 * told["before"], told


def test_a_model_that_nobody_calls_gives_back_what_it_does_not_use(path: Path) -> None:
    ahead = 0.0
    table = Table(Objects(), clock=lambda: time.monotonic() + ahead)
    options = {"path": str(path), "threads": 1}
    table.add("net", ModelSettings(kind="onnx", options=options, upkeep=Upkeep(canary_every=0)))
    table.load("net")
    run = table._wards["net"].slot.wait().method("run")
    for _ in range(KNOWN_AFTER):
        run(None, {"x": np.ones((40000, 64), "f4")})
    large = resident()
    assert resident() >= large - 10 * MB
    ahead += REST_AFTER
    assert table.beat.look() <= REST_AFTER
    until(lambda: not [t for t in threading.enumerate() if t.name == "rest-net"], lambda: "at work")
    assert resident() <= large - 100 * MB
    table.close()


def test_what_is_much_larger_than_usual_is_an_outlier_until_it_is_usual() -> None:
    arena = Arena()
    first = [arena.note(size) for size in (1, 1, 400, 100, 100, 100, 100, 100)]  # a canary, a warm-up
    assert not any(first)
    for _ in range(200):
        assert not arena.note(100)
    assert not arena.note(400) and arena.note(40_000) and not arena.note(100)
    found = [arena.note(2_000) for _ in range(8)]
    assert found[0] and not found[-1]


def test_an_outlier_among_the_first_runs_is_one_as_soon_as_it_is_known_what_is_usual() -> None:
    arena = Arena()
    assert [arena.note(size) for size in (100, 100, 40_000, *[100] * 7)] == [False] * 7 + [True] + [False] * 2
    assert arena.note(40_000)  # nor did it make the next one usual


def test_what_was_usual_once_is_given_back_when_it_is_no_more() -> None:
    arena = Arena()
    for _ in range(2 * KNOWN_AFTER):
        assert not arena.note(2_000)
    assert sum(arena.note(100) for _ in range(200)) == 1


class Options:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value


def begun(arena: Arena, rows: int) -> bool:
    """Whether a run shrinks it."""
    options = Options()
    arena.begins(options, [np.ones(rows), "no array"])
    assert options.entries in ({}, {ENTRY: "cpu:0"})
    return bool(options.entries)


def test_an_outlier_shrinks_the_arena_and_so_does_the_run_after_it() -> None:
    arena = Arena()
    for _ in range(KNOWN_AFTER):
        assert not begun(arena, 10)
    assert [begun(arena, rows) for rows in (10, 1000, 10, 10)] == [False, True, True, False]
    arena.shrink()
    assert [begun(arena, rows) for rows in (10, 10)] == [True, False]


def test_the_arena_of_a_gpu_is_shrunk_with_the_processors() -> None:
    arena, options = Arena("cpu:0;gpu:1"), Options()
    arena.shrink()
    arena.begins(options, [])
    assert options.entries == {ENTRY: "cpu:0;gpu:1"}


def test_without_an_arena_no_run_shrinks_one() -> None:
    arena = Arena("")
    arena.shrink()
    assert not begun(arena, 10)


def test_who_says_himself_what_shrinks_is_left_alone() -> None:
    model = OnnxModel(onnx_graphs.identity(), threads=1)
    model.shrink()
    x = {"x": np.ones(3, np.float32)}
    assert model.run(None, x, {"entries": {ENTRY: ""}})[0].tolist() == [1, 1, 1]
    assert model._sessions.wide.arena._asked
    assert model.run(None, x)[0].tolist() == [1, 1, 1]
    assert not model._sessions.wide.arena._asked


_SEVERAL = """
import sys
import numpy as np
from sharedmodel.server.machine.own import own_memory
from sharedmodel.server.models.onnx import OnnxModel
config = {"session.use_env_allocators": "1"} if sys.argv[2] == "one" else None
models = [OnnxModel(sys.argv[1], threads=1, config=config) for _ in range(4)]
for model in models:
    model.run(None, {"x": np.ones((40000, 64), "f4")})
print(own_memory().rss)
"""


def test_models_of_a_host_share_one_arena_where_they_ask_for_it(path: Path) -> None:
    def taken(how: str) -> int:
        command = [sys.executable, "-c", _SEVERAL, str(path), how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)

    assert taken("one") + 200 * MB < taken("own")

"""Models from the hub: each file is downloaded once, whoever asks; what goes wrong is told with what to do."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

for needed in ("huggingface_hub", "onnx", "tokenizers"):
    pytest.importorskip(needed)

from sharedmodel.server.models.hub_download import LOG_EVERY, Meter  # noqa: E402
from sharedmodel.server.models.hub_failures import failure  # noqa: E402
from sharedmodel.server.progress import Progress, heard_by, hearer  # noqa: E402
from sharedmodel.server.settings import Settings  # noqa: E402
from tests import fake_hub, hub_models  # noqa: E402
from tests.fake_hub import Hub  # noqa: E402
from tests.hub_models import LARGE, asked, asked_by_threads, content, of_fastembed  # noqa: E402
from tests.servers import until  # noqa: E402

PROCESSES = 2
THREADS = 2
TEN_OF_25 = "downloading org/once: 10 of 25 MB (41 %)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hub_models.make(tmp_path_factory.mktemp("hub") / "model")


@pytest.fixture(scope="module")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, ProcessPoolExecutor]]:
    """The hub, and processes that ask it."""
    with (
        fake_hub.serving(folder, tmp_path_factory.mktemp("home")) as hub,
        ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool,
    ):
        for begun in [pool.submit(hub_models.ready) for _ in range(PROCESSES)]:
            begun.result()
        yield hub, pool
        hub.release()


@pytest.fixture
def hub(served: tuple[Hub, ProcessPoolExecutor]) -> Hub:
    return served[0]


@pytest.fixture
def pool(served: tuple[Hub, ProcessPoolExecutor]) -> ProcessPoolExecutor:
    return served[1]


def wanted(hub: Hub) -> dict[str, int]:
    return {path: len(data) for path, data in hub.files.items() if path != "model.h5"}


def test_four_that_ask_at_once_download_each_file_once_and_all_hear_how_far_it_is(
    hub: Hub, pool: ProcessPoolExecutor, tmp_path: Path
) -> None:
    release = hub.hold(LARGE)
    askers = [pool.submit(asked_by_threads, "org/once", str(tmp_path), THREADS) for _ in range(PROCESSES)]
    until(lambda: len([*tmp_path.iterdir()]) == PROCESSES * THREADS, lambda: str([*tmp_path.iterdir()]))
    assert not any(asker.done() for asker in askers)
    release.set()
    found = [each for asker in askers for each in asker.result()]
    assert len({folder for folder, _ in found}) == 1
    assert all(TEN_OF_25 in heard for _, heard in found)
    assert hub.downloads("org/once") == {path: int(path in wanted(hub)) for path in hub.files}
    assert content(found[0][0]) == wanted(hub)


def test_a_connection_that_is_lost_half_way_goes_on_where_it_was(hub: Hub, pool: ProcessPoolExecutor) -> None:
    hub.cut.add(LARGE)
    error, folder = pool.submit(asked, "org/cut").result()
    assert not error and content(folder) == wanted(hub)
    assert hub.ranges == [f"bytes={10 << 20}-"]


def test_after_an_interrupted_download_only_the_missing_files_are_fetched(hub: Hub, pool: ProcessPoolExecutor) -> None:
    hub.broken[LARGE] = 500
    error, text = pool.submit(asked, "org/broken").result()
    assert (error, "can't serve the model org/broken now (HTTP 500)" in text) == ("ConnectionError", True)
    assert "files that have come whole are kept" in text
    before = hub.downloads("org/broken")
    del hub.broken[LARGE]
    error, folder = pool.submit(asked, "org/broken").result()
    assert not error and content(folder) == wanted(hub)
    again = {path: count - before[path] for path, count in hub.downloads("org/broken").items() if count != before[path]}
    assert again.pop(LARGE) == 1
    assert not any(before[path] for path in again)  # one that had not been begun when the other failed


def test_who_comes_after_one_that_was_killed_downloads_what_is_missing(hub: Hub, pool: ProcessPoolExecutor) -> None:
    release = hub.hold(LARGE)
    first = subprocess.Popen([sys.executable, "-c", "from tests.hub_models import asked; asked('org/killed')"])
    until(lambda: hub.downloads("org/killed")[LARGE] == 1, lambda: str(hub.asked))
    second = pool.submit(asked, "org/killed")
    first.kill()
    first.wait()
    release.set()
    error, folder = second.result()
    assert not error and content(folder) == wanted(hub)


@pytest.mark.parametrize(
    ("refusal", "error", "words"),
    [
        ((404, "RepoNotFound"), "FileNotFoundError", "the hub has no model org/refused"),
        ((404, "RevisionNotFound"), "FileNotFoundError", "the model org/refused has no revision"),
        ((401, ""), "PermissionError", "set HF_TOKEN"),
        ((403, ""), "PermissionError", "set HF_TOKEN"),
        ((403, "GatedRepo"), "PermissionError", "org/refused is gated: accept its terms on its page on the hub"),
        ((503, ""), "ConnectionError", "the hub can't serve the model org/refused now"),
    ],
)
def test_a_refusal_names_the_model_and_says_what_to_do(
    hub: Hub, pool: ProcessPoolExecutor, refusal: tuple[int, str], error: str, words: str
) -> None:
    hub.refusals["org/refused"] = refusal
    found, text = pool.submit(asked, "org/refused").result()
    assert found == error and words in text, text
    assert not sum(hub.downloads("org/refused").values())


@pytest.mark.parametrize(
    ("variable", "ways"),
    [
        ("SHAREDMODEL_OFFLINE", ("offline by its configuration", "sharedmodel download", "`offline = false`")),
        ("HF_HUB_OFFLINE", ("HF_HUB_OFFLINE forbids", "sharedmodel download", "without HF_HUB_OFFLINE")),
    ],
)
def test_offline_nobody_is_asked_and_the_error_tells_the_two_ways(
    hub: Hub, pool: ProcessPoolExecutor, variable: str, ways: tuple[str, ...]
) -> None:
    error, text = pool.submit(asked, "org/offline", None, {variable: "1"}).result()
    assert error == "OSError" and "the model org/offline is not in the hub's cache" in text
    assert all(way in text for way in ways), text
    assert not any(name == "org/offline" for _, name, _ in hub.asked)


def test_what_fastembed_takes_from_the_hub_comes_in_the_same_way(
    hub: Hub, pool: ProcessPoolExecutor, tmp_path: Path
) -> None:
    pytest.importorskip("fastembed")
    offline = {"SHAREDMODEL_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    error, text = pool.submit(of_fastembed, "org/fast", str(tmp_path), offline).result()
    assert error == "ValueError" and "sharedmodel download" in text and "`offline = false`" in text
    assert not any(name == "org/fast" for _, name, _ in hub.asked)
    error, folder = pool.submit(of_fastembed, "org/fast", str(tmp_path), {}).result()
    assert not error, folder
    files = {"config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json"}
    assert content(folder).keys() == files
    assert hub.downloads("org/fast") == {path: int(path in files) for path in hub.files}
    asked = hub.asked.copy()
    assert pool.submit(of_fastembed, "org/fast", str(tmp_path), {}).result() == ("", folder)
    assert hub.asked == asked  # fastembed asks nobody for what is there


def test_only_a_server_that_is_offline_by_its_configuration_says_so() -> None:
    assert Settings().environment()["SHAREDMODEL_OFFLINE"] == "1"
    assert "SHAREDMODEL_OFFLINE" not in Settings(offline=False).environment()


def test_a_hub_that_is_gone_does_no_harm_to_what_is_in_the_cache(
    folder: Path, tmp_path: Path, hub: Hub, pool: ProcessPoolExecutor
) -> None:
    error, before = pool.submit(asked, "org/kept").result()
    hub.refusals["org/kept"] = (503, "")
    assert pool.submit(asked, "org/kept").result() == (error, before) == ("", before)


def test_an_update_that_fails_leaves_the_model_as_it_was_to_an_offline_server_too(
    hub: Hub, pool: ProcessPoolExecutor
) -> None:
    name, offline = "org/updated", {"SHAREDMODEL_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    error, before = pool.submit(asked, name).result()
    hub.updated.add(name)
    hub.broken[LARGE] = 500
    assert pool.submit(asked, name).result() == (error, before) == ("", before)
    assert pool.submit(asked, name, None, offline).result() == ("", before)
    del hub.broken[LARGE]
    error, after = pool.submit(asked, name).result()
    assert not error and after != before and content(after) == {path: size + 1 for path, size in wanted(hub).items()}
    assert pool.submit(asked, name, None, offline).result() == ("", after)


def test_a_hub_that_is_not_there_is_told_with_where_to_look() -> None:
    httpx = pytest.importorskip("huggingface_hub.utils").httpx
    error = failure("org/any", None, "/cache", httpx.ConnectError("refused"))
    assert isinstance(error, ConnectionError) and "HF_ENDPOINT" in str(error) and "org/any" in str(error)


def test_a_full_disk_is_told_with_where_there_is_no_room() -> None:
    error = failure("org/any", None, "/cache", OSError(errno.ENOSPC, "No space left on device"))
    assert "no room for the model org/any in /cache" in str(error) and "HF_HOME" in str(error)


def test_progress_is_told_and_logged_now_and_then_and_never_more_than_there_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "sharedmodel.hub")
    now, told = [0.0], []
    meter = Meter("downloading m", 100_000_000, told.append, lambda: now[0])
    for step in range(100):
        now[0] = step * LOG_EVERY / 40
        meter.moved(1, step * 1_000_000)
        meter.moved(2, step * 3_000_000)
        meter.look()
        meter.look()
    assert str(told[1]) == "downloading m: 3.0 of 100 MB (3 %)"
    assert told[-1] == Progress("downloading m", 100_000_000, 100_000_000)
    assert len(told) == len(set(told)) == 35
    assert len(caplog.records) == 2


def test_progress_is_heard_by_whoever_has_the_work_done_and_its_end_too() -> None:
    heard: list[Progress | None] = []
    with heard_by(heard.append):
        hearer()(Progress("counting"))
    hearer()(Progress("nobody hears this"))
    assert heard == [Progress("counting"), None] and str(heard[0]) == "counting"

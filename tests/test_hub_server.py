"""Servers whose models are on the hub: fetched before anybody calls them, once, and told while they come."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

for needed in ("huggingface_hub", "onnx", "onnxruntime", "tokenizers"):
    pytest.importorskip(needed)

from sharedmodel.client import aconnect, connect, waiting  # noqa: E402
from sharedmodel.client.model import Model  # noqa: E402
from sharedmodel.errors import BadArgument, DeadlineExceeded, LoadFailed  # noqa: E402
from sharedmodel.server.cli_download import download  # noqa: E402
from sharedmodel.server.cli_status import show  # noqa: E402
from sharedmodel.server.metrics.health import unready  # noqa: E402
from tests import fake_hub, hub_models  # noqa: E402
from tests.fake_hub import Hub  # noqa: E402
from tests.hub_models import LARGE  # noqa: E402
from tests.servers import Server, command, running_server, until  # noqa: E402

HALF = "downloading org/tiny: 10 of 25 MB (41 %)"
MODEL = 'kind = "embedder"\nname = "org/tiny"\npooling = "mean"\n'
ONLINE = f"""
[server]
offline = false

[models.lazy]
lazy = true
{MODEL}
[models.pair]
isolate = true
instances = 2
{MODEL}
[models.both]
default = "2"
versions.1 = {{tokens_per_run = 16}}
versions.2 = {{}}
{MODEL}
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with fake_hub.serving(hub_models.make(tmp_path / "model"), tmp_path / "home") as hub:
        yield hub


def progress_of(server: Server, name: str) -> str | None:
    text: str | None = server.status()["models"][name].get("progress", {}).get("text")
    return text


def is_told(ask: Callable[[], object]) -> bool:
    """Whether who asks is told, when its time is up, how far the model is."""
    with pytest.raises(DeadlineExceeded) as caught:
        ask()
    return "'lazy' is not ready yet: it is loading; downloading org/tiny: " in str(caught.value)


async def asynchronous(address: str, name: str, within: float) -> None:
    async with await aconnect(address) as host:
        await host.model(name, within=within)


def test_models_versions_instances_and_hosts_share_one_download_and_all_tell_how_far_it_is(
    hub: Hub,
    runtime: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.2)
    caplog.set_level(logging.WARNING, "sharedmodel.client")
    release = hub.hold(LARGE)
    with running_server(ONLINE, runtime, ready=False) as server:
        names = ("lazy", "pair", "both")
        until(
            lambda: all(progress_of(server, name) == HALF for name in names),
            lambda: json.dumps(server.status()["models"], indent=1) + server.log,
        )
        states = {name: server.status()["models"][name]["state"] for name in names}
        assert states == {"lazy": "absent", "pair": "loading", "both": "loading"}
        show([server.status()], as_json=False)
        assert capsys.readouterr().out.count(HALF) == 4
        assert [(each["model"], each["reason"]) for each in unready(server.status())] == [
            ("both", HALF),
            ("pair", HALF),
        ]
        with connect(server.address) as host:
            impatient: tuple[Callable[[], object], ...] = (
                lambda: host.model("lazy", within=1.0),
                lambda: asyncio.run(asynchronous(server.address, "lazy", 1.0)),
                lambda: Model(server.address, "lazy", {"exposed": ["embed"], "idempotent": []}, 1.0).embed(["cat"]),
            )
            with ThreadPoolExecutor(len(impatient)) as threads:
                # On a busy machine a caller's time may be up before the host has said a word.
                for waits in [threads.submit(until, partial(is_told, each), server.state) for each in impatient]:
                    waits.result()
            with ThreadPoolExecutor(1) as thread:
                patient = thread.submit(host.model, "pair")
                until(lambda: HALF in caplog.text, lambda: caplog.text)
                release.set()
                assert patient.result().embed(["cat dog"]).tolist() == [[9.0, 10.0]]
            for name in ("lazy", "both", "both@1"):
                assert host.model(name).embed(["cat"]).tolist() == [[8.0, 9.0]]
            assert progress_of(server, "lazy") is None
        assert hub.downloads("org/tiny") == {path: int(path != "model.h5") for path in hub.files}
        assert server.log.count("downloading org/tiny: 25 MB") == 1
        assert server.log.count("downloading org/tiny: done, 25 MB in ") == 1


def test_what_was_fetched_ahead_is_served_offline_and_what_could_not_be_is_named(hub: Hub, runtime: str) -> None:
    missing = '[models.missing]\nlazy = true\nkind = "translator"\nname = "nobody/nothing"\n'
    own = '[models.echo]\nfactory = "zoo:Echo"\n'
    config = Path(runtime, "models.toml")
    config.write_text(f"[models.tiny]\n{MODEL}{missing}{own}")
    told = command("download", str(config), code=1)
    assert "sharedmodel: missing: the hub has no model nobody/nothing" in told
    assert "tiny: org/tiny is in " in told and "echo: names nothing on the hub" in told
    assert hub.downloads("org/tiny")[LARGE] == 1
    asked = hub.asked.copy()
    with running_server(config.read_text(), runtime) as server, connect(server.address) as host:
        assert host.model("tiny").embed(["cat"]).tolist() == [[8.0, 9.0]]
        with pytest.raises(LoadFailed, match="offline by its configuration: fetch it ahead, `sharedmodel download"):
            host.model("missing")
    assert hub.asked == asked


def test_a_command_that_is_forbidden_to_ask_the_hub_says_by_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = tmp_path / "models.toml"
    config.write_text(f"[models.tiny]\n{MODEL}")
    with pytest.raises(SystemExit) as end:
        download(str(config))
    assert end.value.code == 1
    assert "sharedmodel: tiny: HF_HUB_OFFLINE forbids to ask the hub" in capsys.readouterr().err
    with pytest.raises(BadArgument, match="unknown model 'tinny'; did you mean 'tiny'"):
        download(str(config), ["tinny"])

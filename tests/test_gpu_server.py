"""A real server with models on GPUs that are made up: their hosts share them out, and eyes see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharedmodel.client import connect
from sharedmodel.errors import NotEnoughMemory
from sharedmodel.server.metrics.exposition import text

from .cards import MIB, Cards
from .servers import command, running_server

CONFIG = """
[server]
devices = {{"cuda:1" = "1500 MiB"}}

[models.twice]
factory = "zoo:OnCard"
kwargs = {{cards = "{cards}", size = 300}}
device = "cuda"
isolate = true
instances = 2

[models.one]
factory = "zoo:OnCard"
kwargs = {{cards = "{cards}", size = 600}}
device = "cuda:1"

[models.other]
factory = "zoo:OnCard"
kwargs = {{cards = "{cards}", size = 700}}
device = "cuda:1"
lazy = true

[models.plain]
factory = "zoo:Echo"
"""


def test_hosts_share_gpus_and_tell_of_them(runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = Cards(tmp_path, monkeypatch, 1000, 2000)
    with running_server(CONFIG.format(cards=cards.folder), runtime) as server, connect(server.address) as host:
        status = server.status()
        models = status["models"]
        assert (models["twice"]["device"], models["twice"]["device_memory"]) == ("cuda:0, cuda:1", 600 * MIB)
        assert (models["one"]["device"], models["one"]["device_memory"]) == ("cuda:1", 600 * MIB)
        assert "device" not in models["plain"]
        first, second = status["devices"]
        assert (first["name"], first["budget"], first["in_use"]) == ("cuda:0", 950 * MIB, 300 * MIB)
        assert (second["name"], second["budget"], second["in_use"]) == ("cuda:1", 1500 * MIB, 900 * MIB)
        assert host.model("one").where() == "cuda:1"

        told = text(status)
        assert 'sharedmodel_device_memory_bytes{device="cuda:1",kind="budget"} 1.572864e+09' in told
        assert 'sharedmodel_device_memory_bytes{device="cuda:0",kind="in_use"} 3.145728e+08' in told
        one = 'sharedmodel_model_device_memory_bytes{device="cuda:1",host="#first",model="one"}'
        assert f"{one} 6.291456e+08" in told

        shown = command("status")
        assert "315 MB in use of 996 MB (machine), NVIDIA A100-SXM4, 1.0 GB" in shown
        assert "944 MB in use of 1.6 GB (configuration)" in shown
        assert "DEVICE" in shown and "cuda:1, 629 MB" in shown

        # Nobody knows what it takes, so it is let in once. Then the longest unused of that GPU makes room, which is an
        # instance in another host; the other instance is on the other GPU, and stays.
        host.load("other")
        host.unload("other")
        host.model("one").where()
        host.load("other")
        models = server.status()["models"]
        assert [models[name]["state"] for name in ("one", "other", "twice")] == ["ready", "ready", "ready"]
        assert (models["twice"]["device"], models["twice"]["device_memory"]) == ("cuda:0", 300 * MIB)
        assert [device["in_use"] for device in server.status()["devices"]] == [300 * MIB, 1300 * MIB]
        cards.others(1, 1500)
        host.unload("other")
        with pytest.raises(NotEnoughMemory, match="on cuda:1") as raised:
            host.load("other")
        assert (raised.value.needed, raised.value.budget) == (700 * MIB, 1500 * MIB)
        assert host.model("plain").add(1, 2) == 3

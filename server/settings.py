"""What a server was told to do, checked already: plain data that travels from process to process.

The command line checks the file (`config`, with pydantic) and hands this to the supervisor, which
hands it to each host it starts. So neither has to import what checks it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from .machine.threads import environment
from .models.hub_failures import OFFLINE_VARIABLE
from .scheduling.settings import MANY, Scheduling

EMBEDDED_IDLE: Final = 60.0

# A configured server loads what its configuration names and asks no hub for more.
OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", OFFLINE_VARIABLE: "1"}
# glibc keeps what many threads once used: a host after 24 pages of OCR by four threads took 1,540 MB with
# its defaults, and 600 MB with these. Large temporaries then come from mmap and go back at once.
MALLOC: Final = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
# So that GPUs have the numbers in CUDA that nvidia-smi gives them.
ORDER: Final = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
QUIET: Final = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True)
class ProbeSettings:
    """A call that tells whether a model is fit to serve. No method: the model's main one."""

    method: str | None = None
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    expect: Any = None


@dataclass(frozen=True)
class Upkeep:
    """How a model is kept. ``canary`` None: the adapter's own; times in seconds, 0 or None for never."""

    lazy: bool = False
    ttl: float | None = None
    canary: list[ProbeSettings] | None = None
    canary_every: float = 60.0
    warmup: list[ProbeSettings] = field(default_factory=list)
    keep: bool = False

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Upkeep:
        probes = {
            key: fields[key] and [ProbeSettings(**probe) for probe in fields[key]] for key in ("canary", "warmup")
        }
        return cls(**fields | probes)


@dataclass(frozen=True)
class ModelSettings:
    """One model: an adapter's kind with its options, or a factory with its arguments.

    One that has versions is itself as its default version is.
    """

    kind: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    factory: str | None = None
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    exposed: list[str] | None = None
    idempotent: list[str] = field(default_factory=list)
    isolate: bool | None = None
    instances: int = 1
    max_run: float | None = None
    weight: float = 1.0
    device: str | None = None  # "cpu", "cuda" or "cuda:0"; None: nothing is said, so "cpu"
    scheduling: Scheduling = field(default_factory=partial(Scheduling, lanes=MANY))
    upkeep: Upkeep = field(default_factory=Upkeep)
    versions: dict[str, ModelSettings] = field(default_factory=dict)
    default: str | None = None

    def __post_init__(self) -> None:
        # It comes as plain data where it has travelled.
        if isinstance(self.upkeep, dict):
            object.__setattr__(self, "upkeep", Upkeep.from_fields(self.upkeep))
        if isinstance(self.scheduling, dict):
            object.__setattr__(self, "scheduling", Scheduling(**self.scheduling))
        versions = {name: ModelSettings(**v) if isinstance(v, dict) else v for name, v in self.versions.items()}
        object.__setattr__(self, "versions", versions)

    @property
    def by_version(self) -> Mapping[str | None, ModelSettings]:
        """What there is to load: each version, or the model itself under None."""
        versions: dict[str | None, ModelSettings] = {name: one for name, one in self.versions.items()}
        return versions or {None: self}

    def with_default(self, version: str) -> ModelSettings:
        """The same with another default version."""
        return dataclasses.replace(self.versions[version], versions=self.versions, default=version)


@dataclass(frozen=True)
class Settings:
    """One server. None means the default of whoever uses it."""

    models: dict[str, ModelSettings] = field(default_factory=dict)
    config_file: str | None = None
    runtime_dir: str | None = None
    embedded: bool = False
    offline: bool = True
    group: int | None = None
    authkey_file: str | None = None
    sessions: int | None = None
    request_bytes: int | None = None
    reply_quota: int | None = None
    memory: int | None = None
    devices: dict[str, int] = field(default_factory=dict)  # budgets of GPUs in bytes, by "cuda:0"
    idle_exit: float | None = None
    grace: float = 10.0
    log_level: str = "info"
    threads: dict[str, int] = field(default_factory=dict)  # of each model, by the thread plan
    log_format: str = "text"
    given: list[str] = field(default_factory=list)  # by the command line: what the file says of them does not count
    metrics: str | None = None  # where they are served; hosts are not told

    @property
    def folder(self) -> str | None:
        """Where the configuration lies: relative paths and factories' modules are looked for there."""
        return os.path.dirname(self.config_file) if self.config_file else None

    def environment(self) -> dict[str, str]:
        """The environment of a host. An embedded one follows its user's, hub settings and all."""
        own = [self.threads[name] for name in self.models if name in self.threads]
        counts = environment(max(own)) if own else {}
        return {
            **QUIET,
            **ORDER,
            **MALLOC,
            **counts,
            **os.environ,
            **({} if self.embedded or not self.offline else OFFLINE),
        }

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Settings:
        fields = json.loads(text)
        models = {name: ModelSettings(**model) for name, model in fields.pop("models").items()}
        return cls(models=models, **fields)

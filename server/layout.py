"""Which host serves which models: pure, from the settings.

    ""        the first host: every model without a host of its own, and the directory of all
    "ocr"     the host of a model that is isolated
    "ocr#1"   the second of its instances, where it has several

A model is isolated when its settings say so. Adapters that keep the interpreter busy ask for it by
themselves, unless nothing else would suffer: in a server with one model, and in an embedded one.
"""

from __future__ import annotations

import dataclasses
from typing import Final, NamedTuple

from .kinds import DETAILS
from .machine.threads import Share, plan
from .settings import ModelSettings, Settings

FIRST: Final = ""


class Post(NamedTuple):
    """One host that is to run."""

    name: str
    models: tuple[str, ...]

    def settings(self, settings: Settings) -> Settings:
        """What its host is told: the server's settings, with its own models only."""
        own = {name: settings.models[name] for name in self.models}
        threads = {name: count for name, count in settings.threads.items() if name in own}
        return dataclasses.replace(settings, models=own, threads=threads)


def posts(settings: Settings) -> list[Post]:
    """The hosts that the settings ask for, the first one first."""
    apart = [name for name in settings.models if isolated(settings, name)]
    shared = tuple(name for name in settings.models if name not in apart)
    return [Post(FIRST, shared), *(Post(host, (name,)) for name in apart for host in hosts_of(settings, name))]


def planned(settings: Settings, cores: int) -> Settings:
    """The settings with the processors divided over the models; what was configured stays."""
    shares = [_share(settings, name) for name in settings.models]
    threads = dict(plan(cores, shares).threads)
    models = {name: _told(model, threads[name], lanes(settings, name)) for name, model in settings.models.items()}
    if len(models) == 1:
        models = {name: _undisturbed(model) for name, model in models.items()}
    return dataclasses.replace(settings, models=models, threads=threads)


def _share(settings: Settings, name: str) -> Share:
    model = settings.models[name]
    given = model.options.get("threads")
    return Share(name, model.instances, model.weight, given if isinstance(given, int) and given > 0 else None)


def _told(model: ModelSettings, threads: int, runs: int | None) -> ModelSettings:
    options, scheduling = model.options, model.scheduling
    if model.kind is not None and DETAILS[model.kind].threads:
        options = {"threads": threads, **options}
    if runs is None and model.kind is not None and "narrow" in DETAILS[model.kind].own and options.get("narrow"):
        runs = max(scheduling.lanes, options["threads"])
    if runs is not None:
        scheduling = dataclasses.replace(scheduling, lanes=runs)
    versions = {name: _told(version, threads, runs) for name, version in model.versions.items()}
    return dataclasses.replace(model, options=options, scheduling=scheduling, versions=versions)


def _undisturbed(model: ModelSettings) -> ModelSettings:
    """An only model: while it is at work, its threads may burn a processor that no other model wants.

    One caller of a CNN on two processors has 1 to 2 % more answers so than with threads that sleep, and are woken for
    each operator.
    """
    if model.kind is None or "spinning" not in DETAILS[model.kind].own or model.instances > 1 or model.versions:
        return model
    return dataclasses.replace(model, options={"spinning": "run", **model.options})


def isolated(settings: Settings, name: str) -> bool:
    """Whether a model has hosts of its own."""
    model = settings.models[name]
    if model.isolate is not None:
        return model.isolate
    wishes = model.kind is not None and DETAILS[model.kind].isolate and not settings.embedded
    return wishes and (len(settings.models) > 1 or model.instances > 1)


def hosts_of(settings: Settings, name: str) -> list[str]:
    """The names of the hosts that serve a model."""
    if not isolated(settings, name):
        return [FIRST]
    count = settings.models[name].instances
    return [name] if count == 1 else [f"{name}#{number}" for number in range(count)]


def instance_of(host: str) -> int | None:
    """Which of a model's instances a host serves; None where it serves the only one, or several models."""
    number = host.partition("#")[2]
    return int(number) if number.isdecimal() else None


def lanes(settings: Settings, name: str) -> int | None:
    """How many calls of a model may run at once in one host; None for as many as come."""
    model = settings.models[name]
    if isolated(settings, name) and model.instances > 1:
        return 1
    return model.instances if model.instances > 1 else None


def of_model(model: ModelSettings) -> str:
    """A model's kind, or its factory, for people."""
    return model.kind or model.factory or ""

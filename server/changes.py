"""What a configuration that was read again changes. Pure.

It is compared with what the file said the last time, not with how things stand by now.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any, Final

from .settings import ModelSettings, Settings

# Where it serves and whom it lets in was settled when the sockets were made; idleness is counted since then.
_FIXED: Final = ("runtime_dir", "group", "idle_exit")
_STARTED_WITH: Final = ("embedded", "given")  # which no file says


def as_read(settings: Settings) -> Settings:
    """As they are at this moment: what clients change in the models later is not in it."""
    return dataclasses.replace(settings, models=dict(settings.models))


def with_chosen_defaults(last: Settings, now: Settings, new: Settings) -> Settings:
    """New settings, with the default versions that were chosen since the ``last``, where the file's are as they were.

    ``now``: how the models stand, those choices included.
    """
    models = {
        name: _with_chosen(model, *(each.models.get(name) for each in (last, now)))
        for name, model in new.models.items()
    }
    return dataclasses.replace(new, models=models)


def _with_chosen(new: ModelSettings, last: ModelSettings | None, now: ModelSettings | None) -> ModelSettings:
    chosen = None if now is None else now.default
    if last is None or last.default != new.default or chosen is None or chosen not in new.versions:
        return new
    return new.with_default(chosen)


def settled(now: Settings, new: Settings) -> Settings:
    """New settings, with what can't change while the server runs as it is."""
    return dataclasses.replace(new, **{name: getattr(now, name) for name in (*_FIXED, *_STARTED_WITH)})


def takes_restart(now: Settings, new: Settings) -> list[str]:
    """What the file asks for and a server that runs can't come to, one line each."""
    return [
        f"[server] {name} is {_shown(new, name)} now, which takes a restart of the server; "
        f"until then it is {_shown(now, name)}"
        for name in _FIXED
        if name not in now.given and getattr(now, name) != getattr(new, name)
    ]


def _shown(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    return "not set" if value is None else str(value)


def changes(before: Settings, after: Settings, threads: dict[str, int], planned: dict[str, int]) -> list[str]:
    """What is different, one line each; ``threads`` each model had, and has by the new plan."""
    gone = [f"model {name} is gone" for name in before.models if name not in after.models]
    new = [f"model {name} is new" for name in after.models if name not in before.models]
    both = [(name, before.models[name], model) for name, model in after.models.items() if name in before.models]
    changed = [f"model {name}: {'; '.join(told)}" for name, old, model in both if (told := list(_of_model(old, model)))]
    divided = [
        f"model {name}: {planned[name]} of the processors, not {threads[name]}"
        for name, _, _ in both
        if name in threads and threads[name] != planned[name]
    ]
    return [*_of_server(before, after), *gone, *new, *changed, *divided]


def _of_server(before: Settings, after: Settings) -> list[str]:
    names = _different(before, after, but=("models", "threads", "config_file"))
    of_hosts = [name for name in names if name != "metrics"]
    anew = "; each host is started anew" if of_hosts else ""
    return [f"[server] changed: {', '.join(names)}{anew}"] if names else []


def _of_model(old: ModelSettings, new: ModelSettings) -> Iterator[str]:
    before, after = old.by_version, new.by_version
    if before.keys().isdisjoint(after):
        yield f"it has the versions {', '.join(new.versions)} now" if new.versions else "it has no versions any more"
        return
    yield from (f"version {version} is gone" for version in before if version not in after)
    yield from (f"version {version} is new" for version in after if version not in before)
    for version, one in after.items():
        if version in before and (names := _of_version(before[version], one)):
            yield f"{'' if version is None else f'version {version} '}changed: {', '.join(names)}"
    if new.default is not None and new.default != old.default:
        yield f"the default is {new.default} now"


def _of_version(old: ModelSettings, new: ModelSettings) -> list[str]:
    """The keys of its table, as far as is known."""
    names = _different(old, new, but=("options", "upkeep", "scheduling", "versions", "default"))
    options = [key for key in {**old.options, **new.options} if old.options.get(key) != new.options.get(key)]
    return [*names, *options, *_different(old.upkeep, new.upkeep), *_different(old.scheduling, new.scheduling)]


def _different(old: Any, new: Any, but: Collection[str] = ()) -> list[str]:
    names = [field.name for field in dataclasses.fields(new) if field.name not in but]
    return [name for name in names if getattr(old, name) != getattr(new, name)]

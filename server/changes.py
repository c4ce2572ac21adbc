"""What a configuration that was read again changes. Pure.

It is compared with what the file said the last time, not with how things stand by now.
"""

from __future__ import annotations

import dataclasses

from .settings import ModelSettings, Settings


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

"""The tables of a configuration file: which keys each has, and what each may be (see `config`)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from .machine import seat
from .machine.amount import parsed
from .metrics import address

_DAY: Final = 24 * 60 * 60  # seconds; a selector can wait for 24 days at most


def _reference(text: str) -> str:
    module, colon, name = text.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise ValueError('it has the form "package.module:callable"')
    return text


def _metrics(text: str) -> str:
    address.parse(text)
    return text


Size = Annotated[int | str, AfterValidator(parsed)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ServerTable(_Strict):
    """The table [server]."""

    runtime_dir: str | None = None
    group: str | int | None = None
    authkey_file: str | None = None
    sessions: Annotated[int, Field(gt=0)] | None = None
    request_bytes: Size | None = None
    reply_quota: Size | None = None
    memory: Size | None = None
    devices: dict[Annotated[str, AfterValidator(seat.gpu)], Size] = Field(default_factory=dict)
    idle_exit: Annotated[float, Field(ge=0)] | None = None
    grace: Annotated[float, Field(ge=0, le=_DAY)] = 10.0
    offline: bool = True
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    metrics: Annotated[str, AfterValidator(_metrics)] | None = None


class CommonTable(_Strict):
    """What any table [models.NAME] may say."""

    isolate: bool | None = None
    instances: Annotated[int, Field(ge=1, le=64)] = 1
    max_run: Annotated[float, Field(gt=0)] | None = None
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    device: Annotated[str, AfterValidator(seat.wanted)] | None = None


class FactoryTable(CommonTable):
    """A table [models.NAME] with a factory."""

    factory: Annotated[str, AfterValidator(_reference)]
    args: list[JsonValue] = Field(default_factory=list)
    kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    exposed: list[str] | None = None
    idempotent: list[str] = Field(default_factory=list)


COMMON: Final = tuple(CommonTable.model_fields)

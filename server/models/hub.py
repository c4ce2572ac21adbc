"""From a model's name on the hub to a folder: for adapters that take `path`, or `name` and where it is kept.

offline (the default of a configured server)   from the hub's cache, or an error that says what to do
online                                         as the hub has it now: downloaded once, whoever asks; where the
                                               hub can't be reached, from the cache
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sharedmodel.errors import BadArgument

from ..progress import Hear, hearer
from .hub_download import download
from .hub_failures import failure, not_here, offline
from .hub_turns import turn

NEVER: Final = ("*.h5", "*.ot", "*.msgpack", "openvino/*")  # weights for libraries that are not used here

logger = logging.getLogger("sharedmodel.hub")


class Repository(NamedTuple):
    """A model on the hub, and which of its files are wanted: ``allowed`` None: all but those ``left_out``."""

    name: str
    revision: str | None = None
    cache: str | None = None
    left_out: tuple[str, ...] = NEVER
    allowed: tuple[str, ...] | None = None

    @property
    def patterns(self) -> dict[str, list[str] | None]:
        """As the hub's library takes them."""
        allowed = None if self.allowed is None else list(self.allowed)
        return {"ignore_patterns": list(self.left_out), "allow_patterns": allowed}

    def place(self) -> str:
        """The folder of the cache that it is kept in."""
        from huggingface_hub import constants

        return os.path.realpath(os.path.expanduser(self.cache or constants.HF_HUB_CACHE))


def folder_of(
    path: str | None, name: str | None, revision: str | None, cache: str | None, local_only: bool, *left_out: str
) -> str:
    """``path`` where it is given, else `from_hub`'s. Raises BadArgument where nothing says which model it is."""
    if path is None and name is None:
        raise BadArgument("say which model it is: `path` or `name`")
    return path or from_hub(Repository(str(name), revision, cache, (*NEVER, *left_out)), local_only)


def from_hub(repository: Repository, local_only: bool = False) -> str:
    """The folder of a model that is named. Raises OSError where it can't be had, and says what to do."""
    why = "`local_files_only` forbids to ask the hub" if local_only else offline()
    if not why:
        return fetched(repository, hearer())
    found = cached(repository)
    if found is None:
        raise not_here(repository.name, why)
    return found


def cached(repository: Repository) -> str | None:
    """Where it lies in the cache; None where it does not, or not all of it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder: str = snapshot_download(
            repository.name, revision=repository.revision, cache_dir=repository.cache,
            local_files_only=True, **repository.patterns,
        )  # fmt: skip
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder


def fetched(repository: Repository, hear: Hear) -> str:
    """The folder of a model as the hub has it now; from the cache where the hub can't be had. ``hear`` is told how
    far the download is, whoever makes it. Raises OSError."""
    name, place = repository.name, repository.place()
    with turn(hashlib.sha256(f"{place}\0{name}".encode()).hexdigest()[:32], hear) as tell:
        try:
            return download(name, repository.revision, repository.cache, repository.patterns, tell)
        except Exception as exc:
            error = failure(name, repository.revision, place, exc)
            if (found := cached(repository)) is None:
                raise error from exc
            logger.warning("%s; what is in the cache is used", error)
            return found
        finally:
            tell(None)


def wanted(options: Mapping[str, Any], left_out: tuple[str, ...] = ()) -> Repository | None:
    """What of the hub a model's options mean; None where they name a folder."""
    name = options.get("name")
    if options.get("path") is not None or name is None or options.get("local_files_only"):
        return None
    return Repository(str(name), options.get("revision"), options.get("cache_folder"), (*NEVER, *left_out))


def compared(options: dict[str, Any]) -> dict[str, Any]:
    """The options as they are told apart: where a name says which model it is, its place does not count."""
    named = options.get("name") or options.get("fastembed")
    return {**options, "cache_folder": None} | ({"path": None} if named else {})

"""From a model's name on the hub to a folder: for adapters that take `path`, or `name` and where it is kept."""

from __future__ import annotations

from typing import Any

from sharedmodel.errors import BadArgument


def folder_of(
    path: str | None, name: str | None, revision: str | None, cache: str | None, local_only: bool, *left_out: str
) -> str:
    """``path`` where it is given, else `from_hub`'s. Raises BadArgument where nothing says which model it is."""
    if path is None and name is None:
        raise BadArgument("say which model it is: `path` or `name`")
    return path or from_hub(str(name), revision, cache, local_only, *left_out)


def from_hub(name: str, revision: str | None, cache: str | None, local_only: bool, *left_out: str) -> str:
    """The folder of a model that is named. ``left_out``: patterns of further files that are not wanted.

    Raises OSError where they can't be had.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return str(
            snapshot_download(
                name, revision=revision, cache_dir=cache, local_files_only=local_only,
                ignore_patterns=["*.h5", "*.ot", "*.msgpack", "openvino/*", *left_out],
            )
        )  # fmt: skip
    except (LocalEntryNotFoundError, HFValidationError) as exc:
        raise OSError(f"the model {name} is not in the hub's cache, and the hub can't be asked: {exc}") from exc


def compared(options: dict[str, Any]) -> dict[str, Any]:
    """The options as they are told apart: where a name says which model it is, its place does not count."""
    named = options.get("name") or options.get("fastembed")
    return {**options, "cache_folder": None} | ({"path": None} if named else {})

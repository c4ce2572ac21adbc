"""Why a model could not be had from the hub, in words that say what to do.

offline            OSError, before anybody is asked
no such model      FileNotFoundError
private, gated     PermissionError
not to be reached  ConnectionError, or it is busy, or out of order
no room            OSError
anything else      OSError: the download was interrupted, and the next one goes on with the files that are missing

All are OSErrors, which is what the libraries raise whose models these are.
"""

from __future__ import annotations

import errno
import os
from typing import Final

OFFLINE_VARIABLE: Final = "SHAREDMODEL_OFFLINE"  # set where a server's configuration is why
_HUBS_OWN: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_YES: Final = ("1", "ON", "YES", "TRUE")
_LONGEST: Final = 300
_TOKEN: Final = "set HF_TOKEN, for whoever starts the server, to a token that may read it"
_GOES_ON: Final = "load it again; files that have come whole are kept, and only the others are fetched then"
_AHEAD: Final = "fetch it ahead, `sharedmodel download CONFIG.toml`,"


def offline() -> str:
    """Why no hub may be asked, and which ways there are; empty where it may be."""
    if os.environ.get(OFFLINE_VARIABLE):
        return f"the server is offline by its configuration: {_AHEAD} or set `offline = false` in [server]"
    why = variable()
    return f"{why} forbids to ask the hub: {_AHEAD} or start the server without {why}" if why else ""


def variable() -> str:
    """The variable that forbids to ask the hub; empty where there is none."""
    return next((name for name in _HUBS_OWN if os.environ.get(name, "").upper() in _YES), "")


def not_here(name: str, why: str) -> OSError:
    """A model that is not in the cache, where nobody may be asked for it."""
    return OSError(f"the model {name} is not in the hub's cache, and {why}")


def failure(name: str, revision: str | None, cache: str, exc: BaseException) -> OSError:
    """What to raise for what the hub's library raised when it was asked for a model."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(exc, HFValidationError):
        return OSError(f"the model {name} is not in the hub's cache, and the hub can't be asked: {exc}")
    if isinstance(exc, GatedRepoError):
        return PermissionError(f"the model {name} is gated: accept its terms on its page on the hub, and {_TOKEN}")
    if isinstance(exc, RevisionNotFoundError):
        return FileNotFoundError(f"the model {name} has no revision {revision!r} on the hub")
    status = getattr(exc.response, "status_code", 0) if isinstance(exc, HfHubHTTPError) else 0
    if status in (401, 403):
        # The hub does not tell a name that is free from a private one to who may not know.
        return PermissionError(f"the model {name} is private, or there is none of this name: if it is right, {_TOKEN}")
    if isinstance(exc, RepositoryNotFoundError):
        return FileNotFoundError(f"the hub has no model {name}: look whether its name is right")
    if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return OSError(
            f"no room for the model {name} in {cache}: make some, or keep models elsewhere "
            "(HF_HOME, or `cache_folder` of the model)"
        )
    if status >= 500 or status == 429:
        return ConnectionError(f"the hub can't serve the model {name} now (HTTP {status}): {_GOES_ON}")
    if _unreachable(exc):
        return ConnectionError(
            f"the hub can't be reached for the model {name} ({_short(exc)}): look to the network and to HF_ENDPOINT, "
            f"or {_AHEAD} where it can be"
        )
    return OSError(f"the download of the model {name} was interrupted ({_short(exc)}): {_GOES_ON}")


def _unreachable(exc: BaseException | None) -> bool:
    """Whether no connection came about, by the class of the HTTP library that the hub's library uses."""
    if exc is None:
        return False
    names = {kind.__name__ for kind in type(exc).__mro__}
    return bool(names & {"ConnectError", "ConnectTimeout", "ProxyError", "ConnectionError"}) or _unreachable(
        exc.__cause__
    )


def _short(exc: BaseException) -> str:
    text = " ".join(f"{type(exc).__name__}: {exc}".split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

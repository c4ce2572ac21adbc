"""What the scheduler knows of a job. `calls` makes such jobs of calls."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from .batching import Request

LOWEST: Final = -2
HIGHEST: Final = 2  # priorities beyond these two count as these


class Asked(Protocol):
    """What the policy looks at. None of it may change while the job waits, but for ``cancelled``.

    client     whose it is: clients take turns
    priority   a whole number, 0 as a rule; higher is sooner
    deadline   on the clock that `now` is read from; None: there is none
    key        only jobs of equal keys are batched; None: this one runs alone
    rows       how many rows it adds to a batch
    length     its longest row, in tokens or whatever is padded to the longest of a batch
    """

    @property
    def client(self) -> Hashable: ...

    @property
    def priority(self) -> int: ...

    @property
    def deadline(self) -> float | None: ...

    @property
    def cancelled(self) -> bool: ...

    @property
    def key(self) -> Hashable | None: ...

    @property
    def rows(self) -> int: ...

    @property
    def length(self) -> int: ...


class Job(Asked, Protocol):
    """What the lanes run. Exactly one of `run`, `answer` and `fail` is called, once."""

    def queued(self, withdraw: Callable[[], None]) -> None:
        """It has to wait. ``withdraw`` takes it out of the queue, if it is still there, and fails it.

        Told when others may take the job from the queue already: it may have ended by then.
        """

    def run(self) -> None:
        """Run it alone and answer it. Raises nothing."""

    def request(self) -> Request:
        """What is asked, for a run together with others. Called at most once; nothing of it stays in the job."""

    def answer(self, value: Any) -> None:
        """Its result, from a run together with others."""

    def fail(self, exc: BaseException) -> None:
        """It ends with this error."""


J_contra = TypeVar("J_contra", bound=Job, contravariant=True)


class Lease(Protocol[J_contra]):
    """What jobs are run on, where that may be let go of."""

    def enter(self) -> bool:
        """It stays until `leave`. False when it has been let go of."""

    def leave(self) -> None: ...

    def pass_on(self, jobs: Sequence[J_contra]) -> None:
        """These came too late for it. They have not begun, and are its own to see to from now on."""

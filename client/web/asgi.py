"""An ASGI middleware: what a call of a model raises becomes the answer that it is (see `statuses`)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Final

from .statuses import BAD_INPUT, Answer, answer_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOG: Final = logging.getLogger("sharedmodel.web")


class ErrorAnswers:
    """``app.add_middleware(ErrorAnswers)`` with FastAPI and Starlette; ``app = ErrorAnswers(app)`` with others.

    Errors that are no answer, and those that come when the answer has begun, go on to the server.
    """

    def __init__(self, app: App, bad_input: Collection[str] = BAD_INPUT) -> None:
        self._app = app
        self._bad_input = bad_input

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as exc:
            answer = None if begun else answer_of(exc, self._bad_input)
            if answer is None:
                raise
            _LOG.warning("%s %s: %d, %s", scope["method"], scope["path"], answer.status, exc)
            await _sent(answer, send)


async def _sent(answer: Answer, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})

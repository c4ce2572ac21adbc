"""The same for Flask and Django, which catch what a view raises before a middleware of WSGI could see it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from sharedmodel.errors import SharedModelError

from .statuses import BAD_INPUT, BAD_PICTURE, answer_of


def answers_for_flask(app: Any, bad_input: Collection[str] = BAD_INPUT) -> None:
    """Have a Flask application, or a blueprint, answer the errors of calls as `statuses` says."""

    def answered(exc: Exception) -> Any:
        answer = answer_of(exc, bad_input)
        if answer is None:
            raise exc
        return answer.body, answer.status, dict(answer.headers)

    # Not Exception: that would take Flask's own answers too.
    for kind in (SharedModelError, ValueError, TypeError, OSError, SyntaxError, EOFError):
        app.register_error_handler(kind, answered)


class DjangoErrorAnswers:
    """Django's middleware: a line in MIDDLEWARE, "sharedmodel.client.web.DjangoErrorAnswers".

    Pictures that can't be read are bad input too.
    """

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self._get_response(request)

    def process_exception(self, request: Any, exception: Exception) -> Any:
        """The answer that the exception of a view is, or None: then it is Django's affair."""
        from django.http import HttpResponse

        answer = answer_of(exception, BAD_PICTURE)
        return None if answer is None else HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))

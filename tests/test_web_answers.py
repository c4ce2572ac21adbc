"""Errors of calls as answers of HTTP, and the host of an asyncio application."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharedmodel import errors
from sharedmodel.client.raising import as_the_library
from sharedmodel.client.web import BAD_PICTURE, ErrorAnswers, Models, answer_of
from sharedmodel.errors import Overloaded, RemoteError, RemoteTraceback
from tests.servers import ECHO, release, running_server, watching
from tests.web import gunicorn

STATUSES: dict[str, tuple[Exception, int | None]] = {
    "overloaded": (Overloaded("full", 2.2), 503),
    "not-enough-memory": (errors.NotEnoughMemory("no room", 3, 2, 1, 0), 503),
    "load-failed": (errors.LoadFailed("no weights"), 503),
    "host-lost": (errors.HostLost("gone"), 503),
    "host-unavailable": (errors.HostUnavailable("nobody there"), 503),
    "cancelled": (errors.Cancelled("given up"), 503),
    "deadline": (errors.DeadlineExceeded("late"), 504),
    "stuck": (errors.Stuck("never came back"), 504),
    "poisonous": (errors.Poisonous("twice"), 422),
    "cannot-cross": (errors.CannotCross("'x'[3] does not cross"), 422),
    "bad-argument": (errors.BadArgument("no such thing"), 422),
    "not-permitted": (errors.NotPermitted("you may not"), None),
    "protocol": (errors.ProtocolError("broken"), None),
}


@pytest.mark.parametrize("code", STATUSES)
def test_each_error_of_a_call_is_the_answer_it_means(code: str) -> None:
    exc, status = STATUSES[code]
    answer = answer_of(exc)
    if answer is None:
        assert status is None
        return
    assert answer.status == status
    assert json.loads(answer.body) == {"error": code, "detail": str(exc)}
    retries = {"overloaded": "3", "load-failed": None, "deadline": None, "stuck": None}
    assert dict(answer.headers).get("retry-after") == retries.get(code, "1" if status == 503 else None)


def _of_the_model(exc: Exception) -> Exception:
    exc.__cause__ = RemoteTraceback("in the host")
    return exc


def test_what_a_model_raises_for_bad_input_is_422_and_the_applications_own_is_not() -> None:
    class OfThatKind(ValueError):
        pass

    broken = RemoteError("UnidentifiedImageError: no image", "PIL.UnidentifiedImageError")
    for exc in (ValueError("bad"), TypeError("bad"), OfThatKind("bad")):
        assert answer_of(exc) is None
        answer = answer_of(_of_the_model(exc))
        assert answer is not None and answer.status == 422
        assert json.loads(answer.body) == {"error": "bad-input", "detail": "bad"}
    assert answer_of(broken) is None and answer_of(_of_the_model(OSError("truncated"))) is None
    assert answer_of(_of_the_model(RuntimeError("broken")), BAD_PICTURE) is None
    for exc in (broken, _of_the_model(OSError("truncated"))):
        answer = answer_of(exc, BAD_PICTURE)
        assert answer is not None and answer.status == 422


def test_a_model_that_can_t_be_loaded_is_503_whatever_a_stand_in_raises_in_its_place() -> None:
    failed = errors.LoadFailed("the model m failed: ValueError: no weights", "builtins.ValueError", "no weights")
    failed.__cause__ = RemoteTraceback("in the host")
    for found in (failed, _raised_by_a_stand_in(failed)):
        answer = answer_of(found)
        assert answer is not None and answer.status == 503
        assert json.loads(answer.body) == {"error": "load-failed", "detail": str(failed)}
    assert type(found) is ValueError and str(found) == "no weights" and "in the host" in str(found.__cause__)
    again = answer_of(_raised_by_a_stand_in(_of_the_model(ValueError("bad"))))
    assert again is not None and again.status == 422


def _raised_by_a_stand_in(exc: Exception) -> Exception:
    with pytest.raises(Exception) as found, as_the_library(lambda name, text: None):
        raise exc
    return found.value


def _answered(app: Callable[..., Any]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def receive() -> Any:
        raise AssertionError("nobody asked for the body")

    asyncio.run(ErrorAnswers(app)({"type": "http", "method": "GET", "path": "/"}, receive, send))
    return sent


def test_the_middleware_answers_unless_the_answer_has_begun() -> None:
    async def full(scope: Any, receive: Any, send: Any) -> None:
        raise Overloaded("full", 7)

    async def midway(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Overloaded("full", 7)

    async def mistaken(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("mine")

    start, body = _answered(full)
    assert start["status"] == 503 and (b"retry-after", b"7") in start["headers"]
    assert json.loads(body["body"])["error"] == "overloaded"
    for app, kind in ((midway, Overloaded), (mistaken, KeyError)):
        with pytest.raises(kind):
            _answered(app)


TINY = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def _tiny(runtime: str) -> tuple[str, ...]:
    pytest.importorskip("uvicorn")
    Path(runtime, "tiny.py").write_text(TINY)
    return "--chdir", runtime, "-w", "1", "-k", "sharedmodel.client.web.worker.Worker", "tiny:app"


def test_a_worker_ends_when_gunicorn_was_killed(runtime: str) -> None:
    with gunicorn(runtime, *_tiny(runtime)) as web:
        assert web.get("/").body == b"ok"
        (worker,) = web.workers()
        with watching(worker) as gone:
            web.process.kill()
            assert gone()
        web.process.wait()


def test_a_worker_that_is_replaced_answers_what_still_comes_on_its_connections(runtime: str) -> None:
    with gunicorn(runtime, *_tiny(runtime)) as web:
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
        closes = None
        for number in range(100_000):
            connection.request("GET", "/")
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"ok")
            if number == 3:
                web.process.send_signal(signal.SIGHUP)
            if (closes := response.getheader("connection")) == "close":
                break
        connection.close()
        assert closes == "close"
        assert web.get("/").body == b"ok"


def test_an_application_may_start_before_its_model_server_and_outlive_it(runtime: str) -> None:
    models = Models(f"{runtime}/host.sock", patience=0.2)

    async def main() -> None:
        async with models.lifespan():
            with pytest.raises(errors.HostUnavailable):
                await models.get("echo")
            with running_server(ECHO, runtime):
                assert await (await models.get("echo")).add(1, 2) == 3
                with pytest.raises(errors.BadArgument, match=r"no model of kind 'cnocr'.*echo \(zoo:Echo\)"):
                    await models.of_kind("cnocr")
            with pytest.raises(errors.HostUnavailable):
                await (await models.get("echo")).add(1, 2)
            with running_server(ECHO, runtime):
                assert await (await models.get("echo")).add(1, 2) == 3
        await models.aclose()

    asyncio.run(main())


def test_a_dependency_gives_the_model_and_finds_it_anew_after_its_server_was_another(runtime: str) -> None:
    models = Models()

    async def asked(dependency: Callable[[], Any]) -> int:
        given = dependency()
        pid = int(await (await anext(given)).pid())
        with pytest.raises(StopAsyncIteration):
            await anext(given)
        return pid

    async def lost(dependency: Callable[[], Any]) -> None:
        given = dependency()
        await anext(given)
        with pytest.raises(errors.HostLost):
            await given.athrow(errors.HostLost("gone"))

    async def main() -> None:
        async with models.lifespan():
            echo = models.dependency("echo")
            first = await asked(echo)
            assert await asked(echo) == first
            await lost(echo)
            assert not models._found
            server.kill_host()
            assert await asked(echo) != first

    with running_server(ECHO, runtime) as server:
        asyncio.run(main())


def test_each_call_has_the_deadline_of_the_application_or_of_its_dependency(runtime: str) -> None:
    import os

    pipe = f"{runtime}/pipe"
    os.mkfifo(pipe)

    async def main() -> None:
        models = Models(timeout=0.1)
        async with models.lifespan():
            for given in (models.dependency("echo"), models.dependency("echo", timeout=0.2)):
                model = await anext(aiter(given()))
                with pytest.raises(errors.DeadlineExceeded):
                    await model.hold(pipe)

    with running_server(ECHO, runtime):
        asyncio.run(main())
        from concurrent.futures import ThreadPoolExecutor

        from sharedmodel.client import connect

        with connect() as host, ThreadPoolExecutor(1) as pool:
            release(pipe, pool.submit(host.model("echo").hold, pipe))

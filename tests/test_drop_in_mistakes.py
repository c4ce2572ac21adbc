"""Programs that are wrong fail as they did with `BaseManager`, or with an error that says what to do."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedmodel.errors import BadArgument, CannotCross, NotExposed, RemoteError, UnknownObject, UnknownTypeid
from sharedmodel.manager import BaseManager, BaseProxy

from .drop_in import run, same

GUARDED = """
import multiprocessing
from sharedmodel.manager import BaseManager
class Manager(BaseManager):
    pass
Manager.register("list", list)
{body}
"""


class Thing:
    def __init__(self, value: Any = None) -> None:
        self.value = value

    def get(self) -> Any:
        return self.value

    def put(self, value: Any) -> None:
        value[0] = 1


class Manager(BaseManager):
    pass


Manager.register("Thing", Thing)


class Locals(BaseManager):
    pass


Locals.register("Local", lambda: Thing(5))


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_the_same_exceptions_catch_the_same_mistakes(method: str, tmp_path: Path) -> None:
    same("mistakes", method, tmp_path, quiet=False)


def script(place: Path, body: str) -> Path:
    path = place / "program.py"
    path.write_text(GUARDED.format(body=body))
    return path


def test_a_start_without_a_main_guard_names_the_line_to_move(tmp_path: Path) -> None:
    path = script(tmp_path, "manager = Manager(ctx=multiprocessing.get_context('spawn'))\nmanager.start()")
    done = run(path)
    assert done.returncode == 1
    line = path.read_text().splitlines().index("manager.start()") + 1
    assert f"{path}, line {line}" in done.stderr
    assert "if __name__ == '__main__':" in done.stderr


def test_a_start_in_a_function_called_at_import_names_the_line_of_the_call(tmp_path: Path) -> None:
    body = "def go():\n    return Manager(ctx=multiprocessing.get_context('spawn')).__enter__()\ngo()"
    path = script(tmp_path, body)
    done = run(path)
    line = path.read_text().splitlines().index("go()") + 1
    assert f"{path}, line {line}" in done.stderr


def test_a_start_in_an_imported_module_names_that_module(tmp_path: Path) -> None:
    module = tmp_path / "starts.py"
    module.write_text(GUARDED.format(body="m = Manager(ctx=multiprocessing.get_context('spawn'))\nm.start()"))
    path = tmp_path / "program.py"
    path.write_text("if __name__ == '__main__':\n    import starts\n")
    done = run(path)
    assert done.returncode == 1
    line = module.read_text().splitlines().index("m.start()") + 1
    assert f"{module}, line {line}" in done.stderr


def test_a_start_without_a_main_guard_works_under_fork(tmp_path: Path) -> None:
    body = (
        "manager = Manager(ctx=multiprocessing.get_context('fork'))\nmanager.start()\nprint(manager.list('ab').pop())"
    )
    done = run(script(tmp_path, body))
    assert (done.returncode, done.stdout, done.stderr) == (0, "b\n", "")


def test_a_lambda_works_under_fork_and_is_refused_under_spawn() -> None:
    with Locals(ctx=multiprocessing.get_context("fork")) as manager:
        assert manager.Local().get() == 5  # type: ignore[attr-defined]
    for method in ("spawn", "forkserver"):
        with pytest.raises(TypeError, match=f"{method}.*not lambdas.*get_context\\('fork'\\)"):
            Locals(ctx=multiprocessing.get_context(method)).start()


def test_a_tcp_address_is_refused_and_told_why() -> None:
    with pytest.raises(ValueError, match=r"TCP address.*one host only; give the path of a Unix socket"):
        Manager(address=("", 50000))


def test_an_instance_of_a_class_is_refused_with_the_path_to_it() -> None:
    with Manager() as manager:
        thing = manager.Thing()  # type: ignore[attr-defined]
        with pytest.raises(TypeError, match=r"argument 'value'\[3\]\['x'\]: .*Thing does not cross.*What may cross"):
            thing.put(value=[0, 1, 2, {"x": Thing()}])
        with pytest.raises(CannotCross, match=r"argument 0: .*Thing does not cross"):
            manager.Thing(Thing())  # type: ignore[attr-defined]
        with pytest.raises(CannotCross, match=r"argument 'value': .*Thing does not cross"):
            manager.Thing(value=Thing())  # type: ignore[attr-defined]


def test_an_array_argument_is_read_only_and_a_result_is_the_callers_own() -> None:
    with Manager() as manager:
        thing = manager.Thing(np.arange(3))  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="read-only"):
            thing.put(np.zeros(100_000))
        thing.get()[0] = 5
        assert thing.get()[0] == 0


def test_errors_of_the_server_say_what_there_is() -> None:
    with Manager() as manager:
        thing = manager.Thing()  # type: ignore[attr-defined]
        with pytest.raises(NotExposed, match="'value' of 'Thing' is not exposed; exposed are: get, put") as exposed:
            thing._callmethod("value")
        assert isinstance(exposed.value, RemoteError | PermissionError)
        with pytest.raises(UnknownTypeid, match="'Thong' is not registered; registered are: Thing"):
            manager._create("Thong")
        gone = pickle.dumps(manager.Thing())  # type: ignore[attr-defined]
        with pytest.raises(UnknownObject, match="it was dropped"):
            pickle.loads(gone)


def test_a_proxy_class_of_the_standard_library_is_refused_and_told_where_to_import_it() -> None:
    from multiprocessing.managers import BaseProxy as Other

    class Mine(Other):
        pass

    with pytest.raises(TypeError, match=r"import BaseProxy from sharedmodel\.manager"):
        Manager.register("Mine", proxytype=Mine)


def test_connect_without_an_address_says_so() -> None:
    with pytest.raises(BadArgument, match="needs the address"):
        Manager().connect()


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_an_initializer_that_fails_is_told_to_who_starts(method: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Manager(ctx=multiprocessing.get_context(method)).start(int, ("not a number",))


def test_no_pickle_holds_a_key() -> None:
    with Manager(authkey=b"a key nobody may see") as manager:
        thing = manager.Thing()  # type: ignore[attr-defined]
        for proxy in (thing, BaseProxy(thing._token, authkey=b"a key nobody may see")):
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                assert b"nobody may see" not in pickle.dumps(proxy, protocol)
        with pytest.raises(TypeError, match="disallowed"):
            pickle.dumps(Manager(manager.address, b"a key nobody may see"))

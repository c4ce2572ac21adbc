"""`ModelManager` in everyday use."""

from __future__ import annotations

import numpy as np
import pytest

from sharedmodel import reply
from sharedmodel.manager import ModelManager


class Calculator:
    def __init__(self, base: int = 0) -> None:
        self.base = base

    def add(self, number: int) -> int:
        return self.base + number

    def echo(self, value: object) -> object:
        return value

    def fail(self) -> None:
        raise KeyError("what is missing")

    def filled(self, size: int) -> np.ndarray:
        out = reply.empty(size, "u1")
        out[:] = 7
        return out


class Holder:
    def __init__(self, value: object) -> None:
        self.value = value

    def get(self) -> object:
        return self.value


class Manager(ModelManager):
    pass


Manager.register("Calculator", Calculator)
Manager.register("Holder", Holder)


def test_a_method_is_called_and_its_result_comes_back() -> None:
    with Manager() as manager:
        assert manager.Calculator(2).add(3) == 5


def test_a_builtin_exception_comes_back_as_its_own_type_with_the_remote_traceback() -> None:
    with Manager() as manager:
        with pytest.raises(KeyError, match="what is missing") as caught:
            manager.Calculator().fail()
        assert "in fail" in str(caught.value.__cause__)


def test_a_large_result_made_in_place_arrives() -> None:
    with Manager() as manager:
        result = manager.Calculator().filled(3_000_000)
        assert result.shape == (3_000_000,)
        assert (result == 7).all()


@pytest.mark.parametrize("value", ["x" * 2_000_000, [0.5] * 300_000], ids=["text", "list"])
def test_an_object_is_made_of_arguments_of_megabytes(value: object) -> None:
    with Manager() as manager:
        assert manager.Holder(value).get() == value


def test_an_object_of_one_manager_is_made_of_one_of_another() -> None:
    with Manager() as one, Manager() as other:
        assert other.Holder(one.Calculator(2)).get().add(3) == 5

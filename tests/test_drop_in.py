"""Programs written for `BaseManager` print the same after one import is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from .drop_in import same

METHODS = ("spawn", "fork", "forkserver")


@pytest.mark.parametrize("method", METHODS)
def test_register_takes_every_argument_as_the_standard_library_does(method: str, tmp_path: Path) -> None:
    same("registering", method, tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_a_manager_lives_and_ends_as_in_the_standard_library(method: str, tmp_path: Path) -> None:
    same("life", method, tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_queues_dicts_lists_and_locks_are_shared_as_in_the_standard_library(method: str, tmp_path: Path) -> None:
    same("containers", method, tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_the_standard_librarys_own_proxies_work_as_there(method: str, tmp_path: Path) -> None:
    same("standard", method, tmp_path)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_iterators_and_namespaces_work_as_in_the_standard_library(method: str, tmp_path: Path) -> None:
    same("iterating", method, tmp_path)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_proxies_of_proxies_work_as_in_the_standard_library(method: str, tmp_path: Path) -> None:
    same("nesting", method, tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_references_are_counted_as_in_the_standard_library(method: str, tmp_path: Path) -> None:
    same("counting", method, tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_proxies_travel_into_pools_and_processes_as_in_the_standard_library(method: str, tmp_path: Path) -> None:
    same("travelling", method, tmp_path)

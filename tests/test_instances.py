"""Which of a model's hosts a call goes to, by a board that the next server makes anew."""

from __future__ import annotations

from pathlib import Path

from sharedmodel.board import Board
from sharedmodel.client.instances import Instances


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def shown(path: Path, *calls: int) -> Board:
    board = Board.create(str(path))
    for cell, number in enumerate(calls):
        board[cell] = number
    return board


def mapped(path: Path) -> int:
    """How many boards, those that were replaced included."""
    return Path("/proc/self/maps").read_text().count(str(path))


def test_the_board_of_the_next_server_is_found_after_a_second_and_the_old_one_let_go(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "board"
    instances = Instances(["left", "right"], [0, 1], str(path), "", clock)
    board = shown(path, 0, 5)
    assert instances.pick() == "left"
    board = shown(path, 5, 0)
    assert instances.pick() == "left"
    clock.seconds += 1.0
    assert instances.pick() == "right"
    del board
    assert mapped(path) == 1


def test_the_last_board_is_used_while_there_is_no_other(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "board"
    instances = Instances(["left", "right"], [0, 1], str(path), "", clock)
    board = shown(path, 5, 0)
    assert instances.pick() == "right"
    path.unlink()
    board[0], board[1] = 0, 5
    clock.seconds += 1.0
    assert instances.pick() == "left"

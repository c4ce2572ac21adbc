"""What tests of OCR share: a page with its truth beside it, and one copy of the models whoever asks."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from scripts import pages
from sharedmodel.client import connect

from .both import Pair, alike

SMALL = {"limit_side_len": 64}  # pages are not enlarged: that takes seconds a page


def one_page(folder: Path, lines: int, seed: int = 5) -> tuple[pages.Page, Path]:
    """A page of so many lines, and its file. The test is skipped where there is no font."""
    try:
        made = pages.make(1, seed=seed, lines=lines)
    except pages.FontMissing as error:
        pytest.skip(str(error))
    return made[0], pages.write(made, folder)[0]


def corner_of(page: pages.Page, folder: Path) -> tuple[Any, Path]:
    """The beginnings of its lines, as wide as they are high together, and their file: read in a third of the time."""
    image = page.image.crop((0, 0, page.image.height, page.image.height))
    image.save(folder / "corner.png")
    return image, folder / "corner.png"


def share_one_copy(pair: Pair, again: Any, method: str, elsewhere: Callable[[Any, str], Any], path: Path) -> None:
    """Threads and another process use the model in the host; ``again`` was made by other words for the same."""
    expected = getattr(pair.theirs, method)(path)
    name = pair.ours._backing.wanted.name
    assert again._backing.wanted.name == name
    with ThreadPoolExecutor(3) as threads:
        for found in threads.map(getattr(pair.ours, method), [path] * 3):
            alike(found, expected)
    assert len(pickle.dumps(pair.ours)) < 2000
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found, heavy = pool.submit(elsewhere, pair.ours, str(path)).result()
    alike(found, expected)
    assert not heavy
    with connect() as host:
        assert name in host.models()

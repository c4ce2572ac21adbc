"""The pages that the demo and the OCR tests read."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import pages


@pytest.fixture(autouse=True, scope="module")
def _font() -> None:
    pytest.importorskip("PIL")
    try:
        pages.find_font()
    except pages.FontMissing as error:
        pytest.skip(str(error))


def test_the_same_seed_gives_the_same_page_whatever_was_made_before() -> None:
    assert pages.make(3, seed=4)[2].lines == pages.text(2, seed=4)
    assert pages.text(2, seed=4) != pages.text(2, seed=5)
    first, again = pages.make(1)[0].image, pages.make(1)[0].image
    assert first.tobytes() == again.tobytes()


def test_every_page_holds_english_and_chinese() -> None:
    for number in range(20):
        written = "".join(pages.text(number))
        assert any("a" <= c <= "z" for c in written) and any("一" <= c <= "鿿" for c in written)


def test_the_truth_lies_beside_each_picture(tmp_path: Path) -> None:
    assert pages.main(["--count", "2", "--to", str(tmp_path), "--lines", "3"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "page-000.png", "page-000.txt", "page-001.png", "page-001.txt",
    ]  # fmt: skip
    truth = (tmp_path / "page-001.txt").read_text(encoding="utf-8").splitlines()
    assert tuple(truth) == pages.text(1, lines=3)

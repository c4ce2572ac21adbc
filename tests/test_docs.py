"""The pages in docs/: the code that they show is the code that runs, and what they link to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sharedmodel.errors import BadArgument
from sharedmodel.server.catalogue import entry
from sharedmodel.server.config import load
from sharedmodel.server.kinds import DETAILS, Kind
from tests.doc_pages import DOCS, blocks

ROOT = DOCS.parent
PAGES = sorted(DOCS.glob("*.md"))


def named(page: Path) -> str:
    return page.stem


@pytest.mark.parametrize("block", blocks("adapters", "python"), ids=lambda block: block.splitlines()[1].strip()[:40])
def test_the_guide_to_adapters_shows_the_code_that_runs(block: str) -> None:
    head, _, code = block.partition("\n")
    source = (ROOT / head.removeprefix("# ")).read_text()
    excerpts = code.split("# …\n")
    assert all(excerpt in source for excerpt in excerpts)
    places = [source.index(excerpt) for excerpt in excerpts]
    assert places == sorted(places)


def test_the_guide_to_adapters_tells_every_field_of_a_kind_and_every_file() -> None:
    guide = (DOCS / "adapters.md").read_text()
    assert [field for field in Kind._fields if f"`{field}`" not in guide] == []
    files = set(re.findall(r"`((?:server|client|tests)/[a-z_/]+(?:\.py)?)`", guide))
    assert len(files) > 5 and [file for file in files if not (ROOT / file).exists()] == []


@pytest.mark.parametrize("mistake", ['use_cls = "yes"', "txt_score = 0.5"])
def test_an_option_that_is_wrong_is_refused_as_the_guide_says(mistake: str, tmp_path: Path) -> None:
    assert f"`{mistake.partition(' = 0')[0]}`" in (DOCS / "adapters.md").read_text()
    (tmp_path / "models.toml").write_text(f'[models.ocr]\nkind = "rapidocr"\n{mistake}\n')
    with pytest.raises(BadArgument, match=f"models.ocr.{mistake.partition(' ')[0]}"):
        load(tmp_path / "models.toml")


def test_the_page_of_rapidocr_tells_the_options_that_go_with_a_call() -> None:
    (method, _) = entry("rapidocr").methods
    page = (DOCS / "rapidocr.md").read_text()
    assert all(f"`{name}`" in page for name in re.findall(r"(\w+)=None", method.arguments))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (DOCS / target).exists(), target


def test_the_index_has_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    assert [page.name for page in PAGES if f"({page.name})" not in index and page.name != "README.md"] == []


def test_every_kind_has_a_page_that_configures_it() -> None:
    told = "\n".join(page.read_text() for page in PAGES)
    assert [kind for kind in DETAILS if f'kind = "{kind}"' not in told] == []

"""`sharedmodel models`: every adapter with its methods and options, told without its libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from sharedmodel.errors import BadArgument
from sharedmodel.server.catalogue import entries, entry, first_words, type_told
from sharedmodel.server.cli_kinds import show
from sharedmodel.server.kinds import DETAILS, adapter
from sharedmodel.server.models import KINDS
from sharedmodel.server.options import parameters_of

from .servers import command
from .test_import_rules import HEAVY


def test_every_kind_is_listed_with_its_methods_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    show(None, as_json=False)
    blocks = capsys.readouterr().out.split("\n\n")
    assert [block.split()[0] for block in blocks] == list(KINDS)
    for kind, block in zip(KINDS, blocks, strict=True):
        assert all(name in block for name in (*DETAILS[kind].exposed, *parameters_of(kind)[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_and_option_says_what_it_is(kind: str) -> None:
    told = entry(kind)
    assert told.about and told.default in [method.name for method in told.methods]
    assert [each.name for each in (*told.methods, *told.options) if not each.about] == []
    assert told.others != ""  # None: there are none
    assert [option.name for option in told.options] == list(parameters_of(kind)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_wholly_described_to_the_host(kind: str) -> None:
    details = DETAILS[kind]
    assert {details.default, *details.files, *details.runs} <= set(details.exposed)
    assert all(callable(getattr(adapter(kind), name)) for name in details.exposed)
    names, open_ended = parameters_of(kind)
    assert open_ended or {*details.paths, *details.own} <= names.keys()
    assert set(details.made) <= set(details.paths)
    assert details.threads == ("threads" in names)


def test_one_kind_is_told_in_full() -> None:
    told = " ".join(command("models", "rapidocr").split())
    assert "light choice." in told and "so do most languages in Latin script" in told
    assert "ocr(img, *, use_cls=None, text_score=None, box_thresh=None, unclip_ratio=None)" in told
    assert "score" in told and '"ch"' in told and "0.5" in told


def test_programs_have_it_as_json() -> None:
    told = json.loads(command("models", "--json"))
    assert told == json.loads(json.dumps([entry.plain() for entry in entries()]))
    path = next(option for option in told[0]["options"] if option["name"] == "path")
    assert path == {
        "name": "path", "type": "str or PathLike or bytes", "needed": True, "default": None,
        "about": "the file; weights stored beside it are found there. Or a model's bytes.",
    }  # fmt: skip


def test_a_kind_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    assert "unknown kind 'cnor'; did you mean 'cnocr'?" in command("models", "cnor", code=2)
    with pytest.raises(BadArgument, match="allowed: onnx, cnocr"):
        entries("x")


def test_nothing_heavy_is_imported_for_it() -> None:
    code = "import sys; from sharedmodel.server.catalogue import entries; entries(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()


TYPES: list[tuple[Any, str]] = [
    (int, "int"),
    (int | None, "int"),
    (Literal["onnx", "torch"] | None, '"onnx" or "torch"'),
    (Sequence[str], "list of str"),
    (Mapping[str, int] | None, "table of int"),
    (dict[str, Any], "table"),
    (Sequence[Mapping[str, str]], "list of table of str"),
    (str | tuple[str, dict[str, Any]], "str or list"),
    (Any, "anything"),
]


@pytest.mark.parametrize(("hint", "told"), TYPES, ids=str)
def test_types_are_told_as_a_configuration_has_them(hint: Any, told: str) -> None:
    assert type_told(hint) == told


def test_a_long_text_is_cut_after_its_first_thought() -> None:
    assert first_words("the file; weights lie beside it") == "the file"
    assert first_words("a table: {0.5}. More.") == "a table: {0.5}"
    assert first_words("word " * 30) == "word " * 16 + "…"

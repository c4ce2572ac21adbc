"""Imports run one way only, and the base layer stands on three libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# ml_dtypes gives numpy its bfloat16; it is used where it is present.
BASE = {"numpy", "msgpack", "posix_ipc", "ml_dtypes", "sharedmodel"}
# Where the top-level folders are installed.
PACKAGE = {"server": ("sharedmodel",), "client": ("sharedmodel",)}
# Of the server only the command line and the gateways are clients as well.
CLIENTS_IN_SERVER = ("cli", "gateway", "command")
# Libraries of which importing one costs seconds or hundreds of megabytes.
HEAVY = {
    "torch", "onnxruntime", "cnocr", "cnstd", "rapidocr", "cv2", "transformers", "PIL", "tokenizers", "fastembed",
    "sentence_transformers", "huggingface_hub", "FlagEmbedding", "onnx", "sentencepiece",
    "ctranslate2",
}  # fmt: skip


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    if folder == "sharedmodel":  # without what its two links lead to
        return [p for p in found if p.relative_to(ROOT).parts[1] not in ("server", "client")]
    return found


def imports(path: Path, inside_functions: bool = True) -> Iterator[str]:
    """The absolute names of the modules that a file imports."""
    package = (
        *PACKAGE.get(path.relative_to(ROOT).parts[0], ()),
        *path.relative_to(ROOT).parts[:-1],
    )
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if inside_functions else _at_module_level(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*above, *([node.module] if node.module else [])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _at_module_level(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not _for_types(node):
            yield node
            yield from _at_module_level(node)


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def under(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", files("sharedmodel"), ids=ids)
def test_the_base_layer_knows_neither_server_nor_client(path: Path) -> None:
    for name in imports(path):
        assert not under(name, "sharedmodel.server") and not under(name, "sharedmodel.client"), name


@pytest.mark.parametrize("path", files("sharedmodel"), ids=ids)
def test_the_base_layer_needs_three_libraries_only(path: Path) -> None:
    for name in imports(path):
        top = name.partition(".")[0]
        assert top in BASE or top in sys.stdlib_module_names, name


@pytest.mark.parametrize("path", files("client"), ids=ids)
def test_a_client_never_imports_the_server(path: Path) -> None:
    for name in imports(path):
        assert not under(name, "sharedmodel.server"), name


@pytest.mark.parametrize("path", files("server"), ids=ids)
def test_the_server_imports_the_client_only_where_it_is_one(path: Path) -> None:
    parts = path.relative_to(ROOT / "server").parts
    if not parts[0].startswith(CLIENTS_IN_SERVER):
        assert [name for name in imports(path) if under(name, "sharedmodel.client")] == []


@pytest.mark.parametrize("path", files("server") + files("client"), ids=ids)
def test_heavy_libraries_are_imported_only_where_a_model_loads(path: Path) -> None:
    for name in imports(path, inside_functions=False):
        assert name.partition(".")[0] not in HEAVY, name


@pytest.mark.parametrize("path", files("sharedmodel") + files("server") + files("client"), ids=ids)
def test_pickle_is_not_imported(path: Path) -> None:
    assert "pickle" not in {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("module", ["cli", "cli_place", "cli_status", "cli_stop", "cli_top", "doctor", "janitor"])
def test_a_command_that_asks_no_model_is_there_before_numpy_would_be(module: str) -> None:
    code = f"import sys, sharedmodel.server.{module}; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("module", ["host", "supervisor"])
def test_a_process_that_stays_does_not_carry_what_checks_configurations(module: str) -> None:
    code = f"import sys, sharedmodel.server.{module}; print(*{{'pydantic', 'rich', 'typer'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

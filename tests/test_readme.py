"""What the README says works: its configuration is served and its programs are run, in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import pages
from sharedmodel.server.config import load
from tests import onnx_graphs
from tests.servers import running_server

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_its_programs_run_as_they_stand(runtime: str) -> None:
    (page,) = pages.make(1)
    page.image.save(Path(runtime, "page.png"))
    Path(runtime, "add.onnx").write_bytes(onnx_graphs.add(("n", "m")))
    Path(runtime, "mymodels.py").write_text("class Classifier:\n    def classify(self, x):\n        return 'cat'\n")
    program = "\n".join(block for block in _blocks("python") if "__main__" not in block)
    with running_server(_blocks("toml")[0], runtime):
        ran = subprocess.run([sys.executable, "-c", program], cwd=runtime, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    for line in page.lines:
        assert line in ran.stdout
    assert ran.stdout.splitlines()[-4:] == ["2 pages read", "2.0", "[[2. 2.]]", "1000000.0"]


def test_its_programs_of_several_processes_run_as_files(runtime: str) -> None:
    (page,) = pages.make(1)
    page.image.save(Path(runtime, "page.png"))
    with running_server('[models.ocr]\nkind = "cnocr"\n', runtime):
        for number, block in enumerate(block for block in _blocks("python") if "__main__" in block):
            path = Path(runtime, f"program{number}.py")
            path.write_text(block)
            ran = subprocess.run([sys.executable, path], cwd=runtime, capture_output=True, text=True, check=False)
            assert ran.returncode == 0, ran.stderr
            assert all(line in ran.stdout for line in page.lines) and ran.stdout.split()[-1] == "1024"


@pytest.mark.parametrize("command", ["scripts/demo", "scripts/test", "scripts/check", "scripts/bench", "scripts/env"])
def test_the_scripts_it_names_are_there_and_can_be_run(command: str) -> None:
    assert command in README
    assert os.access(ROOT / command, os.X_OK)


def test_its_configurations_are_right(tmp_path: Path) -> None:
    for name in ("add.onnx", "scorer.onnx", "small.npy", "longest.npy"):
        (tmp_path / name).touch()
    (tmp_path / "minilm").mkdir()
    for number, text in enumerate(_blocks("toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        load(path)


def test_the_commands_it_names_exist() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "sharedmodel.server.cli", "--help"], capture_output=True, text=True, check=True
    )
    for command in re.findall(r"^\| `sharedmodel (\w+)", README, re.MULTILINE):
        assert re.search(rf"\b{command}\b", told.stdout), command


def test_the_example_with_two_pools_reads_and_translates(tmp_path: Path) -> None:
    pages.write(pages.make(2), tmp_path)
    example = [sys.executable, str(ROOT / "examples" / "two_pools.py"), str(tmp_path)]
    ran = subprocess.run(example, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == sum(len(page.lines) for page in pages.make(2))

"""Pages in docs/: their programs and their configurations."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from sharedmodel.server.config import load

DOCS = Path(__file__).parent.parent / "docs"


def blocks(page: str, language: str) -> list[str]:
    """What a page has in this language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)


def prints(page: str, folder: Path) -> list[str]:
    """The lines that a page's programs print, run as one in a folder; its configurations are looked at first."""
    for number, text in enumerate(blocks(page, "toml")):
        (folder / f"{number}.toml").write_text(text)
        load(folder / f"{number}.toml")
    program = "\n".join(blocks(page, "python"))
    ran = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()

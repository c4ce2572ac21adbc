"""GPUs that are made up: an `nvidia-smi` on PATH that answers as NVIDIA documents it, from files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MIB = 1 << 20

_SMI = """#!/bin/sh
echo "$1" >> {folder}/asked
case "$1" in
--query-gpu=index,uuid,name,memory.total,memory.used)
    for card in {folder}/[0-9]*; do
        used=0
        for part in "$card"/*; do
            [ -f "$part" ] && read -r size < "$part" && used=$((used + size))
        done
        read -r total < {folder}/total.${{card##*/}}
        echo "${{card##*/}}, GPU-${{card##*/}}-ab12, NVIDIA A100-SXM4, $total, $used"
    done ;;
--query-compute-apps=gpu_uuid,pid,used_memory)
    for card in {folder}/[0-9]*; do
        for part in "$card"/*; do
            pid=${{part##*/}}
            [ -f "$part" ] && read -r size < "$part" && echo "GPU-${{card##*/}}-ab12, ${{pid%%-*}}, $size"
        done
    done ;;
*) exit 2 ;;
esac
exit 0
"""


class Cards:
    """``totals``: their memory in MiB. What takes some of it is a file of the card's folder, named PID-ANY."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, *totals: int) -> None:
        self.folder = str(folder / "cards")
        os.makedirs(f"{self.folder}/bin")
        for number, total in enumerate(totals):
            os.mkdir(f"{self.folder}/{number}")
            Path(self.folder, f"total.{number}").write_text(f"{total}\n")
        tool = Path(self.folder, "bin/nvidia-smi")
        tool.write_text(_SMI.format(folder=self.folder))
        tool.chmod(0o755)
        patch.setenv("PATH", f"{self.folder}/bin:{os.environ['PATH']}")
        for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
            patch.delenv(name, raising=False)

    def others(self, number: int, size: int) -> None:
        """Have processes that are none of ours take so many MiB."""
        Path(self.folder, str(number), "1-other").write_text(f"{size}\n")

    @property
    def asked(self) -> int:
        """How often anybody has asked for them."""
        found = Path(self.folder, "asked")
        return len(found.read_text().splitlines()) if found.exists() else 0

"""OCR and translation for many processes: one manager owns the models, two pools do the work.

The usual way, a pool whose tasks are given the models, ends in ``cannot pickle 'InferenceSession'
object``; a copy in each worker ends the machine's memory. Here one process owns both models, and what
the workers get is a proxy:

    submit(task_id, "ocr", path)        ─► pool for OCR          ─┐   proxies    ┌─ CnOcr
    submit(task_id, "translate", text)  ─► pool for translation  ─┴────────────► └─ translator
         ▲ futures with callbacks                                      ModelManager

Run it with a folder of pictures: ``python examples/two_pools.py pages/``
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sharedmodel.manager import ModelManager


class GlobalObject:
    """Owns every model. It lives in the manager's process and is never pickled."""

    def __init__(self) -> None:
        from sharedmodel.server.models.cnocr import CnOcrModel

        self._ocr = CnOcrModel(threads=1)
        self._words = {"invoice": "发票", "total": "总计", "room": "房间", "floor": "楼层", "building": "楼"}

    def ocr(self, image: bytes) -> list[str]:
        """The lines of a page, from top to bottom."""
        found = sorted(self._ocr.ocr(image), key=lambda line: float(line["position"][0][1]))
        return [line["text"] for line in found]

    def translate(self, text: str) -> str:
        """English to Chinese, word by word: put your opus-mt-en-zh here."""
        return " ".join(self._words.get(word.strip(",:.").lower(), word) for word in text.split())


class Models(ModelManager):
    """The process that owns the models."""


Models.register("GlobalObject", GlobalObject)


def run_ocr(models: Any, task_id: str, path: str) -> tuple[str, list[str]]:
    """A task of the OCR pool: reads its file itself, and asks the one model."""
    return task_id, models.ocr(Path(path).read_bytes())


def run_translation(models: Any, task_id: str, text: str) -> tuple[str, str]:
    """A task of the translation pool."""
    return task_id, models.translate(text)


class Tasks:
    """Two pools and what is under way in them."""

    def __init__(self, models: Any, workers: int = 2) -> None:
        self._models = models
        context = get_context("spawn")
        self._pools = {
            "ocr": (ProcessPoolExecutor(workers, context), run_ocr),
            "translate": (ProcessPoolExecutor(workers, context), run_translation),
        }

    def submit(
        self, task_id: str, task_type: str, value: str, callback: Callable[[Future[Any]], None]
    ) -> Future[tuple[str, Any]]:
        """Start a task; ``callback`` gets its future when it is done."""
        pool, function = self._pools[task_type]
        future: Future[tuple[str, Any]] = pool.submit(function, self._models, task_id, value)
        future.add_done_callback(callback)
        return future

    def close(self) -> None:
        """Wait for what is under way, OCR first since its callbacks submit translations; end the workers."""
        for pool, _ in self._pools.values():
            pool.shutdown()


def main(folder: str) -> int:
    """Read every picture of a folder and translate its lines as they come."""
    paths = sorted(Path(folder).glob("*.png"))
    with Models(ctx=get_context("spawn")) as manager:
        tasks = Tasks(manager.GlobalObject())  # type: ignore[attr-defined]
        translations: list[Future[Any]] = []

        def translate_lines(done: Future[Any]) -> None:
            task_id, lines = done.result()
            for number, line in enumerate(lines):
                translations.append(tasks.submit(f"{task_id}:{number}", "translate", line, show))

        def show(done: Future[Any]) -> None:
            task_id, text = done.result()
            print(f"{task_id:14} {text}")

        for path in paths:
            tasks.submit(path.stem, "ocr", str(path), translate_lines)
        tasks.close()
        return 0 if paths and all(future.exception() is None for future in translations) else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))

"""Pages to lines by Celery: workers that fork, die and are replaced, and one model behind them all.

    sharedmodel serve fastapi_app/models.toml &
    celery -A celery_app worker --concurrency 4 &
    python celery_app.py pages/

The broker is a folder here (CELERY_FOLDER), so that nothing else need run; take RabbitMQ or Redis in earnest.
"""

from __future__ import annotations

import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from celery import Celery, Task, group

from sharedmodel.client import Model, connect
from sharedmodel.errors import HostLost, Overloaded

FOLDER = Path(os.environ.get("CELERY_FOLDER", Path(tempfile.gettempdir(), f"celery-{os.getuid()}")))
for name in ("messages", "results", "control"):
    FOLDER.joinpath(name).mkdir(parents=True, exist_ok=True, mode=0o700)

app = Celery("pages", broker="filesystem://", backend=f"file://{FOLDER / 'results'}")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(FOLDER / "messages"),
        "data_folder_out": str(FOLDER / "messages"),
        "control_folder": str(FOLDER / "control"),
        "polling_interval": 0.1,
    },
    task_acks_late=True,  # a worker that is killed leaves its task to the others
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
)


@cache
def model(name: str) -> Model:
    """A model of the host: it may be made before the workers are forked, or after."""
    return connect(start=False, timeout=60).model(name, timeout=60)


@app.task(name="celery_app.read", bind=True, max_retries=20)
def read(self: Task[Any, Any], path: str) -> list[str]:
    """The lines of a page. A host that is full, or away, is asked again later."""
    try:
        found = model("ocr").ocr(Path(path).read_bytes())
    except Overloaded as exc:
        raise self.retry(exc=exc, countdown=exc.retry_after) from exc
    except HostLost as exc:
        raise self.retry(exc=exc, countdown=1) from exc
    return [line["text"] for line in sorted(found, key=lambda line: float(line["position"][0][1]))]


def main(folder: str) -> int:
    """Read every picture of a folder, and print its lines."""
    paths = sorted(Path(folder).resolve().glob("*.png"))
    results = group(read.s(str(path)) for path in paths).apply_async()
    for path, lines in zip(paths, results.get(timeout=600, interval=0.1), strict=True):
        print(f"{path.name}: {' | '.join(lines)}", flush=True)
    return 0 if paths else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))

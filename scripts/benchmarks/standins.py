"""Programs with one changed import against the same programs as they were: one process of each, and four.

OCR reads a page at a time, MiniLM takes a sentence, Marian translates one (a model of the shape of OPUS-MT's
with weights of no meaning). Private copies are as the libraries make them; of four each has one thread, or they
would stand in one another's way. Memory is the sum of proportional set sizes: of ours with the server.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

from scripts.demonstration.memory import proportional
from scripts.pages import make, write
from tests.both import embedded_host
from tests.embedding_models import minilm, offline_with_cache

from .table import Row

PROCESSES: Final = 4
ROUNDS: Final = 3
SECONDS: Final = 6.0
SENTENCE: Final = "the teacher sees two red birds in the garden ."

_PROGRAM: Final = """
import json, sys, time
given = json.loads(sys.argv[1])
if given["threads"]:
    import os
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    if given["library"]:
        import torch
        torch.set_num_threads(1)
from {module} import opened
call = opened(given)
for _ in range(3):
    call()
print("ready", flush=True)
sys.stdin.readline()
times, end = [], time.perf_counter() + given["seconds"]
while (start := time.perf_counter()) < end:
    call()
    times.append(time.perf_counter() - start)
print(json.dumps(times), flush=True)
sys.stdin.readline()
"""


class Task(NamedTuple):
    """What is measured. ``faster``: it must be faster than the library in process, and not just hardly slower."""

    name: str
    folder: str
    faster: bool


class Way(NamedTuple):
    """Calls a second of all processes, the median of their times in seconds, and their bytes."""

    rate: float
    median: float
    memory: float


def opened(given: dict[str, Any]) -> Callable[[], Any]:
    """In a process of the benchmark: the program's call, with the library or with its stand-in."""
    return _PROGRAMS[given["task"]](given)


def run() -> list[Row]:
    """The rows of the table."""
    with offline_with_cache(), tempfile.TemporaryDirectory(prefix="sm-") as folder:
        page = str(write(make(1, lines=4), Path(folder))[0])
        tasks = [
            Task("ocr", page, False),
            Task("minilm", minilm(), True),
            Task("translation", _large_marian(Path(folder, "marian")), True),
        ]
        return [row for task in tasks for row in _rows(task)]


def _rows(task: Task) -> list[Row]:
    alone: dict[bool, list[Way]] = {True: [], False: []}
    four: dict[bool, list[Way]] = {True: [], False: []}
    for _ in range(ROUNDS):
        for library in (False, True):
            alone[library].append(_way(task, 1, library=library))
            four[library].append(_way(task, PROCESSES, library=library))
    ours, theirs = (statistics.median(way.median for way in alone[library]) for library in (False, True))
    ratio, most = ours / theirs, 1.0 if task.faster else 1.05
    text = f"{ours * 1e3:.1f} ms against {theirs * 1e3:.1f}, ratio {ratio:.2f}"
    rows = [Row(f"{task.name}: a call of one process", f"at most {most:g}x the library's", text, ratio <= most)]
    ours, theirs = (statistics.median(way.memory for way in four[library]) for library in (False, True))
    text = f"{ours / 1e6:,.0f} MB against {theirs / 1e6:,.0f}, ratio {ours / theirs:.2f}"
    rows.append(Row(f"{task.name}: memory of four processes", "at most 1/3", text, ours <= theirs / 3))
    ours, theirs = (statistics.median(way.rate for way in four[library]) for library in (False, True))
    text = f"{ours:.1f} calls/s against {theirs:.1f}, ratio {ours / theirs:.2f}"
    return [*rows, Row(f"{task.name}: throughput of four processes", "at least 1x", text, ours >= theirs)]


def _way(task: Task, processes: int, *, library: bool) -> Way:
    with _server(not library) as (address, server):
        given = {"task": task.name, "folder": task.folder, "library": library, "seconds": SECONDS}
        given["threads"] = 1 if processes > 1 else 0
        command = [sys.executable, "-c", _PROGRAM.format(module=__name__), json.dumps(given)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = {**os.environ, "SHAREDMODEL_ADDRESS": address} if address else dict(os.environ)
        programs = [subprocess.Popen(command, env=environment, **pipes) for _ in range(processes)]
        for program in programs:
            _said(program)
        for program in programs:
            _go_on(program)
        times = [json.loads(_said(program)) for program in programs]
        memory = proportional([*(program.pid for program in programs), *server()])
        for program in programs:
            _go_on(program)
            program.wait()
    return Way(sum(len(each) / SECONDS for each in times), statistics.median(t for each in times for t in each), memory)


@contextmanager
def _server(wanted: bool) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    if not wanted:
        yield "", list
        return
    with embedded_host() as server:
        supervisor = psutil.Process(server.process.pid)
        yield (
            server.address,
            lambda: [supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))],
        )


def _said(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    line = program.stdout.readline()
    if not line:
        raise RuntimeError(f"a program of the benchmark ended with {program.wait()}")
    return line


def _go_on(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


# -- the programs ------------------------------------------------------------------------------------------


def _ocr(given: dict[str, Any]) -> Callable[[], Any]:
    import rapidocr

    models = Path(rapidocr.__file__).parent / "models"
    files = {
        "rec_model_fp": str(models / "PP-OCRv6_rec_small.onnx"),
        "det_model_fp": str(models / "PP-OCRv6_det_small.onnx"),
    }
    if given["library"]:
        from sharedmodel.server.models.hollow import TORCHVISION, hollow

        with hollow(TORCHVISION):
            from cnocr import CnOcr
        engine = {"engine_cfg": {"intra_op_num_threads": 1, "inter_op_num_threads": 1}} if given["threads"] else {}
        files |= {"rec_more_configs": dict(engine), "det_more_configs": dict(engine)}  # type: ignore[dict-item]
    else:
        from sharedmodel.client.cnocr import CnOcr
    ocr = CnOcr("multi_PP-OCRv6_small", **files)
    return lambda: ocr.ocr(given["folder"])


def _minilm(given: dict[str, Any]) -> Callable[[], Any]:
    if given["library"]:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(given["folder"], device="cpu")
    else:
        from sharedmodel.client.sentence_transformers import SentenceTransformer

        model = SentenceTransformer(given["folder"])
    return lambda: model.encode(SENTENCE)


def _translation(given: dict[str, Any]) -> Callable[[], Any]:
    if given["library"]:
        from transformers import MarianMTModel, MarianTokenizer
    else:
        from sharedmodel.client.transformers import MarianMTModel, MarianTokenizer
    tokenizer = MarianTokenizer.from_pretrained(given["folder"])
    model = MarianMTModel.from_pretrained(given["folder"])
    form = "pt" if given["library"] else "np"
    return lambda: model.generate(**tokenizer([SENTENCE], return_tensors=form), num_beams=1, max_new_tokens=32)


_PROGRAMS: Final = {"ocr": _ocr, "minilm": _minilm, "translation": _translation}


def _large_marian(folder: Path) -> str:
    """The tokenizer of the small model that the tests have, under a network of the size of OPUS-MT's."""
    from scripts.tiny_models import marian

    shutil.copytree(marian.folder(), folder)
    program = (
        "import sys, torch; from transformers import MarianConfig, MarianMTModel; torch.manual_seed(1);"
        "c = MarianConfig.from_pretrained(sys.argv[1], d_model=512, encoder_layers=6, decoder_layers=6,"
        " encoder_ffn_dim=2048, decoder_ffn_dim=2048, encoder_attention_heads=8, decoder_attention_heads=8);"
        "m = MarianMTModel(c); m.get_input_embeddings().weight.data[c.pad_token_id] = 0; m.save_pretrained(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True, capture_output=True)
    return str(folder)

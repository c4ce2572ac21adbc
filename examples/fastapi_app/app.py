"""Reading pictures, vectors of texts and search by meaning: a web application whose workers hold no model.

    sharedmodel serve models.toml &
    gunicorn -c gunicorn.conf.py app:app        then open http://127.0.0.1:8000/

Every worker talks to the one host. While that restarts requests wait; what else can go wrong is an answer:
503 with Retry-After when the host is full, 504 after the deadline, 422 for what is no picture.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Query, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from sharedmodel.client import AsyncModel
from sharedmodel.client.web import BAD_PICTURE, ErrorAnswers, Models

HERE: Final = Path(__file__).parent
TRANSLATOR: Final = os.environ.get("TRANSLATOR")  # its name, where it is no model of kind "translator"
LARGEST: Final = int(os.environ.get("LARGEST", 20_000_000))  # bytes of a picture

models = Models(timeout=float(os.environ.get("TIMEOUT", "30")))
app = FastAPI(title="sharedmodel", lifespan=models.lifespan)
app.add_middleware(ErrorAnswers, bad_input=BAD_PICTURE)

Ocr = Annotated[AsyncModel, Depends(models.dependency("ocr"))]
Embedder = Annotated[AsyncModel, Depends(models.dependency("minilm"))]


class Texts(BaseModel):
    """What to make vectors of."""

    texts: Annotated[list[str], Field(max_length=256)]


class Question(BaseModel):
    """What to look for, and how many sentences to find."""

    query: str
    most: Annotated[int, Field(ge=1, le=24)] = 3


class Corpus:
    """The sentences that are searched; their vectors are made by the first search of each worker."""

    def __init__(self, path: Path) -> None:
        self.sentences = path.read_text(encoding="utf-8").splitlines()
        self._vectors: Any = None
        self._making = asyncio.Lock()

    async def found(self, query: str, most: int, embedder: AsyncModel) -> list[dict[str, Any]]:
        async with self._making:
            if self._vectors is None:
                self._vectors = await embedder.embed(self.sentences)
        (vector,) = await embedder.embed([query])
        scores = self._vectors @ vector  # of length 1, all of them: the cosine
        best = np.argsort(-scores)[:most]
        return [{"text": self.sentences[number], "score": float(scores[number])} for number in best]


corpus = Corpus(HERE / "corpus.txt")


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(HERE / "page.html")


@app.post("/ocr")
async def read(picture: UploadFile, ocr: Ocr, translate: Annotated[bool, Query()] = False) -> dict[str, Any]:
    """The lines of a picture from top to bottom: text, score, and the four corners [x, y] of its box."""
    if picture.size is None or picture.size > LARGEST:
        raise HTTPException(413, f"a picture has {LARGEST:,} bytes at most")
    translator = await _translator() if translate else None
    found = await ocr.ocr(await picture.read())
    lines = [
        {"text": line["text"], "score": float(line["score"]), "box": np.asarray(line["position"]).tolist()}
        for line in sorted(found, key=lambda line: float(line["position"][0][1]))
    ]
    if translator is not None:
        texts = [line["text"] for line in lines]
        for line, text in zip(lines, await translator.translate(texts) if texts else (), strict=True):
            line["translation"] = text if isinstance(text, str) else text[0]  # the best of several
    return {"lines": lines}


async def _translator() -> AsyncModel:
    return await (models.get(TRANSLATOR) if TRANSLATOR else models.of_kind("translator"))


@app.post("/embed")
async def embed(given: Texts, embedder: Embedder) -> dict[str, Any]:
    """A vector for each text."""
    return {"vectors": (await embedder.embed(given.texts)).tolist()}


@app.post("/search")
async def search(given: Question, embedder: Embedder) -> dict[str, Any]:
    """The sentences of the corpus that mean nearly the same, the best first."""
    return {"found": await corpus.found(given.query, given.most, embedder)}


@app.get("/health")
async def health() -> dict[str, Any]:
    """Which models are served and how they are."""
    states = await (await models.host()).models()
    told = {name: {"state": state["state"], "kind": state["kind"]} for name, state in states.items()}
    translates = TRANSLATOR in told or any(state["kind"] == "translator" for state in told.values())
    return {"worker": os.getpid(), "models": told, "translates": translates}

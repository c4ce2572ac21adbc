"""Pictures to lines and texts to vectors with Flask, under gunicorn's ordinary workers.

sharedmodel serve fastapi_app/models.toml &
gunicorn -w 4 flask_app:app

curl -F picture=@page.png http://127.0.0.1:8000/ocr
"""

from __future__ import annotations

from functools import cache
from typing import Any

from flask import Flask, abort, request

from sharedmodel.client import Model, connect
from sharedmodel.client.web import BAD_PICTURE, answers_for_flask

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 20_000_000
answers_for_flask(app, BAD_PICTURE)


@cache
def model(name: str) -> Model:
    """A model of the host: light, and safe over the fork that `--preload` makes."""
    return connect(start=False, timeout=30).model(name, timeout=30)


@app.post("/ocr")
def read() -> dict[str, Any]:
    """The lines of a picture from top to bottom."""
    found = model("ocr").ocr(request.files["picture"].read())
    lines = sorted(found, key=lambda line: float(line["position"][0][1]))
    return {"lines": [{"text": line["text"], "score": float(line["score"])} for line in lines]}


@app.post("/embed")
def embed() -> dict[str, Any]:
    """A vector for each of ``{"texts": [...]}``."""
    texts = request.get_json().get("texts")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        abort(422, "texts is a list of strings")
    return {"vectors": model("minilm").embed(texts).tolist()}

"""How much alike two texts are, with Django: a whole application in one file.

sharedmodel serve fastapi_app/models.toml &
gunicorn -w 4 django_app:application

curl -d '{"one": "a cup of tea", "other": "coffee"}' http://127.0.0.1:8000/alike
"""

from __future__ import annotations

import json
import os
from functools import cache

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

from sharedmodel.client import Model, connect

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    SECRET_KEY=os.environ.get("SECRET_KEY", os.urandom(32).hex()),
    MIDDLEWARE=["sharedmodel.client.web.DjangoErrorAnswers"],
)


@cache
def model(name: str) -> Model:
    """A model of the host: light, and safe over the fork that `--preload` makes."""
    return connect(start=False, timeout=30).model(name, timeout=30)


@require_POST
def alike(request: HttpRequest) -> JsonResponse:
    """The cosine of the angle between the vectors of ``{"one": ..., "other": ...}``."""
    try:
        given = json.loads(request.body)
        texts = [str(given["one"]), str(given["other"])]
    except (ValueError, KeyError, TypeError):
        return JsonResponse({"detail": 'expected {"one": a text, "other": a text}'}, status=422)
    one, other = model("minilm").embed(texts)
    return JsonResponse({"score": float(one @ other)})


@require_POST
def read(request: HttpRequest) -> JsonResponse:
    """The lines of the picture that is the request's body."""
    return JsonResponse({"lines": [line["text"] for line in model("ocr").ocr(request.body)]})


urlpatterns = [path("alike", alike), path("ocr", read)]
application = get_wsgi_application()

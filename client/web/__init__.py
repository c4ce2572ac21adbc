"""Web applications: the host's models in every worker, and its errors as answers of HTTP.

    from sharedmodel.client.web import ErrorAnswers, Models

    models = Models(timeout=30)
    app = FastAPI(lifespan=models.lifespan)
    app.add_middleware(ErrorAnswers)


    @app.post("/ocr")
    async def read(picture: UploadFile, ocr: Annotated[AsyncModel, Depends(models.dependency("ocr"))]): ...

`Models` and `ErrorAnswers` serve any ASGI framework and import none. For others: `answers_for_flask(app)`, the
Django middleware ``"sharedmodel.client.web.DjangoErrorAnswers"``, and `answer_of`, on which they all stand. For
gunicorn there is the worker class ``sharedmodel.client.web.worker.Worker``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .asgi import ErrorAnswers
from .statuses import BAD_INPUT, BAD_PICTURE, Answer, answer_of
from .wsgi import DjangoErrorAnswers, answers_for_flask

if TYPE_CHECKING:
    from .models import Models

__all__ = [
    "BAD_INPUT",
    "BAD_PICTURE",
    "Answer",
    "DjangoErrorAnswers",
    "ErrorAnswers",
    "Models",
    "answer_of",
    "answers_for_flask",
]


def __getattr__(name: str) -> Any:
    # asyncio alone weighs 7 MB: Flask and Django do without.
    if name == "Models":
        from .models import Models

        return Models
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

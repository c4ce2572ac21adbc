"""Pages through models: files, folders and PDFs are read, translated, embedded, and what comes of it is kept.

    from sharedmodel.client.pipeline import JsonLines, Pipeline


    def count(page):  # a stage of your own is one function
        page["words"] = len(page.text.split())


    for page in Pipeline("ocr-translate", count).run(["pages/", "book.pdf"], JsonLines("out.jsonl")):
        print(page, page.error or page["words"])

Several pages are on their way at once, each in another stage; how many is bounded, whatever there is to read. A
run that was interrupted goes on where it was: what its output has is not done again.

    source ─► pages that are not done yet ─► threads: stages, then the output's bytes ─► output, in order ─► you
"""

from __future__ import annotations

from .drawing import Pictures
from .output import JsonLines, Output
from .page import Page
from .pipeline import Pipeline
from .texts import Texts

__all__ = ["JsonLines", "Output", "Page", "Pictures", "Pipeline", "Texts"]

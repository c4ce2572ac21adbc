"""Draws pages of English and Chinese text, with the truth beside them, for the demo and the tests.

    python -m scripts.pages --count 4 --seed 7 --to out/pages

writes page-000.png ... and page-000.txt ..., the lines that were drawn. The same seed gives the
same text on every machine; the same pixels where Pillow and the font are the same.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH, MARGIN, SIZE, SPACING = 1000, 40, 30, 64
INK, PAPER = (24, 24, 28), (253, 252, 249)

_FONTS = ("opentype/noto", "truetype/noto", "noto-cjk", "google-noto-cjk", "noto")
_FONT = "NotoSansCJK-Regular.ttc"

_ENGLISH = (
    "Every process on this host calls the same model.",
    "The weights are loaded once and never copied.",
    "A killed server costs its callers a pause.",
    "Tensors stay where they are; only references move.",
    "Four workers read these pages at the same time.",
    "The quick brown fox jumps over the lazy dog.",
    "Requests travel through a socket, images do not.",
    "Nothing that arrives here is ever unpickled.",
)
_CHINESE = (
    "本机的每个进程都调用同一个模型",
    "权重只加载一次，从不复制",
    "服务器重新启动，请求不会丢失",
    "数据留在原处，传递的只是引用",
    "四个进程同时识别这些页面",
    "今天的天气很好，我们去公园散步",
    "请求经过套接字，图像不经过",
    "春眠不觉晓，处处闻啼鸟",
)
_NUMBERED = (
    "Invoice {a}: total {b} yuan",
    "Order {a} was shipped on 2024-0{c}-1{c}",
    "订单编号{a}，数量{b}件",
    "第{c}章，共{b}页",
    "Room {b}, floor {c}, building {a}",
)


class FontMissing(Exception):
    """No Noto CJK font on this machine."""


@dataclass(frozen=True)
class Page:
    """One drawn page: its number, its lines from top to bottom, its pixels."""

    number: int
    lines: tuple[str, ...]
    image: Image

    @property
    def name(self) -> str:
        return f"page-{self.number:03}"


def find_font() -> Path:
    roots = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts"]
    for root in roots:
        for folder in (*(root / name for name in _FONTS), root):
            if (folder / _FONT).is_file():
                return folder / _FONT
    raise FontMissing(f"{_FONT} was not found; on Debian: apt-get install fonts-noto-cjk")


def text(number: int, seed: int = 0, lines: int = 8) -> tuple[str, ...]:
    """The lines of one page; English, Chinese and numbers in turn."""
    # The number is mixed in, so that page 3 is the same whether or not pages 0 to 2 were made.
    chance = random.Random(f"{seed}/{number}")
    kinds = (_ENGLISH, _CHINESE, _NUMBERED)
    drawn: list[str] = []
    while len(drawn) < lines:
        line = chance.choice(kinds[len(drawn) % len(kinds)]).format(
            a=chance.randint(10000, 99999), b=chance.randint(10, 999), c=chance.randint(1, 9)
        )
        if line not in drawn:
            drawn.append(line)
    return tuple(drawn)


def render(lines: tuple[str, ...]) -> Image:
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(find_font()), SIZE)
    page = Image.new("RGB", (WIDTH, 2 * MARGIN + SPACING * len(lines)), PAPER)
    draw = ImageDraw.Draw(page)
    for at, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + at * SPACING), line, font=font, fill=INK)
    return page


def make(count: int, seed: int = 0, lines: int = 8) -> list[Page]:
    written = [text(number, seed, lines) for number in range(count)]
    return [Page(number, drawn, render(drawn)) for number, drawn in enumerate(written)]


def write(pages: list[Page], folder: Path) -> list[Path]:
    """PNG and truth of every page into `folder`; the PNG's paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for page in pages:
        paths.append(folder / f"{page.name}.png")
        page.image.save(paths[-1])
        paths[-1].with_suffix(".txt").write_text("\n".join(page.lines) + "\n", encoding="utf-8")
    return paths


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lines", type=int, default=8, help="on each page")
    parser.add_argument("--to", type=Path, default=Path("out/pages"), metavar="FOLDER")
    given = parser.parse_args(arguments)
    try:
        paths = write(make(given.count, given.seed, given.lines), given.to)
    except FontMissing as error:
        print(f"pages: {error}", file=sys.stderr)
        return 1
    print(*paths, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

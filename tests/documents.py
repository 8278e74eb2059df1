"""The commands of a document, and what it says that they print."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK = re.compile(r"^( *)```(sh|python|text)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """One block: `sh` and `python` are to be followed, `text` is what comes of it."""

    kind: str
    text: str


def read_blocks(page: Path) -> list[Block]:
    """Return a page's blocks, as they read without what indents them in a list."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(kind, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)) for indent, kind, text in found]


def find_unsaid(said: str, told: str) -> str | None:
    """Return the first line that a page says and that was not told in its place, None if all were.

    Lines may be told in between. `…` stands for anything, and blanks of any width are alike.
    """
    lines = iter([" ".join(line.split()) for line in told.splitlines()])
    for wanted in said.splitlines():
        pattern = ".+".join(map(re.escape, " ".join(wanted.split()).split("…")))
        if not any(re.fullmatch(pattern, line) for line in lines):
            return wanted
    return None

"""The tables of docs/speed.md: each is written between two marks, <!-- NAME --> and <!-- end -->."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path


def markdown(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(str(cell).strip() for cell in line) + " |" for line in lines)


def fill(page: Path, tables: dict[str, str]) -> None:
    """Replaces what stands between the marks of every name. ValueError where a mark is missing."""
    text = page.read_text()
    for name, table in tables.items():
        text, found = re.subn(
            rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)",
            lambda marks, table=table: f"{marks[1]}\n{table}\n\n{marks[2]}",
            text,
            flags=re.DOTALL,
        )
        if found != 1:
            raise ValueError(f"{page}: found {found} times <!-- {name} --> ... <!-- end -->, expected once")
    page.write_text(text)

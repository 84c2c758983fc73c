"""HTML of the report: trees of elements, which escape whatever text they are given, and one document of them.

The standard library's ElementTree does what a page of tables needs: tags are balanced and text is escaped by
construction, and so a templating library would be one dependency more for nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from importlib import resources
from xml.etree.ElementTree import Element, tostring

from matplotlib.figure import Figure

from mcmc.analysis.plots import drawn

LARGEST_SVG = 300_000
"""Bytes of a picture from which on it is a bitmap."""

LONGEST_CELL = 40
"""Characters of a cell that is not broken into lines."""
_UNPRINTABLE = dict.fromkeys({*range(32), *range(127, 160)} - set(map(ord, "\t\n\r")), "\ufffd")
"""What HTML has no place for, and a message may have."""

Child = Element | str | None


def element(tag: str, *children: Child, **attributes: str) -> Element:
    """An element with text and elements in it; None is left out. `class_` is the attribute class."""
    found = Element(tag, {name.rstrip("_"): value for name, value in attributes.items()})
    for child in children:
        if isinstance(child, str):
            if len(found):
                found[-1].tail = (found[-1].tail or "") + child
            else:
                found.text = (found.text or "") + child
        elif child is not None:
            found.append(child)
    return found


def items(lines: Sequence[Child]) -> Element | None:
    """A list; None without lines."""
    return element("ul", *(element("li", line) for line in lines)) if lines else None


def table(rows: Sequence[Sequence[str]], marked: Sequence[str] = (), class_: str = "numbers") -> Element:
    """A table whose first row is its headings, and whose first column names the rows.

    marked: cells of just these words get them as their class
    class_: "numbers" or, of columns of text, "words"
    """
    head = element("tr", *(element("th", cell, scope="col") for cell in rows[0]))
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell.strip(), **_class(cell, marked)) for cell in row[1:]),
        )
        for row in rows[1:]
    ]
    found = element("table", element("thead", head), element("tbody", *body), class_=class_)
    return element("div", found, class_="wide")


def _class(cell: str, marked: Sequence[str]) -> dict[str, str]:
    if cell in marked:
        return {"class_": class_of(cell)}
    return {"class_": "sentence"} if len(cell) > LONGEST_CELL else {}


def class_of(words: str) -> str:
    return words.replace(" ", "-")


def picture(figure: Figure, caption: str) -> Element:
    """A figure with its caption: vectors, or a bitmap if these are more than `LARGEST_SVG`; in the page itself.

    As an image, not as elements of the page, where ids and styles of several pictures would meet.
    """
    image, kind = drawn(figure, "svg"), "svg+xml"
    if len(image) > LARGEST_SVG:
        image, kind = drawn(figure, "png"), "png"
    source = f"data:image/{kind};base64,{b64encode(image).decode()}"
    return element("figure", element("img", src=source, alt=caption), element("figcaption", caption))


def document(title: str, subtitle: str, sections: dict[str, Sequence[Child]]) -> bytes:
    """The page as UTF-8: a heading, links to its sections by heading, and these. What has no content is left out."""
    filled = {name: [child for child in of if child is not None] for name, of in sections.items()}
    filled = {name: of for name, of in filled.items() if of}
    ids = {name: class_of(name.lower()) for name in filled}
    style = resources.files("mcmc").joinpath("templates/report.css").read_text()
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", style),
    )
    links = [element("a", name, href=f"#{ids[name]}") for name in filled]
    body = element(
        "body",
        element("header", element("h1", title), element("p", subtitle), element("nav", *links)),
        element("main", *(element("section", element("h2", name), *of, id=ids[name]) for name, of in filled.items())),
    )
    page = element("html", head, body, lang="en")
    text = "<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html") + "\n"
    return text.translate(_UNPRINTABLE).encode("utf-8", "replace")  # what is no text, in a path, becomes "?"

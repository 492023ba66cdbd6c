"""HTML builders. Plain text is escaped; only `Html` values are inserted as markup."""

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from likewise.data.images import Images
from likewise.viz.plots.images import displayable
from likewise.viz.plots.style import FAINT, GRID, INK, MUTED, PAPER, quiet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Html", "Sorted", "Thumbs", "asset", "inline", "join", "script", "scrolled", "table", "tag", "thumb"]

VOID = {"br", "img", "input", "meta", "link"}
# Greys of a figure map to CSS variables, so that figures follow the light or dark theme of the page.
THEME = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", FAINT: "var(--faint)", PAPER: "var(--paper)"}
THUMB = 96  # pixels on the longer side


class Html(str):
    """Text that is already markup."""

    __slots__ = ()


def safe(content: object) -> str:
    return content if isinstance(content, Html) else html.escape(str(content))


def join(*parts: object) -> Html:
    """Concatenate pieces, escaping plain text."""
    return Html("".join(safe(part) for part in parts))


def tag(name: str, /, *inside: object, **attributes: object) -> Html:
    """An element; `class_` becomes class, `aria_label` becomes aria-label, attributes of None are omitted."""
    attrs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{attrs}>" if name in VOID else f"<{name}{attrs}>{join(*inside)}</{name}>")


def table(
    head: Sequence[object], rows: Iterable[Sequence[object]], *, numbers: Sequence[int] = (), class_: str | None = None
) -> Html:
    """A table that scrolls sideways on a narrow screen; the columns in `numbers` are right-aligned.

    class_: `sortable` for headings that sort (sort.js), by a cell's `Sorted` key or its text.
    """
    kinds = ["number" if i in numbers else None for i in range(len(head))]
    top = tag("tr", *(heading(name, kind) for name, kind in zip(head, kinds, strict=True)))
    body = (tag("tr", *(cell(c, kind) for c, kind in zip(row, kinds, strict=True))) for row in rows)
    made = tag("table", tag("thead", top), tag("tbody", *body), class_=class_)
    return scrolled("scroll", "table", made)


def scrolled(kind: str, label: str, *inside: object) -> Html:
    """A box of this class that may scroll: keys reach it, and a screen reader says the label."""
    return tag("div", *inside, class_=kind, tabindex=0, role="group", aria_label=label)


def heading(name: object, kind: str | None) -> Html:
    """The head of a column; one without a name is an ordinary cell."""
    return tag("th", name, scope="col", class_=kind) if name else tag("td", class_=kind)


class Sorted(NamedTuple):
    """A cell and what it is sorted by."""

    content: object
    key: object


def cell(content: object, kind: str | None) -> Html:
    if isinstance(content, Sorted):
        return tag("td", content.content, class_=kind, data_sort=content.key)
    return tag("td", content, class_=kind)


def inline(figure: "Figure", name: str, label: str) -> Html:
    """A figure as inline SVG in theme colours; `name` prefixes its ids, to keep them unique in the page."""
    written = io.StringIO()
    with quiet():
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", written.getvalue()[written.getvalue().index("<svg") :], flags=re.S)
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for grey, variable in THEME.items():
        svg = svg.replace(grey, variable)
    width = float(figure.get_figwidth())
    opening = f'<svg role="img" aria-label="{html.escape(label)}" style="width:{width:g}in"'
    return Html(re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf"{_literal(opening)} \1>", svg, count=1))


def _literal(text: str) -> str:
    return text.replace("\\", r"\\")


def script(text: str, **attributes: object) -> Html:
    """A script element; `<` in JSON is written as its escape, so that no text of a stranger ends the element."""
    return tag("script", Html(text.replace("<", "\\u003c") if attributes else text), **attributes)


def asset(name: str) -> str:
    """A style or script that stands beside this file."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


class Thumbs:
    """Thumbnails by id as data URIs; a plate with the id for a missing image."""

    def __init__(self, images: Images | None) -> None:
        self.images = images if images is not None and len(images.shape) == 3 else None
        self.at = {name: n for n, name in enumerate(self.images.ids)} if self.images is not None else {}

    def __call__(self, name: str) -> Html:
        if self.images is None or name not in self.at:
            return tag("span", name, class_="plate", title=name)
        return thumb(np.asarray(self.images.batch([self.at[name]])[0]), name)


def thumb(image_CHW: np.ndarray, name: str) -> Html:
    """A thumbnail; small images are scaled without smoothing."""
    crisp = "crisp" if max(image_CHW.shape[1:]) < THUMB / 2 else None
    return tag("img", src=data_uri(image_CHW), alt=name, title=name, class_=crisp)


def data_uri(image_CHW: np.ndarray, side: int = THUMB) -> str:
    """An image as data URI: PNG up to THUMB / 2 pixels, larger ones as JPEG, reduced to `side`."""
    from PIL import Image

    image, kind, written = Image.fromarray(displayable(image_CHW)), "png", io.BytesIO()
    if max(image.size) > THUMB / 2:
        image.thumbnail((side, side))
        kind = "jpeg"
    image.save(written, kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(written.getvalue()).decode()}"

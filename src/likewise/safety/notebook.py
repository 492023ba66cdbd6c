"""Views of objects in notebooks, as short HTML. Text may be a stranger's, so all of it is escaped and bounded."""

import base64
import html
from collections.abc import Iterable, Sequence
from itertools import islice

__all__ = ["figures", "number", "table"]

ROWS = 30
TEXT = 60  # characters of a cell
NOTE = 300  # characters of the lines above and below


def cut(text: object, most: int = TEXT) -> str:
    """Escaped, and cut where it is longer."""
    written = str(text)
    return html.escape(written if len(written) <= most else f"{written[: most - 1]}…")


def number(value: float | None) -> str:
    """Four decimals; empty for none."""
    return "" if value is None else f"{value:.4f}"


def table(title: str, head: Sequence[object], rows: Iterable[Sequence[object]], *, note: str = "") -> str:
    """A title, at most ROWS rows, what is left out in a count, and a note."""
    listed = iter(rows)
    shown = list(islice(listed, ROWS))
    further = sum(1 for _ in listed)
    top = "".join(f"<th>{cut(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cut(cell)}</td>' for cell in row)}</tr>" for row in shown)
    rest = f"and {further:,} more" if further else ""
    below = "".join(f"<p>{cut(line, NOTE)}</p>" for line in (rest, note) if line)
    return f"<div><p><b>{cut(title, NOTE)}</b></p><table><tr>{top}</tr>{body}</table>{below}</div>"


def figures(title: str, images: Iterable[tuple[bytes, str, str]], *, note: str = "") -> str:
    """A title, and images side by side with a caption each: (file, its kind such as png, caption)."""
    shown = "".join(
        f'<figure style="display:inline-block;margin:4px;text-align:center">'
        f'<img alt="{cut(caption)}" src="data:image/{kind};base64,{base64.b64encode(file).decode()}" '
        f'style="height:48px;image-rendering:pixelated"><figcaption>{cut(caption, 16)}</figcaption></figure>'
        for file, kind, caption in islice(images, ROWS)
    )
    below = f"<p>{cut(note, NOTE)}</p>" if note else ""
    return f"<div><p><b>{cut(title, NOTE)}</b></p>{shown}{below}</div>"

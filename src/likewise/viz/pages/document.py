"""An HTML page as one file: head, contents and sections, with inline style."""

from collections.abc import Sequence
from pathlib import Path

from likewise.viz.pages.html import Html, tag

__all__ = ["HEAD_META", "NOTHING", "document"]

NOTHING = Html("")
HEAD_META = (
    tag("meta", charset="utf-8"),
    tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
    tag("meta", name="color-scheme", content="light dark"),
    tag("link", rel="icon", href="data:,"),
)


def document(
    title: str,
    kicker: str,
    facts: Sequence[Html],
    parts: Sequence[tuple[str, str, Sequence[Html]]],
    *,
    head: Sequence[Html] = (),
    top: Html = NOTHING,
) -> str:
    """Build a page with a heading, a table of contents and sections.

    parts: anchor, heading and content of each section. head: further elements of <head>. top: what stands above it all.
    """
    links = [tag("a", heading, href=f"#{anchor}") for anchor, heading, _ in parts]
    kicked = [] if top else [tag("p", kicker, class_="kicker"), tag("h1", title)]
    heading = [tag("h1", f"{title}: {kicker.removeprefix('Likewise ')}", class_="hidden")] if top else kicked
    about = ("section", {"aria_label": "Summary", "class_": "about-run"}) if top else ("header", {})
    header = tag(about[0], *heading, *facts, **about[1])
    nav = [tag("nav", *links, aria_label="Contents", class_="contents")] if len(links) > 1 else []
    body = [tag("section", tag("h2", heading), *content, id=anchor) for anchor, heading, content in parts]
    return "<!doctype html>\n" + tag(
        "html",
        _head(f"{title} · {kicker}", *head),
        tag("body", top, header, *nav, tag("main", *body)),
        lang="en",
    )


def _head(title: str, *more: Html) -> Html:
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    return tag(
        "head",
        *HEAD_META,
        tag("title", title),
        tag("style", Html(style)),
        *more,
    )

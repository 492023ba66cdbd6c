"""Follows every link of a built site: `python tools/site_links.py FOLDER` prints those that lead nowhere.

A relative link must reach a file of the site, and its anchor an element of that page. Links to other hosts are left
alone; a script, style, font, image or frame of another host is an error, since the site is read without a network.
"""

import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {
    ("link", "href"),
    *((tag, "src") for tag in ("script", "img", "iframe", "source", "video", "audio", "embed")),
}
NOT_FETCHED = {"canonical", "next", "prev", "alternate"}  # a <link> that only names another page


class Page(HTMLParser):
    """The links of a page, and what a link can point to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, bool]] = []  # target, and whether the browser fetches it by itself
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        only_named = tag == "link" and values.get("rel") in NOT_FETCHED
        for name in ("href", "src"):
            if name in values:
                self.links.append((values[name], (tag, name) in FETCHED and not only_named))


@cache
def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def broken(site: Path) -> list[str]:
    """One line for each link that leads nowhere, or fetches from another host."""
    return [*broken_links(site), *foreign_styles(site)]


def broken_links(site: Path) -> Iterator[str]:
    for path in sorted(site.rglob("*.html")):
        for link, fetched in read(path).links:
            why = problem(site, path, link, fetched)
            if why:
                yield f"{path.relative_to(site)}: {link}: {why}"


def problem(site: Path, path: Path, link: str, fetched: bool) -> str:
    """Why a link of the page does not work; empty where it does."""
    parts = urlsplit(link)
    if parts.scheme == "data" or (parts.scheme and not fetched):
        return ""
    if parts.scheme or parts.netloc:
        return "fetched from another host"
    rooted = path.name == "404.html"  # a server shows it in place of any page, so that its links begin at the root
    where = site / parts.path.removeprefix("/") if rooted else path.parent / parts.path
    target = Path(unquote(os.fspath(where))).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    if not target.is_relative_to(site.resolve()) and target != path:
        return "leads out of the site"
    if not target.is_file():
        return "no such file"
    anchor = unquote(parts.fragment)
    if anchor and target.suffix == ".html" and anchor not in read(target).anchors:
        return "no such anchor"
    return ""


def foreign_styles(site: Path) -> Iterator[str]:
    for path in sorted(site.rglob("*.css")):
        for link in re.findall(r"(?:url\(|@import\s+)[\"']?(https?://[^\"')\s]+)", path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: {link}: fetched from another host"


if __name__ == "__main__":
    found = broken(Path(sys.argv[1]))
    print("\n".join(found) or "every link leads somewhere")
    sys.exit(bool(found))

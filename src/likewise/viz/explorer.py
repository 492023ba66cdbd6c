"""The pages of a run or a comparison, served on this machine or put into one file."""

import json
import os
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from likewise.viz.pages.document import HEAD_META
from likewise.viz.pages.html import Html, asset, script, tag
from likewise.viz.pages.workspace import FLIPS, PAGES

__all__ = ["HOST", "front", "one_file", "page_files", "server"]

HOST = "127.0.0.1"
MOST_RUNS = 200  # of a comparison that are looked through
ADDRESS = re.compile(r"(?:127\.0\.0\.1|localhost)(?::\d{1,5})?", re.IGNORECASE)
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def page_files(folder: Path, other: Path | None = None) -> dict[str, Path]:
    """The pages in a run or comparison folder by their path in a URL; links that lead out of it are left out.

    other: a second run, whose pages stand where the first's links lead to.
    """
    root = folder.resolve()
    if other is not None:
        roots = root, other.resolve()
        above = Path(os.path.commonpath([one.parent for one in roots]))
        return {
            f"{one.relative_to(above).as_posix()}/{name}": path
            for one in roots
            for name, path in page_files(one).items()
        }
    names = {name: root / name for name in ("compare.html", "tune.html", *PAGES, FLIPS)}
    runs = sorted((root / "runs").iterdir())[:MOST_RUNS] if (root / "runs").is_dir() else []
    names |= {f"runs/{run.name}/{name}": run / name for run in runs for name in (*PAGES, FLIPS)}
    return {name: path for name, path in names.items() if path.is_file() and path.resolve().is_relative_to(root)}


def front(folder: Path, other: Path | None = None, *, flipped: bool = False) -> str:
    """The page to open first: of a comparison or search its own, of a run the report.

    flipped, or with a second run: which queries flipped. Errors: ValueError where there is no page.
    """
    names = page_files(folder, other)
    usual = ("compare.html", "tune.html", *PAGES)
    for wanted in (FLIPS, *usual) if flipped or other is not None else usual:
        for name in names:
            if name == wanted or (other is not None and name.endswith(f"/{wanted}")):
                return name
    raise ValueError(f"{folder} holds no page to show; give a run, such as runs/digits, or the folder of a comparison")


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the pages of one folder, to this machine alone; anything else is not found."""

    server_version, sys_version = "likewise", ""
    timeout = 30
    folder: Path
    other: Path | None = None
    flipped = False

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, *, body: bool) -> None:
        if not ADDRESS.fullmatch(self.headers.get("Host", "")):  # another name that was made to lead here
            return self.say(HTTPStatus.FORBIDDEN, b"this server answers to 127.0.0.1 and localhost only", body)
        wanted = unquote(urlsplit(self.path).path).removeprefix("/")
        first = front(self.folder, self.other, flipped=self.flipped)
        if not wanted and "/" in first:  # links of a page are relative to where it stands
            return self.say(HTTPStatus.FOUND, b"", body, Location=f"/{quote(first)}")
        path = page_files(self.folder, self.other).get(wanted or first)
        if path is None:
            return self.say(HTTPStatus.NOT_FOUND, b"no such page in this run", body)
        return self.say(HTTPStatus.OK, path.read_bytes(), body)

    def say(self, status: HTTPStatus, content: bytes, body: bool, **headers: str) -> None:
        self.send_response(status)
        for name, value in (HEADERS | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


def server(folder: Path, port: int = 0, *, other: Path | None = None, flipped: bool = False) -> ThreadingHTTPServer:
    """A server of the folder's pages on 127.0.0.1, not yet running; port 0 is any that is free.

    Errors: ValueError without a page, OSError for a port in use.
    """
    front(folder, other, flipped=flipped)
    served = {"folder": folder, "other": other, "flipped": flipped}
    return ThreadingHTTPServer((HOST, port), type("FolderHandler", (Handler,), served))


def one_file(folder: Path, other: Path | None = None, *, flipped: bool = False) -> str:
    """All pages of the folder as one HTML document that needs nothing else. Errors: ValueError without a page."""
    first, files = front(folder, other, flipped=flipped), page_files(folder, other)
    pages = {name: path.read_text(encoding="utf-8", errors="replace") for name, path in files.items()}
    name = folder.resolve().name
    style = "html, body { margin: 0; height: 100%; } iframe { display: block; width: 100%; height: 100%; border: 0; }"
    inside = [
        tag("iframe", id="page", title=name),
        script(json.dumps({"first": first, "pages": pages}, ensure_ascii=False), type="application/json", id="pages"),
        script(asset("one_file.js")),
    ]
    head = tag("head", *HEAD_META, tag("title", f"{name} · Likewise"), tag("style", Html(style)))
    return "<!doctype html>\n" + tag("html", head, tag("body", *inside), lang="en")

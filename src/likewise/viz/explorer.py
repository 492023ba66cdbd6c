"""The pages of a run or a comparison, served on this machine or put into one file."""

import json
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from likewise.viz.pages.document import HEAD_META
from likewise.viz.pages.html import Html, asset, script, tag
from likewise.viz.pages.workspace import PAGES

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


def page_files(folder: Path) -> dict[str, Path]:
    """The pages in a run or comparison folder by their path in a URL; links that lead out of it are left out."""
    root = folder.resolve()
    names = {name: root / name for name in ("compare.html", *PAGES)}
    runs = sorted((root / "runs").iterdir())[:MOST_RUNS] if (root / "runs").is_dir() else []
    names |= {f"runs/{run.name}/{name}": run / name for run in runs for name in PAGES}
    return {name: path for name, path in names.items() if path.is_file() and path.resolve().is_relative_to(root)}


def front(folder: Path) -> str:
    """The page to open first: of a comparison its own, of a run the report. Errors: ValueError where there is none."""
    names = page_files(folder)
    for name in ("compare.html", *PAGES):
        if name in names:
            return name
    raise ValueError(f"{folder} holds no page to show; give a run, such as runs/digits, or the folder of a comparison")


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the pages of one folder, to this machine alone; anything else is not found."""

    server_version, sys_version = "likewise", ""
    timeout = 30
    folder: Path

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, *, body: bool) -> None:
        if not ADDRESS.fullmatch(self.headers.get("Host", "")):  # another name that was made to lead here
            return self.say(HTTPStatus.FORBIDDEN, b"this server answers to 127.0.0.1 and localhost only", body)
        wanted = unquote(urlsplit(self.path).path).removeprefix("/") or front(self.folder)
        path = page_files(self.folder).get(wanted)
        if path is None:
            return self.say(HTTPStatus.NOT_FOUND, b"no such page in this run", body)
        return self.say(HTTPStatus.OK, path.read_bytes(), body)

    def say(self, status: HTTPStatus, content: bytes, body: bool) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of the folder's pages on 127.0.0.1, not yet running; port 0 is any that is free.

    Errors: ValueError without a page, OSError for a port in use.
    """
    front(folder)
    return ThreadingHTTPServer((HOST, port), type("FolderHandler", (Handler,), {"folder": folder}))


def one_file(folder: Path) -> str:
    """All pages of the folder as one HTML document that needs nothing else. Errors: ValueError without a page."""
    first = front(folder)
    pages = {name: path.read_text(encoding="utf-8", errors="replace") for name, path in page_files(folder).items()}
    name = folder.resolve().name
    style = "html, body { margin: 0; height: 100%; } iframe { display: block; width: 100%; height: 100%; border: 0; }"
    inside = [
        tag("iframe", id="page", title=name),
        script(json.dumps({"first": first, "pages": pages}, ensure_ascii=False), type="application/json", id="pages"),
        script(asset("one_file.js")),
    ]
    head = tag("head", *HEAD_META, tag("title", f"{name} · Likewise"), tag("style", Html(style)))
    return "<!doctype html>\n" + tag("html", head, tag("body", *inside), lang="en")

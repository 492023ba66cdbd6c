"""The line that installs an extra, right for how this copy was installed: a clone, a wheel, a repository, the index."""

import json
import os
import shlex
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["install_line"]

NAME = "likewise"
PACKAGE = Path(__file__).resolve().parent


@cache
def install_line(extra: str) -> str:
    """`pip install -e '.[serve]'` in a clone, `pip install 'likewise[serve]'` from the index."""
    return line(extra, clone_of(PACKAGE), origin())


def line(extra: str, clone: Path | None, url: str) -> str:
    """The command for an extra. clone: the folder that the package runs from; url: what pip installed, if no index."""
    if clone is not None:
        return f"pip install -e {quoted(f'{beside(clone)}[{extra}]')}"
    if url.startswith("file:"):
        return f"pip install {quoted(f'{local(url)}[{extra}]')}"
    return f"pip install {quoted(f'{NAME}[{extra}] @ {url}' if url else f'{NAME}[{extra}]')}"


def clone_of(package: Path) -> Path | None:
    """The clone whose `src` holds the package; None where it was copied into an environment."""
    folder = package.parent.parent
    return folder if package.parent.name == "src" and (folder / "pyproject.toml").is_file() else None


def beside(clone: Path) -> str:
    """The clone as a path to type here."""
    try:
        return "." if clone == Path.cwd() else str(clone)
    except FileNotFoundError:  # the folder that the command runs in was deleted
        return str(clone)


def origin() -> str:
    """The URL of the folder, archive or repository that pip installed; empty for an index (PEP 610)."""
    try:
        return origin_of(distribution(NAME))
    except PackageNotFoundError:
        return ""


def origin_of(installed: Distribution) -> str:
    """As `origin`, of one distribution; empty also where its record cannot be understood."""
    try:
        record = json.loads(installed.read_text("direct_url.json") or "{}")
        url = record["url"]
        version = record.get("vcs_info")
        return f"{version['vcs']}+{url}@{version['commit_id']}" if version else str(url)
    except (ValueError, LookupError, TypeError):
        return ""


def local(url: str) -> str:
    """The path of a file: URL."""
    parts = urlsplit(url)
    return url2pathname(f"//{parts.netloc}{parts.path}" if parts.netloc not in ("", "localhost") else parts.path)


def quoted(text: str) -> str:
    """The argument in the quotes of the system's shell, always in quotes, since `[` is a pattern in some shells."""
    if os.name == "nt":
        return f'"{text}"'
    return shlex.quote(text) if "'" in text else f"'{text}'"

"""Fetch a published data set: resumed where it stopped, checked, and in place only when whole."""

import hashlib
import os
import re
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from likewise.data.options import data_home
from likewise.spec import near

__all__ = ["PUBLISHED", "Published", "fetch"]

BLOCK = 1 << 18  # bytes
SECONDS = 30  # without a byte before a connection counts as dead
ATTEMPTS = 3  # in a row that bring nothing
PAUSE = 1  # seconds after the first such attempt, one more after each further one

Progress = Callable[[str, int, int], None]  # file name, bytes so far, bytes in all (0 where the server does not say)


class Published(NamedTuple):
    """A data set's folder below the root, the address it is published at, and the accepted sums of each file."""

    folder: str
    url: str
    files: dict[str, tuple[str, ...]]


PUBLISHED = {
    "mnist": Published(
        "mnist",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",),
            "train-labels-idx1-ubyte.gz": ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",),
            "t10k-images-idx3-ubyte.gz": ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",),
            "t10k-labels-idx1-ubyte.gz": ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",),
        },
    ),
    "fashion-mnist": Published(
        "fashion-mnist",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": ("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",),
            "train-labels-idx1-ubyte.gz": ("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",),
            "t10k-images-idx3-ubyte.gz": ("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",),
            "t10k-labels-idx1-ubyte.gz": ("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",),
        },
    ),
    # md5: the authors' zips; sha256: the same images, packed again
    "omniglot": Published(
        "omniglot/python",
        "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
        {
            "images_background.zip": (
                "68d2efa1b9178cc56df9314c21c6e718",
                "0bd52a6c3e9b67c37260b49aa0ef999a781ce200d5971ac765cf7a4dcab78b9f",
            ),
            "images_evaluation.zip": (
                "6b91aef0f799c5bb55b94e3f2daec811",
                "9d4a06435df3232e1e797949d03addc4bd9874ee5febcfbe49434c889d6f0a3e",
            ),
            "images_background_small1.zip": ("f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",),
            "images_background_small2.zip": ("3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",),
        },
    ),
}


class CutShortError(Exception):
    """The connection ended before the file did."""


def fetch(
    name: str, root: Path | None = None, *, url: str | None = None, progress: Progress | None = None
) -> list[Path]:
    """Download the files of data set `name` that are not there yet; gives the path of each.

    root  as LIKEWISE_DATA, which is the default
    url   a mirror of the folder the files are published in
    A download goes on where an earlier one stopped, and gets its name only when its checksum is right. A file that is
    there already is left alone, whatever its bytes. Errors: ValueError for an unknown name, no connection, a wrong sum.
    """
    key = name.replace("_", "-")
    if key not in PUBLISHED:
        raise ValueError(f"there is nothing to fetch for {name!r}{near(key, PUBLISHED)}")
    folder, address, files = PUBLISHED[key]
    target = (root or data_home()) / folder
    target.mkdir(parents=True, exist_ok=True)
    for file, sums in files.items():
        if not (target / file).exists():
            _download(_below(url or address, file), target / file, sums, progress)
    return [target / file for file in files]


def _below(address: str, file: str) -> str:
    if urlsplit(address).scheme not in ("http", "https"):
        raise ValueError(f"an address to fetch from begins with http:// or https://, got {address!r}")
    return f"{address.rstrip('/')}/{file}"


def _download(url: str, path: Path, sums: tuple[str, ...], progress: Progress | None) -> None:
    """Download `url` to `path` and check it. A partial download in `.part` is resumed once."""
    part = path.with_name(path.name + ".part")
    resumed = part.exists()
    _receive(url, part, progress)
    if not _matches(part, sums) and resumed:  # the beginning may be of another version
        part.unlink()
        _receive(url, part, progress)
    if not _matches(part, sums):
        part.unlink()
        raise ValueError(
            f"the file from {url} does not have the published checksum {path.name}, so it was discarded; try again, "
            "or give url=... of a mirror"
        )
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    """All of `url` into `part`, going on after every broken connection that brought something."""
    failures = 0
    while failures < ATTEMPTS:
        before = _size(part)
        try:
            return _append(url, part, progress)
        except HTTPError as error:
            raise ValueError(
                f"{url} answers {error.code} {error.reason}; give url=... of a mirror that has it"
            ) from None
        except (CutShortError, HTTPException, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            failures = 0 if _size(part) > before else failures + 1
            time.sleep(PAUSE * failures if failures < ATTEMPTS else 0)
    raise ValueError(f"{url} cannot be had: {reason}; {_size(part)} bytes are kept; run it again to resume")


def _append(url: str, part: Path, progress: Progress | None) -> None:
    """One request for what `part` lacks. Errors: CutShortError when less comes than was announced."""
    have = _size(part)
    asked = Request(url, headers={"User-Agent": "likewise"} | ({"Range": f"bytes={have}-"} if have else {}))
    try:
        answer = urlopen(asked, timeout=SECONDS)
    except HTTPError as error:
        if error.code != 416 or not have:
            raise
        return  # nothing lies beyond what we have; the checksum decides
    with answer, part.open("ab") as file:
        if _starts_at(answer) != have:
            file.truncate(have := 0)
        total = have + int(answer.headers.get("Content-Length") or 0)
        while block := answer.read(BLOCK):
            file.write(block)
            have += len(block)
            if progress:
                progress(part.stem, have, total)
    if have < total:
        raise CutShortError(f"the connection ended at {have} of {total} bytes")


def _starts_at(answer: HTTPResponse) -> int:
    """Offset of the first byte of an answer: 0 unless it is a partial one."""
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
    return int(match[1]) if match and answer.status == 206 else 0


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _matches(path: Path, sums: tuple[str, ...]) -> bool:
    """Whether the sha256 (or the md5, where only that is published) is one of `sums`."""
    for kind in {"md5" if len(known) == 32 else "sha256" for known in sums}:
        with path.open("rb") as file:
            if hashlib.file_digest(file, kind).hexdigest() in sums:
                return True
    return False

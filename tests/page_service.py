"""`likewise serve` as a process over a tiny real model, and a browser on its page."""

import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from PIL import Image

from likewise import Gallery, api, load_data

__all__ = ["ENROLLED", "choose", "copy", "filled", "held_out", "model", "serving", "upload", "wide"]

ENROLLED = 6  # digits 0 to 5 are classes, the others are unknown


def model(folder: Path) -> Path:
    recipe = api.load_recipe("digits").replace(size=16, epochs=3, dim=8, max_per_class=40)
    return api.train(recipe, out=folder, name="digits").path


def held_out(folder: Path) -> dict[str, list[Path]]:
    """Files of digits that the model did not see, by class; large enough to be looked at."""
    part, files = load_data("digits", size=16).part("test"), {}
    for i in range(len(part.labels)):
        label = part.classes[int(part.labels[i])]
        path = folder / f"{label}-{i}.png"
        Image.fromarray(part.pixels[i, 0].numpy()).resize((64, 64)).save(path)
        files.setdefault(label, []).append(path)
    return files


def filled(path: Path, run: Path, files: dict[str, list[Path]], *, each: int = 16) -> Path:
    """A calibrated gallery of the first digits; each class keeps further files that are not enrolled."""
    with Gallery.create(path, run) as gallery:
        for label in sorted(files)[:ENROLLED]:
            gallery.enroll(files[label][:each], label, gate="off")
        gallery.calibrate(0.1)
    return path


@contextmanager
def serving(*galleries: Path, token_file: Path | None = None) -> Iterator[str]:
    """The address of a service in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "likewise", "serve", *map(str, galleries), "--port", str(port)]
    words += ["--token-file", str(token_file)] if token_file else []
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            wait(f"http://127.0.0.1:{port}/v1/health", process, log)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait(timeout=60)


def wait(url: str, process: subprocess.Popen, log: IO[str]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if process.poll() is not None:
            log.seek(0)
            pytest.fail(f"the service ended: {log.read()}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail("the service does not become ready")


def choose(tab, view: str, *paths: Path | dict) -> None:
    tab.locator(view).wait_for()
    tab.locator(f"{view} input[type=file]").first.set_input_files(list(paths) if len(paths) > 1 else paths[0])


def upload(name: str, content: bytes) -> dict:
    return {"name": name, "mimeType": "image/png", "buffer": content}


def wide(tab) -> int:
    return tab.evaluate("document.documentElement.scrollWidth")


def copy(service: str, n: int, view: str = "ask") -> str:
    """The address of the page on the n-th gallery that may be changed."""
    return f"{service}?gallery=copy{n}#{view}"

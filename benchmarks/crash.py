"""kill -9 at random moments while a gallery is written: what was acknowledged is there, none twice, none by half.

    python benchmarks/crash.py [--kills 200] [--seed 0] [--gallery postgresql://USER@HOST/DATABASE?gallery=NEW]

A child enrolls, renames, removes, undoes and vacuums, and writes a line after each call that returned. It is killed
after a random time; then the file is opened, checked, and compared with the lines.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from likewise.gallery.gallery import Gallery
from likewise.gallery.stores import open_store

DIM = 16
PIECE = 8  # vectors a call: all of them or none


def create(path: str) -> None:
    store = open_store(path, create=True)
    with store.begin():
        about = {"dim": DIM, "sim": "cosine", "fingerprint": "none", "private": True, "rule": "nearest"}
        store.set_meta(**about, revision=0, edits=0)
    store.close()


def work(path: str, seed: int) -> None:
    """Write until killed. `+ N`: enrolled piece N; `- N`: removed; a leading `?` says that the call began."""
    rng = np.random.default_rng(seed)
    with Gallery.open(path) as gallery:
        number = 1000 * seed
        print("ready", flush=True)
        while True:
            number += 1
            ids = [f"{number}-{i}" for i in range(PIECE)]
            vectors = rng.normal(size=(PIECE, DIM))
            gallery.enroll_vectors(vectors, f"c{number % 7}", fingerprint="none", ids=ids, gate="off")
            print("+", number, flush=True)
            if number % 3 == 0:
                print("?", number, flush=True)
                gallery.remove(ids)
                print("-", number, flush=True)
            elif number % 4 == 0:
                gallery.split(ids[:1], "moved")
                gallery.merge("moved", f"c{number % 7}")
            if number % 10 == 0:
                gallery.vacuum()


def check(path: str, lines: list[str], present: set[int], gone: set[int], doubtful: set[int]) -> None:
    """Errors: AssertionError for a lost, doubled or half-written piece."""
    for line in lines:
        sign, number = line.split()
        {"+": present, "-": gone, "?": doubtful}[sign].add(int(number))
    with Gallery.open(path) as gallery:
        report = gallery.check()
        assert report["sound"], report["problems"]
        ids = [item["id"] for item in gallery.items()]
        assert len(gallery.state().index) == len(ids)
    assert len(ids) == len(set(ids)), "an item is there twice"
    counts: dict[int, int] = {}
    for id_ in ids:
        counts[int(id_.split("-")[0])] = counts.get(int(id_.split("-")[0]), 0) + 1
    assert set(counts.values()) <= {PIECE}, "a piece is there by half"
    lost = (present - gone - doubtful) - counts.keys()
    assert not lost, f"acknowledged and lost: {sorted(lost)[:5]}"
    assert not gone & counts.keys(), "removed, and there again"


def crash(kills: int, seed: int = 0, gallery: str = "", before: Callable[[], None] = lambda: None) -> dict[str, int]:
    """Kill a writer so often on one gallery; what was seen. before: called before each kill, as to kill a server."""
    rng = random.Random(seed)
    present: set[int] = set()
    gone: set[int] = set()
    doubtful: set[int] = set()
    with tempfile.TemporaryDirectory() as folder:
        path = gallery or str(Path(folder) / "crash.gallery")
        create(path)
        for kill in range(1, kills + 1):
            command = [sys.executable, os.path.abspath(__file__), "--work", path, str(kill)]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0.0, 0.5))
            before()
            child.send_signal(signal.SIGKILL)
            rest = child.communicate()[0]
            lines = [line for line in rest.split("\n")[:-1] if line]
            check(path, lines, present, gone, doubtful)
        return {"kills": kills, "acknowledged": len(present) * PIECE, "removed": len(gone) * PIECE}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gallery", default="", help="a new one; none: a temporary file")
    parser.add_argument("--work", nargs=2, metavar=("GALLERY", "SEED"))
    options = parser.parse_args()
    if options.work:
        work(options.work[0], int(options.work[1]))
    else:
        print(crash(options.kills, options.seed, options.gallery))

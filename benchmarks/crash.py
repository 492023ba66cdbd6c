"""kill -9 at random moments while a gallery is written: what was acknowledged is there, none twice, none by half.

    python benchmarks/crash.py [--kills 200] [--seed 0] [--gallery postgresql://USER@HOST/DATABASE?gallery=NEW]
    python benchmarks/crash.py --upgrade [--kills 30]
    python benchmarks/crash.py --kills 160 --upgrade-kills 40      # both, and benchmarks/results/crash.md

A child enrolls, removes, splits, merges, renames, forgets, undoes, vacuums, and builds and saves the index (a graph, of
a gallery this small only here), and writes a line after each call that returned. It is killed after a random time; then
the file is opened, checked, and compared with the lines.

--upgrade: the child moves the gallery to another model and back, again and again, and enrolls images in between. After
each kill every vector has to be that of one model, bit for bit, and of the one whose upgrade was acknowledged last.
"""

import argparse
import contextlib
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

from likewise.gallery import renewal, upkeep
from likewise.gallery.gallery import Gallery
from likewise.gallery.store import LostError
from likewise.gallery.stores import open_store

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
DIM = 16
PIECE = 8  # vectors a call: all of them or none


def create(path: str) -> None:
    store = open_store(path, create=True)
    with store.begin():
        about = {"dim": DIM, "sim": "cosine", "fingerprint": "none", "private": True, "rule": "nearest"}
        store.set_meta(**about, revision=0, edits=0)
    store.close()


def work(path: str, seed: int) -> None:
    """Write until killed.

    `+ N`: piece N is there; `- N`: it is gone; `? N`: a call began that takes it out or brings it back; `> N`: its
    class old-N is new-N now.
    """
    upkeep.LARGE = 0
    rng = np.random.default_rng(seed)
    with Gallery.open(path) as gallery:
        number = 1000 * seed
        print("ready", flush=True)
        while True:
            number += 1
            ids = [f"{number}-{i}" for i in range(PIECE)]
            vectors = rng.normal(size=(PIECE, DIM))
            turn = number % 12
            label = f"old-{number}" if turn in (7, 8) else f"c{number % 7}"
            gallery.enroll_vectors(vectors, label, fingerprint="none", ids=ids, gate="off")
            print("+", number, flush=True)
            if turn in (0, 3, 5, 6, 7):
                print("?", number, flush=True)
                if turn == 5:
                    gallery.undo()  # the enrollment
                elif turn == 7:
                    gallery.forget(label)
                else:
                    gallery.remove(ids)
                if turn == 6:
                    gallery.undo()  # the removal
                print("+" if turn == 6 else "-", number, flush=True)
            elif turn == 8:
                gallery.rename(label, f"new-{number}")
                print(">", number, flush=True)
            elif turn == 4:
                gallery.split(ids[:1], f"moved-{number}")
                gallery.merge(f"moved-{number}", label)
            if number % 10 == 0:
                gallery.vacuum()
            if number % 9 == 0:
                gallery.ready()  # builds and saves the index


def check(path: str, lines: list[str], present: set[int], gone: set[int], doubtful: set[int]) -> None:
    """Errors: AssertionError for a lost, doubled or half-written piece."""
    renamed = set()
    for line in lines:
        sign, number = line.split()
        {"+": present, "-": gone, "?": doubtful, ">": renamed}[sign].add(int(number))
        if sign in "+-":
            doubtful.discard(int(number))
    upkeep.LARGE = 0
    with Gallery.open(path) as gallery:
        report = gallery.check()
        assert report["sound"], report["problems"]
        items = list(gallery.items())
        ids = [str(item["id"]) for item in items]
        for row in list(gallery.store.scan())[:: max(1, len(ids) // 20)]:
            vector = np.frombuffer(bytes(row.vector), "<f4")
            assert gallery.search(vector, 1)[0].id == row.id, f"the index does not find {row.id}"
        assert len(gallery.state().index) == len(ids)
    assert len(ids) == len(set(ids)), "an item is there twice"
    counts: dict[int, int] = {}
    for id_ in ids:
        counts[int(id_.split("-")[0])] = counts.get(int(id_.split("-")[0]), 0) + 1
    assert set(counts.values()) <= {PIECE}, "a piece is there by half"
    labels: dict[int, set[str]] = {}
    for item in items:
        labels.setdefault(int(str(item["id"]).split("-")[0]), set()).add(str(item["label"]))
    for number, of_piece in labels.items():
        assert len(of_piece - {f"moved-{number}"}) == 1, f"piece {number} is of the classes {of_piece}"
        assert number not in renamed or of_piece == {f"new-{number}"}, f"a renaming was lost: {of_piece}"
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
            lines = killed("--work", path, kill, rng.uniform(0.0, 0.5), before)
            check(path, lines, present, gone, doubtful)
        return {"kills": kills, "acknowledged": len(present) * PIECE, "removed": len(gone) * PIECE}


def models() -> dict[str, type]:
    """Two models by their fingerprints: mean colours of an image, and of its halves."""
    from colours import Colours, Halves

    return {kind.fingerprint: kind for kind in (Colours, Halves)}


def at_its_model(path: str) -> Gallery:
    store = open_store(path)
    return Gallery(store, models()[str(store.meta()["fingerprint"])]())


def work_upgrading(path: str, seed: int) -> None:
    """Upgrade and enroll until killed. `? F`: moving to the model F began; `= F`: it is done; `+ N`: enrolled."""
    from colours import coloured

    folder = Path(path).parent / "images"
    renewal.PIECE = 10
    with at_its_model(path) as gallery:
        number = 1000 * seed
        print("ready", flush=True)
        while True:
            (other,) = models().keys() - {gallery.about["fingerprint"]}
            print("?", other, flush=True)
            encoder = models()[other]()
            renewal.upgrade(gallery, encoder)
            gallery.pin(encoder)
            print("=", other, flush=True)
            number += 1
            made = [folder / f"{number}-{i}.png" for i in range(PIECE)]
            for i, image in enumerate(made):
                image.write_bytes(coloured((40 * (i % 5), 20 * i, number % 200), number * PIECE + i, size=(12, 10)))
            gallery.enroll(made, f"c{number % 7}", ids=[image.stem for image in made], gate="off")
            print("+", number, flush=True)


def check_upgraded(path: str, lines: list[str], present: set[int], model: str) -> str:
    """The model that the gallery has. Errors: AssertionError for a mixture, or for what is lost, doubled or half."""
    expected, begun = {model}, ""
    for line in lines:
        sign, what = line.split()
        if sign == "+":
            present.add(int(what))
        begun = what if sign == "?" else ""
        expected = {what} if sign == "=" else expected
    expected |= {begun} - {""}
    with at_its_model(path) as gallery:
        report = gallery.check()
        assert report["sound"], report["problems"]
        found, encoder = gallery.about["fingerprint"], gallery.model()
        assert found in expected, f"answers with the model {found}, and {expected} was acknowledged"
        assert gallery.state().fingerprint == found
        rows = list(gallery.store.scan())
    ids = [row.id for row in rows]
    assert len(ids) == len(set(ids)), "an item is there twice"
    pieces = [int(id_.split("-")[0]) for id_ in ids]
    assert all(pieces.count(piece) == PIECE for piece in set(pieces)), "a piece is there by half"
    assert present <= set(pieces), f"acknowledged and lost: {sorted(present - set(pieces))[:5]}"
    for row in rows:
        right = encoder.embed([row.path])[0].astype("<f4").tobytes()
        assert bytes(row.vector) == right, f"the vector of {row.id} is not of the model {found}"
    return found


def crash_upgrades(kills: int, seed: int = 0) -> dict[str, int]:
    """Kill a child that upgrades so often on one gallery; what was seen."""
    from colours import Colours, make

    rng, present, model, upgrades, inside = random.Random(seed), set[int](), Colours.fingerprint, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "crash.gallery")
        (Path(folder) / "images").mkdir()
        make(path).close()
        for kill in range(1, kills + 1):
            lines = killed("--work-upgrading", path, kill, rng.uniform(0.0, 1.0))
            upgrades += sum(line[0] == "=" for line in lines)
            inside += bool(lines) and lines[-1][0] == "?"
            model = check_upgraded(path, lines, present, model)
    return {"kills": kills, "inside an upgrade": inside, "upgrades": upgrades, "acknowledged": len(present) * PIECE}


def killed(mode: str, path: str, seed: int, seconds: float, before: Callable[[], None] = lambda: None) -> list[str]:
    """The whole lines of a child that was killed after a time."""
    command = [sys.executable, os.path.abspath(__file__), mode, path, str(seed)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(seconds)
    before()
    child.send_signal(signal.SIGKILL)
    return [line for line in child.communicate()[0].split("\n")[:-1] if line]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gallery", default="", help="a new one; none: a temporary file")
    parser.add_argument("--work", nargs=2, metavar=("GALLERY", "SEED"))
    parser.add_argument("--work-upgrading", nargs=2, metavar=("GALLERY", "SEED"))
    parser.add_argument("--upgrade", action="store_true", help="kill while the gallery moves to another model")
    parser.add_argument(
        "--upgrade-kills", type=int, default=0, help="then so many of upgrades, and write results/crash.md"
    )
    options = parser.parse_args()
    if options.work_upgrading:
        work_upgrading(options.work_upgrading[0], int(options.work_upgrading[1]))
    elif options.upgrade:
        print(crash_upgrades(options.kills, options.seed))
    elif options.work:
        with contextlib.suppress(LostError):  # the server was killed
            work(options.work[0], int(options.work[1]))
    else:
        seen = crash(options.kills, options.seed, options.gallery)
        print(seen)
        if options.upgrade_kills:
            import machine

            moved = crash_upgrades(options.upgrade_kills, options.seed)
            rows = [("kills of the other writers", seen), ("kills in upgrades", moved)]
            shown = [f"| {name} | " + ", ".join(f"{n:,} {what}" for what, n in of.items()) + " |" for name, of in rows]
            table = "Nothing acknowledged was lost, doubled or written by half.\n\n"
            machine.write("crash", table + "\n".join(["| run | seen |", "|---|---|", *shown]), str(__doc__))

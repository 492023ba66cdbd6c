"""A gallery moves to another model: nothing mixed, nothing lost, interrupted anywhere, beside readers and writers."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from colours import BLUE, GREEN, RED, Colours, Halves, coloured, make
from likewise import Gallery
from likewise.gallery import opened, renewal, transfer
from likewise.gallery.sqlite import SqliteStore
from likewise.gallery.store import StoreError

NAMES = {"red": RED, "green": GREEN, "blue": BLUE}


class Stopping(Halves):
    """Halves that stop after some calls; before each one, something else may happen."""

    def __init__(self, calls: int = 10**9, before=lambda: None):
        super().__init__()
        self.calls, self.before, self.seen = calls, before, []

    def embed(self, paths) -> np.ndarray:
        self.before()
        if not self.calls:
            raise KeyboardInterrupt
        self.calls -= 1
        self.seen += [Path(path).name for path in paths]
        return super().embed(paths)


@pytest.fixture
def images(tmp_path) -> list[Path]:
    """12 images, four of each colour."""
    made = []
    for name, colour in NAMES.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for seed in range(4):
            path = tmp_path / "images" / name / f"{name}{seed}.png"
            path.write_bytes(coloured(colour, seed))
            made.append(path)
    return made


@pytest.fixture
def gallery(tmp_path, images, monkeypatch):
    encoders = {str(tmp_path / "colours"): Colours, str(tmp_path / "halves"): Halves}
    for path in encoders:
        Path(path).touch()
    monkeypatch.setattr(Halves, "path", str(tmp_path / "halves"))
    monkeypatch.setattr(opened, "open_encoder", lambda path: encoders[str(path)]())
    monkeypatch.setattr(renewal, "open_encoder", lambda path: encoders[str(path)]())
    with make(tmp_path / "g.gallery", model=str(tmp_path / "colours")) as made:
        made.enroll(images, [path.parent.name for path in images], ids=[p.stem for p in images], gate="off")
        yield made


def vectors(gallery) -> dict[str, list[float]]:
    return {row.id: np.frombuffer(row.vector, "<f4").tolist() for row in gallery.store.scan()}


def expected(encoder, images) -> dict[str, list[float]]:
    return {path.stem: encoder.one(path).tolist() for path in images}


def test_all_vectors_change_at_once_with_what_depends_on_them(gallery, images, tmp_path):
    gallery.calibrate(0.2)
    gallery.reject(images[0], label="green")
    gallery.rename("blue", "azure")
    told = []
    found = gallery.upgrade(tmp_path / "halves", progress=lambda *step: told.append(step))
    assert found == (12, [], "ha1f", True)
    assert told[-1] == ("embedding", 12, 12)
    assert vectors(gallery) == expected(Halves(), images)
    about = gallery.info()
    assert (about["dim"], about["sim"], about["fingerprint"], about["promise"]) == (6, "euclidean", "ha1f", None)
    assert (about["upgrading"], about["audit"][0]["verb"]) == ({}, "upgrade")
    assert gallery.check()["sound"]
    assert gallery.search(images[5], k=1)[0].id == images[5].stem
    assert gallery.identify(images[9]).label == "azure"
    with pytest.raises(ValueError, match="nothing to undo"):
        gallery.undo()
    with pytest.raises(ValueError, match=r"the vectors are of the model c0ffee and the gallery holds those of ha1f"):
        gallery.enroll_vectors(np.ones((1, 3)), "x", fingerprint="c0ffee")
    again = gallery.upgrade(tmp_path / "halves")
    assert (again.changed, again.items) == (False, 12)


def test_marks_hold_for_near_copies_after_an_upgrade(gallery, images, tmp_path):
    gallery.reject(images[0], label="red")
    gallery.upgrade(tmp_path / "halves")
    assert gallery.identify(images[0]).label != "red"


def test_images_that_are_gone_or_changed_are_named_and_nothing_changes(gallery, images, tmp_path):
    images[2].unlink()
    images[6].write_bytes(b"something else")
    before = vectors(gallery)
    with pytest.raises(ValueError, match=r"2 of 12 images of .* cannot follow to the new model") as told:
        gallery.upgrade(tmp_path / "halves")
    assert f"red2: there is no file {images[2]} now; green2: {images[6]} is another image now); give" in str(told.value)
    assert gallery.info()["upgrading"] == {}
    assert vectors(gallery) == before
    assert gallery.identify(images[0]).label == "red"


def test_images_are_found_elsewhere_by_their_content(gallery, images, tmp_path):
    moved = tmp_path / "moved" / "other name.png"
    moved.parent.mkdir()
    images[2].rename(moved)
    assert gallery.upgrade(tmp_path / "halves", images=[moved.parent]).dropped == []
    assert vectors(gallery)["red2"] == Halves().one(moved).tolist()


def test_what_cannot_follow_is_written_to_a_file_and_left_out(gallery, images, tmp_path):
    content, old = images[2].read_bytes(), vectors(gallery)["red2"]
    images[2].unlink()
    (tmp_path / "taken.parquet").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"taken\.parquet"):
        gallery.upgrade(tmp_path / "halves", drop_missing=tmp_path / "taken.parquet")
    found = gallery.upgrade(tmp_path / "halves", drop_missing=tmp_path / "lost.parquet")
    assert (found.items, found.dropped) == (11, ["red2"])
    assert "red2" not in vectors(gallery)
    with make(tmp_path / "other.gallery") as other:
        assert transfer.import_(other, tmp_path / "lost.parquet") == 1
        assert vectors(other) == {"red2": old}
    images[2].write_bytes(content)
    assert gallery.enroll([images[2]], "red", ids=["red2"]).added == ["red2"]


def test_vectors_and_private_galleries_cannot_follow_without_their_images(gallery, images, tmp_path):
    gallery.enroll_vectors(np.ones((1, 3)), "x", fingerprint="c0ffee", ids=["bare"])
    with pytest.raises(ValueError, match=r"1 of 13 .*bare: no path of it is stored"):
        gallery.upgrade(tmp_path / "halves")
    with make(tmp_path / "p.gallery", private=True, thumbnails=False) as private:
        private.enroll(images, "x", gate="off")
        with pytest.raises(ValueError, match=r"12 of 12 .* and 7 more\); give the folder"):
            private.upgrade(tmp_path / "halves")
        assert private.upgrade(tmp_path / "halves", images=[images[0].parents[1]]).items == 12


def test_an_interrupted_upgrade_goes_on_where_it_was(gallery, images, monkeypatch):
    monkeypatch.setattr(renewal, "PIECE", 4)
    first = Stopping(calls=2)
    with pytest.raises(KeyboardInterrupt):
        renewal.upgrade(gallery, first)
    assert gallery.info()["upgrading"] == {"ha1f": 8}
    assert gallery.identify(images[0]).label == "red"
    images[0].unlink()  # embedded already: needed no more
    second = Stopping()
    assert renewal.upgrade(gallery, second).items == 12
    assert len(first.seen) == 8
    assert sorted(first.seen + second.seen) == sorted(path.name for path in images)


def test_an_interruption_of_the_switch_changes_nothing(gallery, images, monkeypatch):
    before = vectors(gallery)
    for name in ("vector_in", "clear_steps", "touch", "log"):
        with monkeypatch.context() as patched:
            patched.setattr(gallery.store, name, lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                renewal.upgrade(gallery, Halves())
        assert vectors(gallery) == before
        assert gallery.about_now()["fingerprint"] == "c0ffee"
        assert gallery.search(images[3], k=1)[0].id == "red3"
    assert renewal.upgrade(gallery, Halves()).items == 12


def test_what_is_enrolled_during_an_upgrade_follows_too(gallery, images, tmp_path):
    late = [tmp_path / f"late{i}.png" for i in range(3)]
    for seed, path in enumerate(late):
        path.write_bytes(coloured(BLUE, 50 + seed))
    waiting = list(late)
    with Gallery(SqliteStore(gallery.store.path), Colours()) as other:

        def enroll_one() -> None:
            if waiting:
                path = waiting.pop()
                other.enroll([path], "blue", ids=[path.stem], gate="off")

        assert renewal.upgrade(gallery, Stopping(before=enroll_one)).items == 15
    assert vectors(gallery) == expected(Halves(), [*images, *late])


def test_another_process_follows_and_no_old_vector_is_written(gallery, images, tmp_path):
    new = tmp_path / "new.png"
    new.write_bytes(coloured(RED, 77))
    with Gallery(SqliteStore(gallery.store.path), Colours()) as other:
        old = Colours()
        other.encoder = Stopping(before=lambda: gallery.upgrade(tmp_path / "halves"))
        other.encoder.fingerprint, other.encoder.dim, other.encoder.one = "c0ffee", 3, old.one
        with pytest.raises(StoreError, match="was upgraded to another model during this call; repeat it"):
            other.enroll([new], "red", ids=["new"])
        assert other.enroll([new], "red", ids=["new"]).added == ["new"]
        assert other.search(images[7], k=1)[0].id == images[7].stem
    assert vectors(gallery) == expected(Halves(), [*images, new])


def test_a_query_is_embedded_by_the_model_of_what_it_searches(gallery, images, tmp_path):
    with Gallery(SqliteStore(gallery.store.path), Colours()) as other:
        other.state()
        gallery.upgrade(tmp_path / "halves")
        hit = other.search(images[4], k=1)[0]
        assert (hit.id, hit.similarity) == (images[4].stem, pytest.approx(0, abs=1e-2))
        assert (other.dim, other.sim) == (6, "euclidean")


def test_damaged_new_vectors_are_made_again(gallery, images, monkeypatch):
    monkeypatch.setattr(renewal, "PIECE", 4)
    with pytest.raises(KeyboardInterrupt):
        renewal.upgrade(gallery, Stopping(calls=2))
    gallery.store.run("UPDATE renewed SET crc = 1 WHERE content = (SELECT content FROM items WHERE id = 'red1')")
    gallery.store.run("UPDATE renewed SET vector = 'x' WHERE content = (SELECT content FROM items WHERE id = 'red2')")
    renewal.upgrade(gallery, Halves())
    assert vectors(gallery) == expected(Halves(), images)


def test_forgetting_leaves_nothing_of_an_unfinished_upgrade(gallery, images, monkeypatch, tmp_path):
    monkeypatch.setattr(renewal, "PIECE", 4)
    with pytest.raises(KeyboardInterrupt):
        renewal.upgrade(gallery, Stopping(calls=1))
    traces = [Halves().one(path).astype("<f4").tobytes() for path in images[:4]]
    held = b"".join(p.read_bytes() for p in tmp_path.glob("g.gallery*"))
    assert all(trace in held for trace in traces)
    assert gallery.forget("red")["erased"]
    held = b"".join(p.read_bytes() for p in tmp_path.glob("g.gallery*"))
    assert not any(trace in held for trace in traces)


CHILD = """
import sys, time
sys.path.insert(0, sys.argv[2])
from likewise.gallery import renewal
from likewise.gallery.gallery import Gallery
from likewise.gallery.sqlite import SqliteStore
from colours import Colours, Halves
class Slow(Halves):
    def embed(self, paths):
        time.sleep(0.004)
        return super().embed(paths)
renewal.PIECE = 10
with Gallery(SqliteStore(sys.argv[1]), Colours()) as gallery:
    print("ready", flush=True)
    renewal.upgrade(gallery, Slow())
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_old_model_or_the_new(tmp_path):
    """Killed again and again, an upgrade goes on each time; a reader beside it sees one model in every answer."""
    rng, both = random.Random(0), set()
    paths = []
    for i in range(120):
        paths.append(tmp_path / f"{i}.png")
        paths[-1].write_bytes(coloured((RED, GREEN, BLUE)[i % 3], i, size=(12, 10)))
    old, new = expected(Colours(), paths), expected(Halves(), paths)
    for trial in range(3):
        file = tmp_path / f"{trial}.gallery"
        with make(file) as gallery:
            gallery.enroll(paths, [str(i % 3) for i in range(120)], ids=[p.stem for p in paths], gate="off")
        kept = 0
        for _ in range(40):
            command = [sys.executable, "-c", CHILD, str(file), str(Path(__file__).parents[1])]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.1))
            child.send_signal(signal.SIGKILL)
            child.communicate()
            with Gallery(SqliteStore(file)) as gallery:
                fingerprint = gallery.about["fingerprint"]
                both.add(fingerprint)
                assert vectors(gallery) == (new if fingerprint == "ha1f" else old)
                assert gallery.check()["sound"]
                assert gallery.state().dim == (6 if fingerprint == "ha1f" else 3)
                done = sum(renewal.pending(gallery.store).values())
            if fingerprint == "ha1f":
                break
            assert done >= kept
            kept = done
        assert fingerprint == "ha1f"
    assert both == {"c0ffee", "ha1f"}

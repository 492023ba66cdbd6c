"""Thumbnails and kept answers: stored with an enrollment, exported, erased, checked; and files of format 1."""

import io
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colours import Colours, make
from likewise import Gallery
from likewise.gallery import attachments, naming, transfer
from likewise.gallery.layout import ADDED, FORMAT, schema
from likewise.gallery.sqlite import TYPES, SqliteStore


@pytest.fixture
def images(tmp_path) -> list[Path]:
    rng = np.random.default_rng(3)
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (120, 400, 3), dtype=np.uint8)).save(path)
    return paths


def count(gallery: Gallery) -> int:
    return gallery.store.run("SELECT count(*) FROM thumbnails")[0][0]


def test_a_thumbnail_is_a_small_jpeg_of_the_image(place, images):
    with make(place()) as gallery:
        gallery.enroll(images, list("abab"), gate="off")
        row = next(gallery.store.scan())
        small = Image.open(io.BytesIO(attachments.thumbnail(gallery.store, row.content)))
        assert (small.format, small.size, small.mode) == ("JPEG", (160, 48), "RGB")
        assert attachments.with_thumbnail(gallery.store, [row.content, "none"]) == {row.content}
        assert gallery.info()["thumbnails"] is True


def test_without_thumbnails_none_is_stored(place, images):
    with make(place(), thumbnails=False) as gallery:
        gallery.enroll(images, "a", gate="off")
        assert count(gallery) == 0


def test_a_removed_image_keeps_its_thumbnail_until_vacuum(place, images):
    with make(place()) as gallery:
        ids = gallery.enroll(images, "a", gate="off").added
        gallery.remove(ids[:1])
        assert count(gallery) == 4
        gallery.undo()
        gallery.remove(ids[:1])
        gallery.vacuum()
        assert count(gallery) == 3


def test_a_forgotten_class_leaves_no_thumbnail_in_the_files(tmp_path, images):
    path = tmp_path / "a.gallery"
    with make(path) as gallery:
        gallery.enroll(images, list("abab"), gate="off")
        kept = {row.label: attachments.thumbnail(gallery.store, row.content) for row in gallery.store.scan()}
        gallery.forget("a")
        assert count(gallery) == 2
    whole = b"".join(file.read_bytes() for file in tmp_path.glob("a.gallery*"))
    assert kept["a"][-200:-100] not in whole
    assert kept["b"][-200:-100] in whole


def test_an_export_carries_thumbnails(tmp_path, place, images):
    with make(place()) as one, make(tmp_path / "b.gallery") as other, make(place()) as third:
        one.enroll(images, "a", gate="off")
        transfer.export(one, tmp_path / "a.parquet")
        transfer.import_(other, tmp_path / "a.parquet")
        for row in one.store.scan():
            first, second = (attachments.thumbnail(g.store, row.content) for g in (one, other))
            assert first == second != b""
        transfer.export(other, tmp_path / "b.parquet")
        transfer.import_(third, tmp_path / "b.parquet")
        assert count(third) == 4


def test_a_damaged_thumbnail_is_not_shown_and_is_reported(place, images):
    with make(place()) as gallery:
        gallery.enroll(images, "a", gate="off")
        content = next(gallery.store.scan()).content
        gallery.store.run("UPDATE thumbnails SET image = ? WHERE content = ?", (b"\xff\xd8other", content))
        assert attachments.thumbnail(gallery.store, content) == b""
        found = gallery.check()
        assert (found["sound"], found["problems"]) == (
            False,
            [f"the thumbnail of the content {content[:16]} is damaged"],
        )


def test_an_answer_is_kept_for_a_day_and_erased_with_a_class(place, images, monkeypatch):
    with make(at := place()) as gallery:
        gallery.enroll(images, "secret name", gate="off")
        with gallery.store.begin():
            attachments.keep_answer(gallery.store, "key", "digest", {"moved": "secret name"})
        assert attachments.find_answer(gallery.store, "key") == ("digest", {"moved": "secret name"})
        assert attachments.find_answer(gallery.store, "other") is None
        gallery.forget("secret name")
        answered = attachments.find_answer(gallery.store, "key")
        assert answered is not None
        assert answered.answer == attachments.ERASED
        assert "secret name" not in str(gallery.store.run("SELECT * FROM requests"))
        assert not isinstance(at, Path) or b"secret name" not in at.read_bytes()
        now = attachments.time.time()
        monkeypatch.setattr(attachments.time, "time", lambda: now + attachments.KEPT + 1)
        assert attachments.find_answer(gallery.store, "key") is None


def test_a_gallery_of_format_1_gains_the_later_tables(tmp_path, images):
    path = tmp_path / "a.gallery"
    with make(path) as gallery:
        gallery.enroll(images, "a", gate="off")
        before = list(gallery.store.scan())
    old = sqlite3.connect(path)
    for name in (name for names in ADDED.values() for name in names):
        old.execute(f"DROP TABLE {name}")
    old.execute("PRAGMA user_version = 1")
    old.commit()
    statements = {sql for (sql,) in old.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    old.close()
    assert set(schema(TYPES, 1)) <= statements
    with Gallery(SqliteStore(path), Colours()) as gallery:
        assert list(gallery.store.scan()) == before
        assert gallery.check()["sound"]
        assert gallery.store.run("PRAGMA user_version")[0][0] == FORMAT
        assert count(gallery) == 0


def test_two_images_are_compared_at_the_threshold_of_the_model(tmp_path, images):
    with make(tmp_path / "a.gallery") as gallery:
        gallery.encoder = Colours(
            threshold={"value": 0.9, "low": 0.8, "high": 0.95, "target": "accuracy", "n": 50},
            calibration={"kind": "platt", "slope": 10.0, "offset": -9.0, "n": 1000},
        )
        found = gallery.compare(images[0], images[0])
    assert found["same"]
    assert found["similarity"] == pytest.approx(1, abs=1e-6)
    assert found["probability"] == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-6)  # logit 10 - 9, less that of 0.9: 0
    assert (found["threshold"], found["threshold_interval"], found["pairs"]) == (0.9, [0.8, 0.95], 50)


@pytest.mark.parametrize("threshold", [None, 0.5, {"value": "0.5"}, {"value": True}, {"value": float("nan")}, {}])
def test_a_model_without_a_threshold_compares_no_two_images(tmp_path, images, threshold):
    with make(tmp_path / "a.gallery") as gallery:
        gallery.encoder = Colours(threshold=threshold)
        assert naming.pair_threshold(gallery) is None
        with pytest.raises(ValueError, match="no threshold for two images"):
            gallery.compare(images[0], images[1])


@pytest.mark.parametrize(
    "calibration",
    [
        3,
        {"kind": "platt"},
        {"kind": "platt", "slope": "1", "offset": 0},
        {"kind": "x", "scores": [1], "probabilities": []},
    ],
)
def test_a_calibration_that_is_none_gives_no_probability(tmp_path, images, calibration):
    with make(tmp_path / "a.gallery") as gallery:
        gallery.encoder = Colours(threshold={"value": 0.5}, calibration=calibration)
        assert gallery.compare(images[0], images[1])["probability"] is None


def test_not_this_one_is_undone(tmp_path, images):
    with make(tmp_path / "a.gallery") as gallery:
        gallery.enroll(images, list("abab"), gate="off")
        before = gallery.identify(images[0])
        for _ in range(2):  # marked twice is one mark, and one step
            gallery.reject(images[0], label="a")
        assert gallery.identify(images[0]).label == "b"
        assert gallery.undo() == "reject"
        assert gallery.identify(images[0]) == before
        assert gallery.undo() == "enroll"


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1203])
def test_thumbnails_are_asked_for_500_at_a_time(count):
    asked = []

    class Store:
        def run(self, statement, values):
            assert statement.count("?") == len(values)
            asked.extend(values)
            sizes.append(len(values))
            return [(value,) for value in values if value.endswith("7")]

    sizes: list[int] = []
    wanted = [f"c{i}" for i in range(count)]
    assert attachments.with_thumbnail(Store(), [*wanted, *wanted]) == {name for name in wanted if name.endswith("7")}
    assert asked == wanted
    assert sizes == [500] * (count // 500) + [count % 500] * (count % 500 > 0)

"""Unknown images proposed as classes: by hand on colours, and the linkage against a loop."""

import json
import sys

import numpy as np
import pytest

from colours import BLUE, GREEN, RED, coloured, make
from likewise.gallery import suggest

YELLOW, VIOLET = (200, 200, 20), (150, 20, 200)


@pytest.fixture
def images(tmp_path):
    """3 blue, 2 yellow, 1 violet, 1 red and an unreadable one."""
    named = {"blue": (BLUE, 3), "yellow": (YELLOW, 2), "violet": (VIOLET, 1), "red": (RED, 1)}
    for name, (colour, count) in named.items():
        for i in range(count):
            (tmp_path / f"{name}{i}.png").write_bytes(coloured(colour, 10 * len(name) + i))
    (tmp_path / "broken.png").write_bytes(b"no image")
    return sorted(tmp_path.glob("*.png"))


@pytest.fixture
def gallery(tmp_path, images):
    with make(tmp_path / "g.gallery") as made:
        for i, (label, colour) in enumerate({"red": RED, "green": GREEN}.items()):
            path = tmp_path / f"enrolled{i}"
            path.write_bytes(coloured(colour, i))
            made.enroll([path], label, gate="off")
        made.store.set_meta(
            promise={"threshold": 0.97, "rule": "nearest", "calibration": None, "classes": 2, "note": ""}
        )
        yield made


def test_unknown_images_are_proposed_as_classes(gallery, images):
    found = gallery.suggest(images)
    names = [[path.rsplit("/", 1)[1] for path in one.images] for one in found.clusters]
    assert names == [["blue0.png", "blue1.png", "blue2.png"], ["yellow0.png", "yellow1.png"]]
    assert [one.name for one in found.clusters] == ["suggested-001", "suggested-002"]
    assert [one.size for one in found.clusters] == [3, 2]
    assert all(0.97 <= one.cohesion <= 1 for one in found.clusters)
    assert found.clusters[0].example in found.clusters[0].images
    assert [path.rsplit("/", 1)[1] for path in (*found.known, *found.single)] == ["red0.png", "violet0.png"]
    assert found.unreadable[0].source.endswith("broken.png")
    assert (found.enrolled, len(gallery)) == (0, 2)
    assert [one.size for one in gallery.suggest(images, smallest=3).clusters] == [3]


def test_proposals_are_enrolled_once_and_names_are_free(gallery, images):
    assert gallery.suggest(images, enroll=True).enrolled == 5
    assert sorted({item["label"] for item in gallery.items()}) == ["green", "red", "suggested-001", "suggested-002"]
    again = gallery.suggest(images, smallest=2, enroll=True)
    assert (again.clusters, again.enrolled, len(again.known)) == ([], 0, 6)
    gallery.rename("suggested-002", "yellow")
    gallery.remove([item["id"] for item in gallery.items() if item["label"] == "yellow"])
    assert gallery.suggest(images).clusters[0].name == "suggested-002"


def test_the_linkage_is_complete():
    angles = np.radians([0, 10, 20, 30, 100, 104, 200])
    x = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    found = suggest.clusters(x, float(np.cos(np.radians(20.5))), "cosine")
    groups = {frozenset(np.flatnonzero(found == c).tolist()) for c in found}
    # a chain of 10 degrees would hold the first four; complete linkage keeps pairs within 20.5 degrees
    assert groups == {frozenset({0, 1}), frozenset({2, 3}), frozenset({4, 5}), frozenset({6})}
    assert suggest.clusters(x[:1], 0.5, "cosine").tolist() == [0]
    assert len(suggest.clusters(x[:0], 0.5, "cosine")) == 0


@pytest.mark.parametrize("sim", ["cosine", "dot", "euclidean", "sqeuclidean"])
def test_no_pair_of_a_cluster_is_below_the_threshold(sim):
    from likewise.gallery.index import prepare, similarities

    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    sims = similarities(x, prepare(x, sim), sim)
    for threshold in np.quantile(sims, [0.3, 0.8, 0.95]).tolist():
        found = suggest.clusters(x, threshold, sim)
        for at in np.unique(found):
            rows = np.flatnonzero(found == at)
            inside = sims[np.ix_(rows, rows)][~np.eye(len(rows), dtype=bool)]
            assert len(inside) == 0 or inside.min() >= threshold - 1e-4


def test_wrong_calls(gallery, images, monkeypatch):
    with pytest.raises(ValueError, match="smallest is the number of images of a cluster, from 2; got 1"):
        gallery.suggest(images, smallest=1)
    monkeypatch.setattr(suggest, "MOST", 3)
    with pytest.raises(ValueError, match="7 images are more than the 3 of one call"):
        gallery.suggest(images)
    gallery.store.set_meta(promise=None)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has no threshold; give --far"):
        gallery.suggest(images)


def test_the_command(gallery, images, monkeypatch, capsys):
    from likewise.cli import gallery as commands
    from likewise.cli import gallery_suggest, main

    assert commands.commands
    monkeypatch.setattr(gallery_suggest, "opened", lambda path, model=None: gallery)
    monkeypatch.setattr(sys, "argv", ["likewise", "gallery", "suggest", "g", *map(str, images), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert [one["size"] for one in told["clusters"]] == [3, 2]


def test_the_cut_is_the_one_that_agrees_best_with_the_classes():
    angles = np.radians([0, 4, 8, 60, 65, 70, 130, 131])
    x = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    cut = suggest.best_cut(x, list("aaabbbcc"), "cosine", 0.5)
    assert np.cos(np.radians(50)) < cut <= np.cos(np.radians(10)) + 1e-6  # classes span 10 degrees, and lie 52 apart
    assert np.unique(suggest.clusters(x, cut, "cosine")[[0, 1, 2]]).size == 1
    halves = suggest.best_cut(x, list("aaaaaacc"), "cosine", 0.5)
    assert halves < np.cos(np.radians(60))
    assert suggest.best_cut(x, list("abcdefgh"), "cosine", 0.5) == 0.5
    assert suggest.best_cut(x[:0], [], "cosine", 0.5) == 0.5

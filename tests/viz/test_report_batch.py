"""The batch in the report: what the network sees, the same for the same seed, and named rightly."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from likewise.experiment.build import build, feed_of, resolve_defaults
from likewise.experiment.checkpoint import save_checkpoint
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.experiment.trial import loop
from likewise.viz.pages import batch as part
from likewise.viz.pages import report as page
from likewise.viz.pages.run_data import RunData
from likewise.viz.pages.run_data import read as material
from report_page import Page
from report_run import clusters, digits, write_run

IMAGES = digits(400)


def run_of(folder: Path, **fields) -> tuple[Path, Recipe]:
    """A run folder with nothing but this recipe."""
    recipe = resolve_defaults(Recipe(data="digits", **fields))
    write_run(folder, None, epochs=0)
    (folder / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    return folder, recipe


def shown(folder: Path, images=IMAGES) -> Page:
    """The part alone."""
    return Page("".join(part.batch(material(folder, images))))


def images(found: Page) -> list[np.ndarray]:
    uris = [value.partition(",")[2] for name, key, value in found.attributes if (name, key) == ("img", "src")]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))) for uri in uris]


def ids(found: Page) -> list[str]:
    return [value for name, key, value in found.attributes if (name, key) == ("img", "alt")]


def names(found: Page) -> list[str]:
    return [value for name, key, value in found.attributes if (name, key) == ("span", "title")]


def test_images_are_those_of_the_first_batch_under_their_names(tmp_path):
    folder, recipe = run_of(tmp_path / "r", sampler="pk(classes=3, images=5)", seed=7)
    found, feed = shown(folder), feed_of(recipe, IMAGES)
    first = {feed.images.ids[i] for i in feed.plan(0)[0].tolist()}
    assert len(ids(found)) == len(set(ids(found))) == 3 * part.EACH
    assert set(ids(found)) < first
    place = {name: i for i, name in enumerate(IMAGES.ids)}
    assert names(found) == [IMAGES.classes[IMAGES.labels[place[name]]] for name in ids(found)]
    assert all(np.array_equal(p, IMAGES.pixels[place[i], 0]) for p, i in zip(images(found), ids(found), strict=True))
    said = found.said()
    assert (
        "12 of the 15 images of the first batch, as the network receives them: drawn by pk(classes=3, images=5)" in said
    )
    assert "without augmentation. Look for images whose class you cannot recognise yourself" in said


def test_they_are_varied_as_in_training_and_by_the_seed_alone(tmp_path):
    batches = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        folder, recipe = run_of(tmp_path / name, sampler="pk(classes=4, images=2)", augment="affine(rotate=90)")
        (folder / "recipe.toml").write_text(recipe.replace(seed=seed).to_toml(), encoding="utf-8")
        torch.manual_seed(len(batches))
        before = torch.get_rng_state()
        batches.append(np.stack(images(shown(folder))))
        assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(batches[0], batches[1])
    assert not np.array_equal(batches[0], batches[2])
    plain = shown(run_of(tmp_path / "plain", sampler="pk(classes=4, images=2)")[0])
    assert not np.array_equal(batches[0], np.stack(images(plain)))
    feed = feed_of(Recipe.load(tmp_path / "c" / "recipe.toml"), IMAGES)
    rows = feed.plan(0)[0]
    expected = feed.augment(feed.images.batch(rows), torch.Generator().manual_seed(1))
    order = sorted(range(8), key=lambda i: int(feed.images.labels[rows[i]]))
    assert np.array_equal(batches[2], expected[order, 0].numpy())


@pytest.mark.parametrize(("sampler", "roles"), [("pairs(batch=6)", 2), ("triplets(batch=6)", 3)])
def test_an_anchor_stands_beside_its_partners(sampler, roles, tmp_path):
    found = shown(run_of(tmp_path / "r", sampler=sampler)[0])
    feed = feed_of(Recipe(sampler=sampler), IMAGES)
    rows = feed.plan(0)[0].view(roles, -1).T.flatten().tolist()
    assert ids(found) == [feed.images.ids[i] for i in rows]
    assert found.said().count("its partner") == len(rows) // roles
    assert found.said().count("its second partner") == (len(rows) // roles if roles == 3 else 0)


def test_a_batch_of_many_classes_is_cut(tmp_path):
    found = shown(run_of(tmp_path / "r", sampler="pk(classes=10, images=8)", rotations=4)[0])
    assert f"{10 * part.EACH} of the 80 images" in found.said()
    found = shown(run_of(tmp_path / "s", sampler="pk(classes=40, images=2)", rotations=4)[0])
    assert len(ids(found)) == part.MOST // part.EACH * 2


def test_of_a_sampler_that_looks_it_is_the_last_epoch(tmp_path):
    fields = {"network": "mlp(widths=(8,))", "epochs": 2, "dim": 4, "sampler": "hard_classes(classes=3, images=3)"}
    folder, recipe = run_of(tmp_path / "r", **fields)
    assert "of the first batch" in shown(folder).said()
    parts = build(recipe, IMAGES)
    for _ in loop(parts):
        pass
    save_checkpoint(Run(folder).last, parts.state)
    found = shown(folder)
    last = {parts.feed.images.ids[i] for i in parts.state.plan[0].tolist()}
    assert set(ids(found)) == last
    assert not torch.equal(parts.state.plan[0], parts.feed.plan(1)[0])
    assert "9 images of a batch of the last epoch" in found.said()
    assert "of the first batch" in shown(folder, IMAGES.take(range(50))).said(), "the images are no longer those"


def test_what_the_guard_left_out_is_said(tmp_path):
    folder, _ = run_of(tmp_path / "r", sampler="hard_negatives(batch=12)")
    lines = [
        {"kind": "draw", "step": e, "epoch": e, "negatives": 1000 * e, "too_near": 2, "doubted": 3} for e in (1, 2)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    said = shown(folder).said()
    assert "Hard negatives for the last epoch: 2,000. Filtered out as likely false negatives: 2 more similar" in said
    assert "and 3 whose neighbours are mostly of the anchor's class." in said


def test_without_images_there_is_none(tmp_path):
    folder, _ = run_of(tmp_path / "r")
    assert part.batch(material(folder, None)) == []
    rows = replace(IMAGES, pixels=IMAGES.pixels.flatten(1).float())
    assert part.batch(material(folder, rows)) == []
    assert part.batch(material(folder, IMAGES.part("test"))) == []
    assert "A batch in training" not in page.write_report(write_run(tmp_path / "s", clusters(["a"]))).read_text()


def test_further_classes_are_shown_as_they_are_trained(tmp_path):
    found = shown(run_of(tmp_path / "r", rotations=4, sampler="shuffled(batch=200)")[0])
    assert any("90°" in name for name in names(found)) or any("180°" in name for name in names(found))


def test_lines_of_the_log_are_of_one_kind_and_have_every_key(tmp_path):
    train, short = {"kind": "train", "epoch": 1, "loss": 0.5}, {"kind": "train", "epoch": 2}
    other = {"kind": "val", "epoch": 1, "loss": 0.5}
    m = RunData(Run(tmp_path), log=[train, short, other])
    assert m.lines("train", "epoch", "loss") == [train]
    assert m.lines("train") == [train, short]
    assert m.lines("val", "loss") == [other]
    assert m.lines("draw") == []

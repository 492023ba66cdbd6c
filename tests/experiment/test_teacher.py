"""Distillation in a recipe: where the teacher's embeddings come from, and that batches have those of their images."""

import dataclasses

import pytest
import torch

from likewise import Embedder, Recipe
from likewise.embeddings import Embeddings, embed
from likewise.experiment import train, trial
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.run import Run
from likewise.experiment.teacher import places_of
from likewise.spec import SpecError
from likewise.training.loop import fit

SMALL = Recipe(
    data="digits", size=12, max_per_class=8, epochs=2, sampler="pk(classes=5, images=3)", network="mlp(widths=(12,))",
    dim=4, doctor=False, device="cpu", eval_every_epochs=0, loss="sum(losses=['supcon', 'rkd'], weights=[1, 0.5])",
)  # fmt: skip


def parts_of(recipe: Recipe):
    return build(resolve_defaults(recipe), load_images(recipe))


@pytest.fixture(scope="module")
def larger():
    torch.manual_seed(5)
    return Embedder("mlp(widths=(32,))", shape=load_images(SMALL).shape, dim=9, normalize=False).eval()


@pytest.fixture
def file(larger, tmp_path):
    """The teacher's embeddings of all images, in another order."""
    found = embed(larger, load_images(SMALL))
    found.take(torch.randperm(len(found))).save(tmp_path / "vectors.parquet")
    return str(tmp_path / "vectors.parquet")


def test_a_batch_has_the_teachers_vectors_of_its_images(file, larger):
    parts = parts_of(SMALL.replace(distill=file))
    batch = next(iter(parts.feed.batches(parts.feed.plan(0))))
    torch.testing.assert_close(batch.teacher, larger(batch.images))


@pytest.mark.parametrize("folder", ["model", "run"])
def test_a_model_embeds_the_images_and_a_runs_own_embeddings_are_used(folder, file, larger, tmp_path):
    larger.save(tmp_path / folder / "model")
    path = tmp_path / folder if folder == "run" else tmp_path / folder / "model"
    expected = parts_of(SMALL.replace(distill=file)).feed.teacher
    torch.testing.assert_close(parts_of(SMALL.replace(distill=str(path))).feed.teacher, expected)
    if folder == "run":
        found = Embeddings.load(file)
        dataclasses.replace(found, vectors=found.vectors + 1).save(path / "embeddings.parquet")
        torch.testing.assert_close(parts_of(SMALL.replace(distill=str(path))).feed.teacher, expected + 1)


def test_it_changes_what_is_learned_and_accumulation_does_not(file):
    def learned(**fields):
        parts = parts_of(SMALL.replace(distill=file, **fields))
        fit(trial.loop(parts))
        return parts.state.model.head.linear.weight

    plain = learned()
    torch.testing.assert_close(learned(accumulate=3), plain, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(learned(loss="sum(losses=['supcon', 'mimic'])"), plain, atol=1e-3)


def test_resumed_it_ends_in_the_same_bits(file, tmp_path):
    def weights_of(folder, at=0):
        (folder / "snapshots").mkdir(parents=True, exist_ok=True)

        def ends(state):
            state.stop = "interrupted" if state.step == at else state.stop

        recipe = SMALL.replace(distill=file, loss="sum(losses=['supcon', 'mimic'])")
        try:
            done = trial.trial(parts_of(recipe), run=Run(folder), extra=lambda run, parts: [ends])
        except KeyboardInterrupt:
            return None
        return done.state.final.state_dict() | done.state.loss_fn.state_dict()

    whole = weights_of(tmp_path / "whole")
    assert weights_of(tmp_path / "cut", 3) is None
    found = weights_of(tmp_path / "cut")
    assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_ids_may_lie_below_one_further_folder():
    assert places_of(("a/1.png", "b/2.png"), ("x/b/2.png", "x/a/1.png", "y.png")) == [1, 0]
    assert places_of(("a/1.png", "b/2.png"), ("a/1.png", "x/b/2.png")) == [0, -1]
    assert places_of((), ("a",)) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"distill": "nowhere.parquet"}, "there is no teacher 'nowhere.parquet'; give a .parquet"),
        ({"distill": "FILE", "mirror": True}, "rotations and mirror make new classes"),
        ({"distill": "FILE", "loss": "supcon"}, "gives a teacher, and supcon does not compare with one"),
        ({}, "compares with a teacher's embeddings; give distill=FILE.parquet, or a run"),
        ({"distill": "CSV"}, "a teacher's embeddings are a .parquet file, not 'vectors.csv'"),
        ({"distill": "FEWER"}, r"has no vector for 1 of \d+ training images, such as"),
        ({"distill": "NAN"}, "has embeddings with NaN or infinity"),
    ],
)
def test_what_is_no_teacher_is_said_before_training(fields, said, file, tmp_path):
    found = Embeddings.load(file)
    (tmp_path / "vectors.csv").write_text("id\n")
    train_ids = set(load_images(SMALL).part("train").ids)
    first = next(i for i, name in enumerate(found.ids) if name in train_ids)
    found.take([i for i in range(len(found)) if i != first]).save(tmp_path / "fewer.parquet")
    found.vectors[first] = torch.nan
    found.save(tmp_path / "nan.parquet")
    places = {"FILE": file, "CSV": tmp_path / "vectors.csv"}
    places |= {"FEWER": tmp_path / "fewer.parquet", "NAN": tmp_path / "nan.parquet"}
    recipe = SMALL.replace(**{k: str(places.get(v, v)) if isinstance(v, str) else v for k, v in fields.items()})
    with pytest.raises((ValueError, SpecError), match=said):
        train.train(recipe, out=tmp_path / "runs", name="r")
    assert not (tmp_path / "runs" / "r").exists()

"""One-shot trials: the official runs as published, more made alike, and their error by hand."""

import io
import zipfile
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from likewise import data
from likewise.data.images import Images
from likewise.data.omniglot_runs import RUNS, OneShot, omniglot_runs, within_alphabet
from likewise.data.options import LoadOptions
from likewise.evaluate.one_shot import official_error, one_shot_error
from likewise.experiment import score as scoring
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.recipe import Recipe
from likewise.metrics.hausdorff import modified_hausdorff, points
from likewise.models import Embedder
from likewise.recipes.omniglot import omniglot
from likewise.training.loop import steps


def drawn(alphabets=(("Latin", 5), ("Greek", 7), ("Tiny", 2)), people=4, side=8) -> Images:
    """Images whose pixels say alphabet, character and person."""
    found = [(a, c, p) for a, (_, size) in enumerate(alphabets) for c in range(size) for p in range(people)]
    classes = [(a, c) for a, (_, size) in enumerate(alphabets) for c in range(size)]
    pixels = torch.zeros(len(found), 1, side, side, dtype=torch.uint8)
    pixels[:, 0, 0, :3] = torch.tensor(found).byte()
    return Images(
        pixels=pixels,
        labels=torch.tensor([classes.index((a, c)) for a, c, _ in found]),
        classes=tuple(f"{alphabets[a][0]}/character{c + 1:02d}" for a, c in classes),
        ids=tuple(f"{alphabets[a][0]}/character{c + 1:02d}/{a}{c:03d}_{p + 1:02d}.png" for a, c, p in found),
        split=torch.zeros(len(found), dtype=torch.uint8),
        groups=tuple(alphabets[a][0] for a, _, _ in found),
    )


def test_runs_are_within_an_alphabet_by_two_people():
    runs = within_alphabet(drawn(), runs=40, way=5, seed=1)
    assert len(runs) == 40
    people, alphabets, characters = set(), [], set()
    for run in runs:
        query, support = (x[:, 0, 0, :3].tolist() for x in (run.query, run.support))
        assert len({a for a, _, _ in query + support}) == 1
        assert [c for _, c, _ in query] == [support[i][1] for i in run.answer.tolist()]
        assert len({c for _, c, _ in query}) == len(query) == len(support) == 5
        (asks,), (shows,) = {p for _, _, p in query}, {p for _, _, p in support}
        assert asks != shows
        people.add((asks, shows))
        alphabets.append(query[0][0])
        characters.add(tuple(c for _, c, _ in query))
    assert len(people) == 12, "every pair of people is drawn sooner or later"
    assert all(a != b for a, b in pairwise(alphabets)), "the two alphabets take rotations"
    assert set(alphabets) == {0, 1}, "an alphabet that is too small is left out"
    assert len(characters) > 30


def shown(runs):
    return torch.stack([torch.cat([run.query, run.support]) for run in runs])


def test_runs_are_the_seeds_and_not_the_order_of_the_pictures():
    images = drawn()
    shuffled = images.take(torch.randperm(len(images), generator=torch.Generator().manual_seed(0)))
    first, again, other = (
        shown(within_alphabet(x, way=5, seed=s)) for x, s in ((images, 0), (shuffled, 0), (images, 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_only_people_who_drew_the_whole_alphabet_take_part():
    images = drawn((("Latin", 5),), people=3)
    kept = [i for i, name in enumerate(images.ids) if name != "Latin/character03/0002_02.png"]
    for run in within_alphabet(images.take(kept), way=5, runs=10):
        assert set(run.query[:, 0, 0, 2].tolist()) | set(run.support[:, 0, 0, 2].tolist()) == {0, 2}


@pytest.mark.parametrize("change", [{"way": 9}, {"people": 1}])
def test_too_few_characters_or_people_are_said(change):
    with pytest.raises(ValueError, match=r"no alphabet with . characters drawn whole by two people"):
        within_alphabet(drawn(people=change.get("people", 4)), way=change.get("way", 5))
    with pytest.raises(ValueError, match="no alphabets"):
        within_alphabet(replace(drawn(), groups=None))


def table(*rows):
    """A model that knows each image, by its first pixel, as a row of a table."""
    vectors = torch.tensor(rows, dtype=torch.float32)
    return SimpleNamespace(embed=lambda x: vectors[x[:, 0, 0, 0].long()])


def pixels(*values):
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def test_the_error_by_hand():
    """Queries 0 and 1 against supports 2 and 3 by angle: the first is right, the second nearer to the wrong one."""
    model = table([1.0, 0.1], [3.0, 0.2], [10.0, 0.0], [0.1, 0.2])
    run = OneShot("run01", pixels(0, 1), pixels(2, 3), torch.tensor([0, 1]))
    score = one_shot_error(model, [run])
    assert (score.value, score.n) == (0.5, 2)
    assert one_shot_error(model, [replace(run, answer=torch.tensor([0, 0]))]).value == 0
    assert one_shot_error(model, [replace(run, answer=torch.tensor([1, 1]))]).value == 1


def test_several_models_are_judged_by_their_mean_similarity():
    """Each is wrong where the other is surely right."""
    one = table([1.0, 0.0], [1.0, 0.9], [1.0, 0.0], [0.0, 1.0])
    two = table([0.9, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0])
    run = OneShot("run01", pixels(0, 1), pixels(2, 3), torch.tensor([0, 1]))
    assert one_shot_error(one, [run]).value == one_shot_error(two, [run]).value == 0.5
    assert one_shot_error([one, two], [run]).value == 0


def test_the_interval_is_over_runs():
    """A model that is all right on one run and all wrong on the other says little, however many trials they have."""
    model = table([1.0, 0.0], [0.0, 1.0])
    good = OneShot("good", pixels(*[0, 1] * 50), pixels(0, 1), torch.tensor([0, 1] * 50))
    bad = replace(good, answer=1 - good.answer)
    score = one_shot_error(model, [good, bad])
    assert (score.value, score.low, score.high, score.n) == (0.5, 0, 1, 200)


def test_views_are_seeded_and_leave_the_global_randomness_alone():
    torch.manual_seed(0)
    model = Embedder("mlp(widths=(16,))", shape=(1, 8, 8), dim=4)
    images = drawn()
    runs = within_alphabet(replace(images, pixels=torch.randint_like(images.pixels, 255)), way=5, runs=4)
    state = torch.get_rng_state()
    first, again, other = (one_shot_error(model, runs, views=5, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert first == again
    assert first.n == other.n == 20
    assert one_shot_error(model, runs, views=5, view="none") == one_shot_error(model, runs)


@pytest.mark.parametrize("wrong", [{"models": []}, {"runs": []}, {"views": 0}])
def test_nothing_to_judge_is_said(wrong):
    model, run = table([1.0, 0.0], [0.0, 1.0]), OneShot("run01", pixels(0), pixels(0, 1), torch.tensor([0]))
    with pytest.raises(ValueError, match="needs a model, a run and a view"):
        one_shot_error(**{"models": model, "runs": [run], "views": 1} | wrong)


def write_runs(root, *, labels="run01/test/item01.png run01/training/class02.png\n", cut=0):
    from PIL import Image

    path = root / RUNS
    path.parent.mkdir(parents=True)
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr("run01/class_labels.txt", labels)
        for name, value in (("test/item01", 0), ("training/class01", 1), ("training/class02", 0)):
            png = io.BytesIO()
            Image.new("1", (5, 5), value).save(png, "png")
            file.writestr(f"run01/{name}.png", png.getvalue())
    path.write_bytes(held.getvalue()[: len(held.getvalue()) - cut])
    return LoadOptions(root=root)


def test_a_run_is_read_by_its_list(tmp_path):
    labels = "run01/test/item01.png run01/training/class02.png\nrun01/test/item01.png run01/training/class01.png\n\n"
    want = write_runs(tmp_path, labels=labels)
    (run,) = omniglot_runs(want)
    assert run.name == "run01"
    assert run.answer.tolist() == [1, 0], "the support is in the order of its names"
    assert run.query.shape == run.support.shape == (2, 1, 5, 5)
    assert run.query.eq(255).all(), "black ink is 255 when ink is bright"
    assert omniglot_runs(want, ink="dark")[0].query.eq(0).all()
    with pytest.raises(ValueError, match="ink is bright or dark, not 'red'"):
        omniglot_runs(want, ink="red")


def test_a_damaged_or_missing_zip_is_said(tmp_path):
    with pytest.raises(data.AbsentError, match="likewise data fetch omniglot"):
        omniglot_runs(LoadOptions(root=tmp_path))
    with pytest.raises(ValueError, match="is damaged"):
        omniglot_runs(write_runs(tmp_path, cut=30))
    with pytest.raises(ValueError, match="is damaged"):
        omniglot_runs(write_runs(tmp_path / "other", labels="run01/test/item07.png run01/training/class01.png"))


def test_the_official_error_is_of_the_runs_beside_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("LIKEWISE_DATA", str(tmp_path))
    model = Embedder("mlp(widths=(4,))", shape=(1, 5, 5), dim=2).eval()
    assert official_error(model) is None
    write_runs(tmp_path, labels="".join(f"run01/test/item01.png run01/training/class0{k}.png\n" for k in (1, 2)))
    score = official_error(model, ink="dark")
    assert (score.value, score.n) == (0.5, 2), "one answer to two questions that are the same image"


def test_a_run_on_omniglot_says_its_official_error(tmp_path, monkeypatch):
    """And no other data does, nor a run on alphabets that it was trained on."""
    monkeypatch.setenv("LIKEWISE_DATA", str(tmp_path))
    write_runs(tmp_path)
    model = Embedder("mlp(widths=(4,))", shape=(1, 5, 5), dim=2).eval()
    images = replace(drawn(side=5), name="omniglot")
    images = replace(images, split=(images.labels > 4).byte() * 2)
    recipe = Recipe(data="omniglot(ink='dark')")
    assert scoring.one_shot(model, recipe, images, "test")["one_shot_error"]["n"] == 1
    assert not scoring.one_shot(model, recipe, images, "val")
    assert not scoring.one_shot(model, recipe, replace(images, name="mnist"), "test")
    assert not scoring.one_shot(model, recipe, replace(images, split=torch.arange(len(images)).byte() % 2 * 2), "test")


def test_the_official_runs(data_root):
    runs = omniglot_runs(LoadOptions(root=data_root("omniglot").parent))
    assert [run.name for run in runs] == [f"run{i:02d}" for i in range(1, 21)]
    for run in runs:
        assert run.query.shape == run.support.shape == (20, 1, 105, 105)
        assert sorted(run.answer.tolist()) == list(range(20))
        assert run.query.unique().tolist() == [0, 255]
        assert run.query.float().mean() < 60, "ink is bright and paper 0"
    assert [run.answer[0].item() + 1 for run in runs[:1]] == [8], "run01: item01 is class08"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_published_baseline(data_root):
    """The modified Hausdorff distance, which needs no training, errs in 38.8 % of the trials (Lake et al., 2015)."""
    runs = omniglot_runs(LoadOptions(root=data_root("omniglot").parent))
    wrong = 0
    for run in runs:
        query, support = ([points(x[0] > 0) for x in of] for of in (run.query, run.support))
        for asked, answer in zip(query, run.answer.tolist(), strict=True):
            far = [modified_hausdorff(asked, shown) for shown in support]
            wrong += far.index(min(far)) != answer
    assert wrong == 155, "38.75 % of 400"


@pytest.mark.slow
def test_no_official_picture_is_in_the_background(data_root):
    root = data_root("omniglot").parent
    background = data.load("omniglot(set='background')", root=root, val=0.0)
    known = {x.numpy().tobytes() for x in background.pixels}
    runs = omniglot_runs(LoadOptions(root=root))
    assert not [run.name for run in runs for x in torch.cat([run.query, run.support]) if x.numpy().tobytes() in known]


@pytest.mark.slow
def test_runs_of_the_background_are_like_the_official_ones(data_root):
    images = data.load("omniglot(set='background')", root=data_root("omniglot").parent)
    runs = within_alphabet(images, runs=26)
    assert {len(run.answer) for run in runs} == {20}
    assert runs[0].query.shape == (20, 1, 105, 105)


def a_few_steps():
    recipe = resolve_defaults(omniglot().replace(max_classes=40, epochs=1, seed=3))
    parts = build(recipe, load_images(recipe))
    for state in steps(parts.state, parts.feed, schedule=lambda progress: 1.0, lr=recipe.lr):
        if state.step == 2:
            return parts, state
    raise AssertionError("there were no two steps")


@pytest.mark.slow
def test_the_recipe_takes_two_steps_on_real_characters_and_always_the_same(data_root, monkeypatch):
    monkeypatch.setenv("LIKEWISE_DATA", str(data_root("omniglot").parent))
    parts, state = a_few_steps()
    assert state.loss.isfinite()
    assert len(parts.feed.images.classes) % 8 == 0, "every class in eight rotations"
    assert not set(parts.feed.images.groups) & set(parts.images.part("test").groups), "trained on other alphabets"
    runs = within_alphabet(parts.images.part("train"), runs=2, way=2)
    assert 0 <= one_shot_error(state.model.eval(), runs, views=2).value <= 1
    again = a_few_steps()[1]
    assert all(torch.equal(a, b) for a, b in zip(state.model.parameters(), again.model.parameters(), strict=True))

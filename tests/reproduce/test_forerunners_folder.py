"""The folder trainer: its recipes train, its picks are its picks, and the experiment is written up from its runs."""

import csv
import os
import re
from functools import partial
from itertools import combinations, islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from likewise import api, losses, recipes, spec
from likewise.evaluate import Embeddings
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.callbacks import keep_best, lower_when_flat, stop_when_flat
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.experiment.train import resume, train
from likewise.experiment.trial import loop
from likewise.reproduce import folder_trainer, reproduce
from likewise.reproduce.experiment import Experiment
from likewise.reproduce.folder_configs import CONFIGS
from likewise.reproduce.translate import translate
from likewise.training import optim
from likewise.training.loop import State
from likewise.viz.pages.map import write_map
from replayed import EXPERIMENT, replay

OURS = sorted({name for name, _ in folder_trainer.MODES.values()})
COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (50, 60, 210), "grey": (120, 120, 120)}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """A class a folder, in train/ and val/, with speckles by which no two images are the same."""
    top = tmp_path_factory.mktemp("shop")
    for part, each in (("train", 6), ("val", 2)):
        for name, colour in COLOURS.items():
            (top / part / name).mkdir(parents=True)
            for i in range(each):
                picture = Image.new("RGB", (40, 30), colour)
                picture.paste((255 - 20 * i, 10 * i, 128), (2 * i, i, 2 * i + 12, i + 9))
                picture.save(top / part / name / f"{i}.png")
    return top


def small(recipe: Recipe, data: str, **changes) -> Recipe:
    """On a few images, with nothing that would have to be had."""
    return unpublished(recipe).replace(data=data, split="given", amp="never", **changes)


def unpublished(recipe: Recipe) -> Recipe:
    """Small, and without published weights; what is frozen without them is another network, for MobileNetV2 is dead."""
    size = 65 if recipe.network.startswith("koch") else 32
    network = "simple2" if recipe.frozen_epochs else recipe.network
    return recipe.replace(size=size, weights="", network=network)


def two_steps(recipe: Recipe) -> State:
    parts = build(resolve_defaults(recipe), load_images(recipe))
    before = [p.detach().clone() for p in parts.state.model.parameters()]
    *_, last = islice(loop(parts), 2)
    assert last.step == 2
    assert torch.isfinite(last.loss)
    assert any(not torch.equal(a, b) for a, b in zip(before, last.model.parameters(), strict=True))
    return last


@pytest.mark.parametrize("name", OURS)
def test_every_recipe_trains_two_steps_on_a_folder(name, photographs):
    two_steps(small(getattr(recipes, name)(), str(photographs)))


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_every_recipe_trains_two_steps_on_its_own_data(name, data_root):
    data_root("grocery-store")
    recipe = getattr(recipes, name)().replace(max_per_class=6)
    if recipe.weights and not any(
        (data_root("grocery-store").parent / up).exists() for up in ("weights", "../weights")
    ):
        missing = "needs the published weights, in weights/ of the data root or beside it"
        pytest.fail(missing) if os.environ.get("LIKEWISE_REQUIRE_DATA") == "1" else pytest.skip(missing)
    two_steps(recipe)


def test_a_csv_trains_as_its_folder_does(photographs, tmp_path):
    rows = [(str(p), p.parent.name, p.parts[-3]) for p in sorted(photographs.rglob("*.png"))]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "kind", "part"), *rows])
    listed = f"table(path={str(tmp_path / 'list.csv')!r}, image='file', label='kind', split='part')"
    recipe = small(recipes.trainer_simple2(), listed)
    images = load_images(recipe)
    assert images.classes == load_images(recipe.replace(data=str(photographs))).classes
    assert [len(images.part(part)) for part in ("train", "val", "test")] == [22, 2, 8]
    two_steps(recipe)


def test_filters_of_classes(photographs):
    recipe = small(recipes.trainer_simple2(), str(photographs))
    assert len(load_images(recipe.replace(max_classes=3)).classes) == 3
    assert len(load_images(recipe.replace(max_per_class=2)).part("train")) < 4 * 3
    with pytest.raises(ValueError, match="no class has min_per_class=9 images"):
        load_images(recipe.replace(min_per_class=9))


# Their picks.


def theirs(emb_ND: torch.Tensor, labels_N: torch.Tensor, margin: float, mode: str) -> float:
    """Their rule with explicit loops, by one distance, over ordered pairs of a class."""
    d_NN = torch.cdist(emb_ND, emb_ND).square()
    picked = []
    for anchor in range(len(labels_N)):
        for positive in range(len(labels_N)):
            if anchor == positive or labels_N[anchor] != labels_N[positive]:
                continue
            values = [
                float(d_NN[anchor, positive] - d_NN[anchor, n] + margin)
                for n in range(len(labels_N))
                if labels_N[n] != labels_N[anchor]
            ]
            wanted = max(values) if mode == "hardest" else None
            if wanted is not None and wanted > 0:
                picked.append(wanted)
            elif mode == "semihard":
                picked += [v for v in values if 0 < v < margin]
    return sum(picked) / len(picked)


@pytest.mark.parametrize("mode", ["hardest", "semihard"])
def test_the_picks_of_negatives_are_theirs(mode):
    """Of several semi-hard negatives theirs draws one; ours is the mean over all of them."""
    torch.manual_seed(0)
    emb_ND = torch.nn.functional.normalize(torch.randn(24, 5, dtype=torch.float64), dim=-1)
    labels_N = torch.arange(24) % 6
    recipe = translate(f"mode: triplet\nmargin: 0.5\nnegatives_selection_mode: {mode}").recipe
    ours = losses.build(recipe.loss, sim=recipe.sim, miner=recipe.miner or None)(emb_ND, labels_N)
    assert float(ours) == pytest.approx(theirs(emb_ND, labels_N, 0.5, mode), rel=1e-9)
    grid = {how["miner"] for _, how in folder_trainer.MODES.values() if "miner" in how}
    assert mode == "semihard" or grid == {recipe.miner}


def test_all_modes_differ_from_one_another():
    """No two rows of the grid are the same training."""
    made = [
        resolve_defaults(getattr(recipes, name)().replace(**how, weights=""))
        for name, how in folder_trainer.MODES.values()
    ]
    assert all(a != b for a, b in combinations(made, 2))


# The plateau.


def scored(values: list[float], *callbacks) -> list[float]:
    """What is left of the rate after each validation with these scores."""

    class Nothing:
        best = Path("unused")

    state, left = State(None, None, None, epochs=len(values)), []
    for epoch, value in enumerate(values):
        state.epoch, state.batch_index, state.num_batches = epoch, 1, 1
        state.scores = {"knn@1": {"value": value}}
        for callback in callbacks:
            callback(state)
        left.append(state.callback_state.get("lowered", 1.0))
    return left


@pytest.fixture
def best():
    """`keep_best` without a file."""
    return keep_best(lambda state: None, "knn@1")


def test_the_rate_falls_after_so_many_validations_without_a_better_score(best):
    values = [0.5, 0.6, 0.6, 0.55, 0.7, 0.1, 0.2, 0.3, 0.4]
    assert scored(values, best, lower_when_flat(0.5, 2)) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_plateau_and_early_stopping_count_apart(best):
    left = scored([0.5, 0.4, 0.4, 0.4], best, lower_when_flat(0.1, 2), stop_when_flat(3))
    assert left == pytest.approx([1, 1, 0.1, 0.1])


FLAT = {"schedule": "plateau(factor=0.5, patience=1)", "lr": 1e-3, "eval_every_epochs": 1, "epochs": 4}


@pytest.mark.slow
def test_a_training_with_plateau_is_lowered_and_resumes_bit_for_bit(photographs, tmp_path):
    """The score of two images is soon flat, and the log says the rate of every step."""
    recipe = small(recipes.trainer_simple2(), str(photographs), **FLAT)
    rates = rates_of(train(recipe, out=tmp_path, name="whole")[0])
    assert set(rates) <= {1e-3, 5e-4, 2.5e-4, 1.25e-4}
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < rates[0]

    def cut(record):
        if record["kind"] == "train" and record["epoch"] >= 2.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(recipe, out=tmp_path, name="cut", watch=cut)
    resumed, _ = resume(tmp_path / "cut")
    a, b = (Embeddings.load(Run(tmp_path / name).embeddings).vectors for name in ("whole", "cut"))
    assert torch.equal(a, b)
    assert rates_of(resumed)[-1] == rates[-1]


def rates_of(run: Run) -> list[float]:
    return [record["lr"] for record in run.records() if record["kind"] == "train"]


def test_the_loop_multiplies_schedule_and_what_was_lowered(photographs):
    parts = build(
        resolve_defaults(small(recipes.trainer_simple2(), str(photographs), **FLAT)), load_images_of(photographs)
    )
    parts.state.callback_state["lowered"] = 0.25
    assert next(loop(parts)).lr == pytest.approx(2.5e-4)
    assert optim.plateau(0.3) == 1.0


def load_images_of(folder: Path):
    return load_images(small(recipes.trainer_simple2(), str(folder)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"eval_every_epochs": 0}, "there is no validation; give val=0.1"),
        ({"val": 0.0}, "there is no validation; give val=0.1"),
        ({"schedule": "plateau(factor=2.0)"}, "a factor between 0 and 1"),
        ({"schedule": "plateau(patience=0)"}, "a patience of 1 or more"),
    ],
)
def test_a_plateau_that_could_never_fall_is_said_before_anything_is_written(photographs, tmp_path, changes, said):
    recipe = small(recipes.trainer_simple2(), str(photographs), **FLAT | changes)
    with pytest.raises(ValueError, match=said):
        train(recipe, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_schedules_are_listed_with_the_plateau():
    assert "plateau" in spec.names("schedule")
    with pytest.raises(spec.SpecError, match="did you mean patience"):
        Recipe(schedule="plateau(patient=3)")


# The experiment.


def test_their_definition_by_hand(tmp_path, monkeypatch):
    """By Euclidean distance among the kept images, whatever similarity the run was trained for."""
    vectors = torch.tensor([[1.0, 0.0], [0.0, 5.0], [0.0, 1.0]])
    found = Embeddings(
        vectors, torch.tensor([0, 1, 0]), ("a", "b", "c"), torch.tensor([0, 0, 2], dtype=torch.uint8), ("x", "y")
    )
    (tmp_path / "metrics.json").write_text('{"split": "test", "open": false, "scores": {}}')
    found.save(tmp_path / "embeddings.parquet")
    assert folder_trainer.lookup(Run(tmp_path)).theirs["top@1"].value == 1.0
    cosine = folder_trainer.naming(found.part("test"), found.part("train"), sim="cosine")
    assert cosine["top@1"].value == 0.0, "by angle it would be the other"


@pytest.mark.parametrize("generation", CONFIGS)
def test_the_configurations_shown_become_recipes(generation):
    found = translate(CONFIGS[generation])
    assert found.generation == {"2019": "2019", "January 2020": "2020-01", "August 2020": "2020-08"}[generation]
    assert len(found.lines) > 10


def test_a_configuration_of_theirs_trains_on_a_folder(photographs):
    """From their YAML to two steps of training, with nothing changed but where the data lie."""
    text = CONFIGS["2019"].replace("dataset_path: signs/", f"dataset_path: {photographs}")
    two_steps(translate(text).recipe.replace(sampler="pk(classes=2, images=4)", dim=64))


@pytest.fixture
def tiny(monkeypatch):
    """Every recipe on a few photographs, for one epoch, its published weights left out."""

    def shrunk(make):
        def made() -> Recipe:
            recipe = make()
            few = {
                "max_per_class": 5,
                "max_classes": 20,
                "epochs": 1,
                "pretrain_epochs": min(1, recipe.pretrain_epochs),
            }
            return unpublished(recipe).replace(amp="never", augment="", **few)

        return made

    for name in OURS:
        monkeypatch.setattr(recipes, name, shrunk(getattr(recipes, name)))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_it_is_written_up_from_its_runs(tiny, data_root, tmp_path, monkeypatch):
    data_root("grocery-store")
    monkeypatch.setattr("likewise.reproduce.folder_prediction.write_map", partial(write_map, method="pca"))
    path = reproduce("folder-trainer", out=tmp_path)
    text = path.read_text()
    for name in folder_trainer.MODES:
        assert f"| {name} |" in text
    for heading in (
        "Four ways to hold out",
        "Unseen classes",
        "Train, encode, test",
        "before and after",
        "configurations",
    ):
        assert heading in text
    assert "| theirs: 107 traffic signs, simple2 | 90.64 |" in text
    assert "| network and mode | top-1, % | top-5, % |" in text
    shown = re.findall(r"\]\(images/forerunners/([^)]+)\)", text)
    assert len(shown) == 2
    assert all(0 < (path.parent / file).stat().st_size < 150_000 for file in shown)
    assert len(list(path.parent.glob("runs/*/map.html"))) == 1
    before = {p: p.stat().st_mtime_ns for p in path.parent.rglob("metrics.json")}
    assert len(before) == len(folder_trainer.MODES) + len(folder_trainer.NEW) + len(folder_trainer.RANDOM)
    assert reproduce("folder-trainer", out=tmp_path, train=False).read_text() == text, "nothing is trained twice"
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_two_stages_are_one_recipe(photographs, tmp_path):
    """The softmax stage is a run inside the run, and triplets start from its weights."""
    recipe = small(recipes.trainer_two_stages(), str(photographs), epochs=1).replace(pretrain_epochs=1, lr=0.0)
    run, _ = train(recipe, out=tmp_path)
    first, last = (api.Embedder.load(run.path / part) for part in ("pretraining/model", "model"))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), last.parameters(), strict=True)), "lr is 0"
    assert Recipe.load(run.path / "pretraining" / "recipe.toml").loss.startswith("softmax")


@pytest.mark.slow
def test_a_bench_goes_on_with_a_run_that_was_cut_in_its_first_stage(photographs, tmp_path):
    recipe = small(recipes.trainer_two_stages(), str(photographs), epochs=1).replace(pretrain_epochs=2)

    def cut(record):
        if record["kind"] == "train":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Experiment(tmp_path, watch=cut).run("a", recipe)
    again = Experiment(tmp_path).run("a", recipe)
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["a"]
    whole = Experiment(tmp_path / "whole").run("a", recipe)
    a, b = (Embeddings.load(run.embeddings).vectors for run in (again, whole))
    assert torch.equal(a, b)


def test_what_a_bench_calls_a_run_is_a_folder_name():
    names = [folder_trainer.slug(name) for name in folder_trainer.MODES]
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)
    assert len(set(names)) == len(names)
    assert Experiment(Path()).command("trainer_frozen") == "likewise train trainer-frozen"


def test_each_part_of_the_folder_trainer_is_written_in_order(monkeypatch, tmp_path):
    answers = {"trained": lambda experiment, name, *how: name, "best_on_bursts": lambda runs: folder_trainer.TUNED}
    at = replay(monkeypatch, folder_trainer, tmp_path, **answers)
    base, best = folder_trainer.BASE, folder_trainer.TUNED
    runs = {name: name for name in folder_trainer.MODES}
    new = {name: f"{name}, new classes" for name in folder_trainer.NEW}
    random = {name: f"{name}, random split" for name in folder_trainer.RANDOM}
    assert at == [
        ("introduction", base, {}), ("of_modes", EXPERIMENT, runs), ("of_splits", runs, random),
        ("of_new_classes", EXPERIMENT, new), ("of_encodings", best, best), ("of_prediction", EXPERIMENT, best),
        ("of_map", runs, (base, best)), ("of_configs", EXPERIMENT), ("slips",),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="lacks finished runs; run `likewise reproduce folder-trainer` first"):
        replay(monkeypatch, folder_trainer, tmp_path, trained=lambda *given: None)

"""The forerunners' experiments: their recipes train, their definitions are theirs, their words are ours."""

import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.nn.functional import triplet_margin_loss

from likewise import losses, recipes, spec
from likewise.data.consecutive_sampler import consecutive
from likewise.evaluate import Embeddings, draw_pairs
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.recipe import Recipe, epochs_of
from likewise.experiment.run import Run
from likewise.experiment.trial import loop
from likewise.losses.terms import BatchContext
from likewise.models import Embedder
from likewise.reproduce import EXPERIMENTS, epoch_series, friends, reproduce
from likewise.reproduce import fashion_mlp as mlp_pairs
from likewise.reproduce.experiment import Experiment, mean_loss
from likewise.reproduce.section import command, score_text, span, table
from likewise.spec import SpecError
from likewise.viz import plots
from likewise.viz.plots import Curve
from replayed import EXPERIMENT, replay

ROOT = Path(__file__).parents[2]
OURS = {
    *(name for name, _ in friends.LOSSES.values()),
    *epoch_series.METHODS.values(),
    *("mlp3_contrastive", "mlp4_contrastive", "mlp3_pairs", "mlp4_pairs"),
}
LABELS = torch.tensor([2, 0, 1, 0, 2, 1, 0, 2, 1, 0])


def small(recipe: Recipe, **changes) -> Recipe:
    return recipe.replace(data="digits", size=28, max_per_class=40, **changes)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_recipe_trains_two_steps_on_real_digits(name):
    recipe = small(getattr(recipes, name)())
    parts = build(resolve_defaults(recipe), load_images(recipe))
    before = [p.detach().clone() for p in parts.state.model.parameters()]
    *_, last = islice(loop(parts), 2)
    assert last.step == 2
    assert torch.isfinite(last.loss)
    assert any(not torch.equal(a, b) for a, b in zip(before, last.model.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OURS))
def test_every_recipe_trains_two_steps_on_its_own_data(name, data_root):
    recipe = getattr(recipes, name)().replace(max_per_class=30)
    data_root(recipe.data.replace("_", "-"))
    *_, last = islice(loop(build(resolve_defaults(recipe), load_images(recipe))), 2)
    assert last.step == 2
    assert torch.isfinite(last.loss)


def test_their_network_has_their_size():
    """35,729 numbers with its head of 2."""
    assert Embedder("lenet", shape=(1, 28, 28), dim=2).parameter_count == 35_729
    assert [w.shape for w in Embedder(recipes.mlp4_contrastive().network, shape=(1, 28, 28), dim=0).parameters()] == [
        (128, 784),
        (128, 128),
        (128, 128),
        (128, 128),
    ]


# Consecutive pairs.


def test_consecutive_pairs_by_hand():
    """Class 0 at 1, 3, 6, 9, class 1 at 2, 5, 8, class 2 at 0, 4, 7: two places a class, as the smallest allows."""
    (both,) = consecutive(LABELS, batch=100, seed=0, epoch=0)
    first, second = both.chunk(2)
    assert first.tolist() == [1, 1, 3, 3, 2, 2, 5, 5, 0, 0, 4, 4]
    assert second[::2].tolist() == [3, 6, 5, 8, 4, 7]
    assert (LABELS[first] == LABELS[second]).tolist() == [True, False] * 6
    place = {i: p for c in range(3) for p, i in enumerate((c == LABELS).nonzero()[:, 0].tolist())}
    assert [place[i] for i in second[1::2].tolist()] == [place[i] for i in first[1::2].tolist()], "the same place"


def test_half_of_the_consecutive_pairs_holds_half_of_the_classes():
    labels = torch.arange(10).repeat(7)
    batches = consecutive(labels, batch=8, share=0.5, seed=1, epoch=0)
    anchors = torch.cat([batch.chunk(2)[0] for batch in batches])
    assert labels[anchors].unique().tolist() == [0, 1, 2, 3, 4]
    assert [len(batch) for batch in batches] == [16] * 7 + [8]


def test_consecutive_pairs_are_fixed_and_only_their_order_is_shuffled():
    def drawn(**how) -> list[tuple[int, int]]:
        batches = consecutive(LABELS, batch=4, **how)
        return [tuple(pair) for batch in batches for pair in torch.stack(batch.chunk(2), 1).tolist()]

    assert drawn(seed=0, epoch=0) == drawn(seed=0, epoch=5)
    shuffled = drawn(seed=0, epoch=0, shuffle=True)
    assert shuffled != drawn(seed=0, epoch=1, shuffle=True)
    assert sorted(shuffled) == sorted(drawn(seed=0, epoch=0))


@pytest.mark.parametrize(
    ("labels", "how", "said"),
    [
        ([0, 0, 0], {}, "got 1 classes"),
        ([0, 0, 1], {}, "the smallest of 1"),
        ([0, 0, 1, 1], {"share": 0.0}, "share above 0"),
        ([0, 0, 1, 1], {"batch": 0}, "batch of 1 or more"),
    ],
)
def test_consecutive_says_what_is_wrong(labels, how, said):
    with pytest.raises(ValueError, match=said):
        consecutive(torch.tensor(labels), seed=0, epoch=0, **how)


def test_consecutive_is_a_sampler_by_name():
    assert spec.bind("sampler", "consecutive(batch=8, share=0.5)")(LABELS, seed=0, epoch=0)[0].dtype == torch.int64
    with pytest.raises(SpecError, match="did you mean share"):
        spec.bind("sampler", "consecutive(shares=0.5)")


# Their definitions.


def line_of(positions: list[float], labels: torch.Tensor) -> Embeddings:
    """Images on a line."""
    vectors = torch.tensor(positions)[:, None]
    ids = tuple(map(str, range(len(labels))))
    return Embeddings(vectors, labels, ids, torch.full((len(labels),), 2, dtype=torch.uint8), ("a", "b"))


def test_precision_of_same_by_hand():
    """Pairs of class 0 (0, 0.1, 5): both alike, one near; those across: 0 with 0.3 and 0.1 with 9, one near."""
    part = line_of([0.0, 0.1, 5.0, 0.3, 9.0, 9.2], torch.tensor([0, 0, 0, 1, 1, 1]))
    # Alike: 0-0.1 near, 0.1-5 far, 0.3-9 far, 9-9.2 near. Different, from either side: 0-0.3 near twice, 0.1-9 far.
    assert mlp_pairs.precision_of_same(part) == pytest.approx(2 / 4)


def test_the_accuracy_is_of_as_many_alike_as_different_pairs():
    """Six classes far apart on a line, one image of a class gone astray: the many different pairs do not drown it."""
    labels = torch.arange(6).repeat(8)
    positions = 10.0 * labels
    positions[0] = 1e4
    right, wrong = 10.0 * labels[:, None], positions[:, None]
    both = Embeddings(
        torch.cat([right, right, wrong]),
        labels.repeat(3),
        tuple(map(str, range(144))),
        torch.tensor([0, 1, 2], dtype=torch.uint8).repeat_interleave(48),
        ("a", "b"),
    )
    first, second, same = draw_pairs(labels)
    assert (~same).sum() > same.sum()
    astray = ((first == 0) | (second == 0)) & same
    assert mlp_pairs.judged(both)["accuracy"] == pytest.approx(1 - float(astray.sum() / same.sum()) / 2)


def test_our_losses_on_their_batches_are_theirs():
    torch.manual_seed(0)
    a_B2, b_B2, c_B2 = (torch.randn(32, 2, dtype=torch.float64) for _ in range(3))
    labels_B = torch.randint(0, 4, (32,))
    triplet = losses.build("triplet(margin=1.0, pick='hard')", sim="euclidean")
    ours = triplet(
        torch.cat([a_B2, b_B2, c_B2]), torch.cat([labels_B, labels_B, labels_B + 1]), BatchContext(partners=2)
    )
    assert float(ours) == pytest.approx(float(triplet_margin_loss(a_B2, b_B2, c_B2, margin=1.0, eps=0)), rel=1e-9)

    same_B = torch.arange(32) < 16
    d_B = (a_B2 - b_B2).norm(dim=-1)
    theirs = (same_B * d_B**2 + ~same_B * (1 - d_B).relu() ** 2).mean() / 2
    contrastive = losses.build("contrastive(margin=1.0)", sim="euclidean")
    paired = torch.cat([labels_B, torch.where(same_B, labels_B, labels_B + 1)])
    ours = contrastive(torch.cat([a_B2, b_B2]), paired, BatchContext(partners=1))
    assert float(ours) == pytest.approx(friends.OVER_THEIRS["contrastive"] * float(theirs), rel=1e-9)


def test_their_first_weights():
    model = mlp_pairs.first_weights(recipes.mlp3_contrastive())
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert float(weights.mean()) == pytest.approx(0.001, abs=2e-4)
    assert float(weights.std()) == pytest.approx(0.02, rel=0.01)
    pixels = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    torch.testing.assert_close(model.prepare(pixels), pixels / 255)
    again = mlp_pairs.first_weights(recipes.mlp3_contrastive().replace(seed=1))
    assert not torch.equal(next(model.parameters()), next(again.parameters()))


def test_a_training_starts_from_their_weights(tmp_path):
    recipe = small(mlp_pairs.theirs(Experiment(tmp_path), 3, 0))
    parts = build(resolve_defaults(recipe), load_images(recipe))
    first = mlp_pairs.first_weights(recipe)
    assert all(torch.equal(a, b) for a, b in zip(parts.state.model.parameters(), first.parameters(), strict=True))
    assert (parts.state.model.config["mean"], parts.state.model.config["std"]) == ([0.0], [1.0])


@pytest.mark.parametrize("label", list(mlp_pairs.rows(Experiment(Path()))))
def test_the_similarity_of_a_pair_is_the_same_both_ways(label):
    """S(a, b) = S(b, a), bit for bit, for every network and similarity of the comparison."""
    recipe = resolve_defaults(mlp_pairs.rows(Experiment(Path()))[label])
    torch.manual_seed(0)
    model = Embedder(recipe.network, shape=(1, 28, 28), dim=recipe.dim, normalize=bool(recipe.normalize)).eval()
    loss = losses.build(
        recipe.loss, sim=recipe.sim, dim=model.dim, classes=10, shape=model.shape, width=model.width, counts=[1] * 10
    )
    sim = getattr(loss, "sim", None) if "bce" in recipe.loss else spec.bind("sim", recipe.sim)
    emb_ND = model.embed(torch.randint(0, 256, (12, 1, 28, 28), dtype=torch.uint8))
    with torch.no_grad():
        forth, back = (sim(x[:, None], y[:, None]) for x, y in ((emb_ND[:6], emb_ND[6:]), (emb_ND[6:], emb_ND[:6])))
    torch.testing.assert_close(forth, back, rtol=1e-6, atol=1e-6)


# Experiments, whole, on little data.


@pytest.fixture
def tiny(monkeypatch):
    """Every recipe on a few digits, for two epochs."""

    def shrunk(make):
        def made() -> Recipe:
            recipe = make()
            kept = ",".join(map(str, epochs_of(recipe.snapshot_epochs, 2)))
            return small(recipe, epochs=2, snapshot_epochs=kept)

        return made

    for name in OURS:
        monkeypatch.setattr(recipes, name, shrunk(getattr(recipes, name)))


@pytest.mark.slow
def test_friends_is_written_up_from_its_runs(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(friends, "THEIRS", {"digits": friends.THEIRS["mnist"]})
    monkeypatch.setattr(friends, "TITLES", {"digits": "Digits"})
    monkeypatch.setattr(friends, "SERIES", (0, 1, 2))
    path = reproduce("friends", out=tmp_path)
    text = path.read_text()
    for part in (friends.introduction(Run(path.parent / "runs" / "digits-bce")), friends.their_words()):
        assert all(paragraph in text for paragraph in part)
    for loss in friends.LOSSES:
        assert f"| {loss} |" in text
    shown = re.findall(r"\]\(images/forerunners/([^)]+)\)", text)
    assert len(shown) == 5
    assert all(0 < (path.parent / file).stat().st_size < 150_000 for file in shown)
    assert (path.parent / "runs" / "digits-bce" / "latent.gif").exists()
    lines = [r for r in Experiment(path.parent).run("digits-bce", Recipe()).records() if r["kind"] == "losses"]
    assert [r["epoch"] for r in lines] == [1, 2]
    before = {p: p.stat().st_mtime_ns for p in path.parent.rglob("metrics.json")}
    assert reproduce("friends", out=tmp_path, train=False).read_text() == text, "nothing is trained twice"
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_the_loss_on_a_part_is_the_loss_of_its_pairs():
    recipe = resolve_defaults(small(recipes.lenet_2d_contrastive()))
    parts = build(recipe, load_images(recipe))
    test = parts.images.part("test")
    emb_ND = parts.state.final.embed(test)
    (at,) = spec.bind("sampler", recipe.sampler)(test.labels, batch=len(test), seed=0, epoch=0)
    first, second = at.chunk(2)
    same_B = test.labels[first] == test.labels[second]
    d_B = (emb_ND[first] - emb_ND[second]).norm(dim=-1)
    wanted = (d_B[same_B] ** 2).mean() / 2 + ((1 - d_B[~same_B]).relu() ** 2).mean() / 2
    assert mean_loss(parts.state, test, recipe.sampler) == pytest.approx(float(wanted), rel=1e-4)
    assert parts.state.model.training


@pytest.mark.slow
def test_a_run_with_losses_goes_on_to_the_same_weights(tmp_path):
    recipe = small(recipes.lenet_2d_contrastive(), epochs=2, snapshot_epochs="0,1,2")
    whole = Experiment(tmp_path / "whole").run_with_losses("a", recipe)

    def cut(record):
        if record["kind"] == "losses":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Experiment(tmp_path / "cut", watch=cut).run_with_losses("a", recipe)
    again = Experiment(tmp_path / "cut").run_with_losses("a", recipe)
    a, b = (Embeddings.load(run.embeddings).vectors for run in (whole, again))
    assert torch.equal(a, b)
    assert [r["epoch"] for r in again.records() if r["kind"] == "losses"] == [1, 2]


@pytest.mark.slow
def test_the_epoch_series_is_written_up_from_its_runs(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(epoch_series, "SERIES", (0, 1, 2))
    monkeypatch.setattr(epoch_series, "EARLY", (1, 2))
    monkeypatch.setattr(epoch_series, "STEPS", 1)
    path = reproduce("epoch_series", out=tmp_path)
    text = path.read_text()
    assert "slower per epoch" in text
    assert len(re.findall(r"\]\(images/forerunners/", text)) == 5
    assert "CPU s per epoch" in text
    assert reproduce("epoch-series", out=tmp_path, train=False).read_text() == text


@pytest.mark.slow
def test_the_order_of_pairs_is_written_up_from_its_trainings(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(mlp_pairs, "SEEDS", 1)
    few = dict(list(mlp_pairs.rows(Experiment(Path())).items())[:2])
    monkeypatch.setattr(mlp_pairs, "rows", lambda experiment: few)
    path = reproduce("mlp-pairs", out=tmp_path)
    text = path.read_text()
    assert text.count("| 90.48 / 90.48 |") == text.count("| 80.09 / 80.00 |") == 1
    assert "Effect of the fourth layer" in text
    assert "after the same number of steps:" in text
    assert "mlp4-pairs, new classes" in text
    events = list((path.parent / "compare" / "runs").rglob("events.out.tfevents*"))
    assert events, "TensorBoard finds its events in the run folder"


@pytest.mark.slow
def test_tensorboard_reads_a_run_folder(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Experiment(tmp_path).run("a", small(recipes.mlp3_contrastive(), epochs=1))
    read = EventAccumulator(str(run.path / "tensorboard")).Reload()
    assert "train/loss" in read.Tags()["scalars"]
    lines = [r for r in run.records() if r["kind"] == "train"]
    assert [e.step for e in read.Scalars("train/loss")] == [r["step"] for r in lines]


# Words.


def test_their_command_line_is_ours():
    """Every name that the table gives is one, and its fields are read."""
    mapped = dict(friends.WORDS)
    for theirs, ours in mapped.items():
        word = ours.strip("`")
        if word.startswith("lenet-2d"):
            assert word.replace("-", "_") in spec.names("recipe"), theirs
    assert {name.replace("_", "-") for name, _ in list(friends.LOSSES.values())[:4]} <= {
        o.strip("`") for o in mapped.values()
    }
    settings = ["data=mnist", "lr=1e-4", "epochs=20", "sampler=pairs(batch=32)"]
    assert recipes.lenet_2d_contrastive().override(*settings) == recipes.lenet_2d_contrastive()
    assert recipes.lenet_2d_contrastive().override("data=fashion_mnist").data == "fashion_mnist"


def test_a_command_says_what_differs():
    shipped = recipes.lenet_2d_bce()
    assert command("lenet_2d_bce", shipped, shipped) == "likewise train lenet-2d-bce"
    changed = shipped.replace(data="fashion_mnist", sampler="pairs(batch=64)")
    assert command("lenet_2d_bce", shipped, changed).endswith('data=fashion_mnist "sampler=pairs(batch=64)"')


def test_numbers_are_told_with_their_intervals():
    assert score_text({"value": 0.95, "low": 0.9, "high": 1.0, "n": 3}) == "0.950 (0.900 – 1.000)"
    assert score_text(None) == "–"
    assert span([0.5, 0.6], 1, 100) == "55.0 (50.0 – 60.0)"
    assert span([0.5]) == "0.500"
    assert table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_a_family_of_curves_draws_a_name_alike_in_every_panel():
    one, two = Curve([0, 1], [1.0, 2.0]), Curve([0, 1], [3.0, 4.0])
    figure = plots.curves_family({"a": {"x": one, "y": two}, "b": {"y": one}}, xlabels=("epoch", "seconds"), columns=2)
    first, second = figure.axes
    assert [line.get_color() for line in first.lines][1] == second.lines[0].get_color()
    assert first.lines[1].get_ydata().tolist() == [3.0, 4.0]
    assert (first.get_xlabel(), second.get_xlabel()) == ("epoch", "seconds")
    assert [text.get_text() for text in figure.legends[0].texts] == ["x", "y"]


def test_when_a_value_is_first_reached():
    one = epoch_series.Followed([0, 1, 2], [0.0, 3.4, 6.8], [0.1, 0.9, 0.95], [-0.1, 0.2, 0.1])
    assert epoch_series.first(one, "neighbour", 0.9) == "1 (3 s)"
    assert epoch_series.first(one, "silhouette", 0.5) == "never"


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(SpecError, match="no experiment named 'friend'; did you mean friends"):
        reproduce("friend", out=tmp_path)
    for name in EXPERIMENTS:
        with pytest.raises(ValueError, match=f"run `likewise reproduce {name}` first"):
            reproduce(name, out=tmp_path, train=False)


def test_the_page_keeps_the_sections_that_were_not_run(tmp_path):
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from forerunners_page import gather
    finally:
        sys.path.pop(0)
    source, docs = tmp_path / "reproductions", tmp_path / "docs"
    (source / "friends").mkdir(parents=True)
    (source / "friends" / "a.png").write_bytes(b"x")
    (source / "friends" / "friends.md").write_text("## One\n\n![a](images/forerunners/a.png)\n")
    assert gather(source, docs) == ["friends"]
    page = docs / "forerunners.md"
    page.write_text(page.read_text() + "\nSomeone else's section.\n")
    (source / "friends" / "friends.md").write_text("## Two\n")
    gather(source, docs)
    text = page.read_text()
    assert "## Two" in text
    assert "## One" not in text
    assert "Someone else's section." in text
    assert (docs / "images" / "forerunners" / "a.png").exists()


def test_what_the_forerunners_page_shows_is_there_and_small():
    docs = ROOT / "docs"
    for file in re.findall(r"\]\((images/forerunners/[^)]+)\)", (docs / "forerunners.md").read_text(encoding="utf-8")):
        assert (docs / file).stat().st_size < 150_000, file


@pytest.mark.slow
def test_the_command_line_says_what_there_is(tmp_path):
    words = [sys.executable, "-m", "likewise", "reproduce", "frends", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean friends" in done.stderr


def test_each_part_of_the_older_experiments_is_written_in_order(monkeypatch, tmp_path):
    at = replay(monkeypatch, mlp_pairs, tmp_path)
    assert at == [("introduction",), *((name, EXPERIMENT) for name in ("of_orders", "of_compare", "of_reach"))]
    at = replay(monkeypatch, friends, tmp_path, trained=lambda experiment, data: {"a": data})
    first, *_ = friends.THEIRS
    parts = [("of_data", EXPERIMENT, data, {"a": data}) for data in friends.THEIRS]
    assert at == [("introduction", first), *parts, ("their_words",)]
    with pytest.raises(ValueError, match="holds no finished run; run `likewise reproduce friends` first"):
        replay(monkeypatch, friends, tmp_path, trained=lambda experiment, data: {})

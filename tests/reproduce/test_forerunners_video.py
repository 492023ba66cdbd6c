"""Video objects: the loss whose positive is the row's own, two networks, TLP's form, what is measured, the section."""

import json
import re
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.metrics import silhouette_samples

from likewise import losses, recipes
from likewise.evaluate import Embeddings
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.recipe import Recipe
from likewise.experiment.trial import loop
from likewise.losses.terms import BatchContext
from likewise.models import Embedder
from likewise.recipes.video_objects import own_positive
from likewise.reproduce import reproduce, video_measures, video_objects, video_picks, video_trainings
from likewise.reproduce.experiment import Experiment
from replayed import EXPERIMENT, replay

TRIPLETS = BatchContext(partners=2)
RECIPES = ("video_small", "video_alexnet")


def tlp(top: Path, videos: int, frames: int = 20, lost: tuple[int, ...] = (3,)) -> Path:
    """Videos in TLP's form of a square that moves, each of a colour of its own."""
    for v in range(videos):
        folder = top / f"Video{v + 1}"
        (folder / "img").mkdir(parents=True)
        lines = []
        for n in range(1, frames + 1):
            picture = Image.new("RGB", (60, 40), (40, 40, 4 * n))
            picture.paste((255 * v // videos, 80, 255 - 9 * n), (n, 8, n + 16, 28))
            picture.save(folder / "img" / f"{n:05d}.png")
            lines.append(f"{n},{n},8,16,20,{int(n in lost)}")
        (folder / "groundtruth_rect.txt").write_text("\n".join(lines) + "\n")
    return top


def of_folder(recipe: Recipe, top: Path, **changes) -> Recipe:
    data = f"tracking(path={str(top)!r}, every=1)"
    return recipe.replace(data=data, size=64, sampler="triplets(batch=8)", amp="never", **changes)


def two_steps(recipe: Recipe) -> None:
    parts = build(resolve_defaults(recipe), load_images(recipe))
    before = [p.detach().clone() for p in parts.state.model.parameters()]
    *_, last = islice(loop(parts), 2)
    assert last.step == 2
    assert torch.isfinite(last.loss)
    assert any(not torch.equal(a, b) for a, b in zip(before, last.model.parameters(), strict=True))


# The loss.


def batch_of(rows: int = 12, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    label_N = torch.arange(rows) % classes
    return torch.randn(3 * rows, 2, dtype=torch.float64), torch.cat([label_N, label_N, (label_N + 1) % classes])


def listed(emb, labels, margin, pick, blind=False) -> list[list[float]]:
    """The losses of each anchor's picked triplets, by loops."""
    n, found = len(emb) // 3, []
    for i in range(n):
        near = float((emb[i] - emb[n + i]).square().sum())
        others = [j for j in range(2 * n, 3 * n) if blind or labels[j] != labels[i]]
        far = sorted(float((emb[i] - emb[j]).square().sum()) for j in others)
        if pick == "hard":
            far = far[:1]
        elif pick == "semihard":
            far = [f for f in far if near < f < near + margin]
        found.append([max(0.0, near - f + margin) for f in far])
    return found


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("pick", ["hard", "semihard", "all"])
def test_the_loss_is_the_mean_over_the_picked_triplets(pick, blind):
    emb, labels = batch_of()
    rows = listed(emb, labels, 2.0, pick, blind)
    picked = [x for row in rows for x in row if x > 0 or pick == "hard"]
    assert 3 < len(picked) < 12 * 12
    ours = own_positive(margin=2.0, pick=pick, blind=blind)(emb, labels, TRIPLETS)
    assert float(ours) == pytest.approx(sum(picked) / len(picked), rel=1e-9)


def test_by_hand():
    """Anchor 0 at 0 with its positive at 1: its own negative, at 3, is farther than that of the other row, at 2."""
    emb = torch.tensor([[0.0], [5.0], [1.0], [5.0], [3.0], [2.0]])
    labels = torch.tensor([0, 1, 0, 1, 2, 2])
    # Row 0: 1 - 4 + 5 = 2. Row 1: its nearest negative is at 3, 0 - 4 + 5 = 1.
    assert float(own_positive(margin=5.0, pick="hard")(emb, labels, TRIPLETS)) == pytest.approx(1.5)


def test_a_negative_of_the_anchors_class_is_none_unless_blind():
    """What was drawn for another row may be of this row's class."""
    emb = torch.tensor([[0.0], [9.0], [1.0], [9.0], [3.0], [0.0]])
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    assert float(own_positive(margin=9.0, pick="hard")(emb, labels, TRIPLETS)) == pytest.approx((1 - 9 + 9) / 2)
    assert float(own_positive(margin=9.0, pick="hard", blind=True)(emb, labels, TRIPLETS)) == pytest.approx(10 / 2)


def test_random_hard_draws_each_violating_negative_and_no_other():
    emb = torch.tensor([[0.0], [7.0], [7.0], [7.0], [1.0], [7.0], [7.0], [7.0], [1.5], [2.0], [5.0], [1.2]])
    labels = torch.tensor([0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0])
    torch.manual_seed(0)
    loss = own_positive(margin=4.0, pick="random-hard")
    seen = {round(float(loss(emb, labels, TRIPLETS)), 4) for _ in range(60)}
    # Anchor 0: 1 - 2.25 + 4 and 1 - 4 + 4; that at 5 does not violate, that at 1.2 is of its class. The others have
    # their positive at hand and one negative, the last, far beyond the margin.
    assert seen == {2.75, 1.0}


def test_the_loss_says_what_it_takes():
    emb, labels = batch_of()
    with pytest.raises(ValueError, match="give sampler='triplets"):
        own_positive()(emb, labels, BatchContext())
    with pytest.raises(ValueError, match="give sampler='triplets"):
        own_positive()(emb, labels)
    with pytest.raises(ValueError, match="pick is one of"):
        own_positive(pick="hardest")(emb, labels, TRIPLETS)
    assert own_positive(margin=0.5).at_collapse() == 0.5
    built = losses.build(recipes.video_small().loss, sim="sqeuclidean", dim=2, classes=3)
    notes = BatchContext(partners=2)
    emb.requires_grad_()
    built(emb, labels, notes).backward()
    assert emb.grad is not None
    assert 0 < float(notes.notes["active"]) <= 1
    same = torch.zeros(36, 2)
    assert float(own_positive(margin=0.5, pick="hard")(same, labels, BatchContext(partners=2))) == 0.5


# The networks and their recipes.


def test_their_networks():
    small = recipes.video_small()
    shapes = [tuple(p.shape) for p in Embedder(small.network, shape=(3, 200, 200), dim=2).parameters() if p.ndim > 1]
    assert shapes == [(32, 3, 5, 5), (64, 32, 5, 5), (64, 64 * 47 * 47), (32, 64), (2, 32)]
    alexnet = recipes.video_alexnet()
    assert (alexnet.network, alexnet.dim, alexnet.size, alexnet.epochs) == ("alexnet", 2, 200, 5)


def test_torchvisions_weights_load_by_name(tmp_path):
    """Every layer of the published file but the last, whose 1,000 numbers make room for two."""
    theirs = Embedder("alexnet(width=32)", shape=(3, 64, 64), dim=1000).state_dict()
    named = {k.replace("backbone.", "").replace("head.linear", "classifier.6"): v for k, v in theirs.items()}
    save_file({k: v.contiguous() for k, v in named.items()}, tmp_path / "alexnet.safetensors")
    recipe = of_folder(recipes.video_alexnet(), tlp(tmp_path / "TLP", 3), weights=str(tmp_path / "alexnet.safetensors"))
    recipe = recipe.replace(network="alexnet(width=32)")
    model = build(resolve_defaults(recipe), load_images(recipe)).state.model
    assert {"features.0.weight", "classifier.1.weight", "classifier.6.weight"} <= set(named)
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, named[name]), name
    assert model.dim == 2
    assert model.config["mean"] == pytest.approx([0.485, 0.456, 0.406])


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_trains_two_steps(name, tmp_path):
    recipe = of_folder(getattr(recipes, name)(), tlp(tmp_path, 3))
    two_steps(recipe.replace(network=recipe.network.replace("alexnet", "alexnet(width=32)")))


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_trains_two_steps_on_its_own_data(name, data_root):
    data_root("tracking-otb")
    two_steps(getattr(recipes, name)().replace(max_per_class=20))


@pytest.mark.parametrize(
    ("positive", "negative", "pick"),
    [("random", "other", "hard"), ("next", "other", "semihard"), ("next", "last", "random-hard")],
)
def test_every_kind_of_triplet_trains(positive, negative, pick, tmp_path):
    recipe = of_folder(recipes.video_small(), tlp(tmp_path, 3))
    data = video_trainings.respelled(recipe.data, background=negative == "last")
    sampler = f"triplets(batch=8, positive='{positive}', negative='{negative}')"
    two_steps(recipe.replace(data=data, sampler=sampler, loss=video_trainings.respelled(recipe.loss, pick=pick)))


# TLP's form, made of real frames.


@pytest.fixture
def real_tlp(data_root, tmp_path) -> Path:
    """Twelve sequences in TLP's form: each of OTB's three in four, frames counted anew, every ninth target lost."""
    otb = data_root("tracking-otb")
    for source in sorted(p for p in otb.iterdir() if p.is_dir()):
        rows = [
            [float(x) for x in re.split(r"[,\s]+", line.strip())]
            for line in (source / "groundtruth_rect.txt").read_text().splitlines()
        ]
        for piece in range(4):
            folder = tmp_path / "TLP" / f"{source.name}{piece + 1}"
            (folder / "img").mkdir(parents=True)
            numbers = range(piece * len(rows) // 4, (piece + 1) * len(rows) // 4)
            lines = []
            for new, old in enumerate(numbers, 1):
                shutil.copy(source / "img" / f"{old + 1:04d}.jpg", folder / "img" / f"{new:05d}.jpg")
                x, y, w, h = rows[old]
                lines.append(f"{new},{x - 1:g},{y - 1:g},{w:g},{h:g},{int(new % 9 == 0)}")
            (folder / "groundtruth_rect.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "TLP"


@pytest.mark.slow
def test_the_first_ten_sequences_of_a_tlp_set_train(real_tlp):
    """Ten by name of twelve, every third frame, the lost ones left out and counted."""
    data = f"tracking(path={str(real_tlp)!r}, sequences=10, every=3)"
    recipe = recipes.video_small().replace(data=data)
    images = load_images(recipe)
    assert images.classes == tuple(sorted(p.name for p in real_tlp.iterdir())[:10])
    assert images.shape == (3, 200, 200)
    # The frames 1, 4, 7 ...: none of them is a ninth, so none is lost; every frame has its ninths.
    assert not images.skipped
    lost = load_images(recipe.replace(data=data.replace("every=3", "every=1"))).skipped
    frames = [len(list((real_tlp / name / "img").iterdir())) for name in images.classes]
    assert len(lost) == sum(n // 9 for n in frames)
    assert {why for _, why in lost} == {"the target is lost"}
    for c, n in enumerate(frames):
        kept = -(-n // 3)
        assert int(((images.labels == c) & (images.split == 0)).sum()) == int(kept * 0.9)
        assert int((images.labels == c).sum()) == kept
    two_steps(recipe)
    two_steps(recipe.replace(sampler="triplets(batch=16, positive='next')", loss="triplet(pick='hard')"))


@pytest.mark.slow
def test_three_and_ten_sequences_are_judged_in_every_split(real_tlp):
    for sequences in (3, 10):
        for parts in video_trainings.PARTS:
            recipe = recipes.video_small().replace(
                data=f"tracking(path={str(real_tlp)!r}, sequences={sequences}, every=4, parts={parts!r})", size=32
            )
            found = video_measures.judged(video_measures.pixels(load_images(recipe)))
            assert {"train", "silhouette", "knn@1"} <= set(found) <= {"train", *video_measures.SCORES}
            assert parts != "sequences" or "map@r" in found, "of short sequences one frame alone is held out"
            assert all(-1 <= value <= 1 for value in found.values())


# What is measured.


def on_a_line(positions, labels, split, classes=("a", "b", "c")) -> Embeddings:
    vectors = torch.tensor(positions)[:, None]
    ids = tuple(map(str, range(len(labels))))
    return Embeddings(vectors, torch.tensor(labels), ids, torch.tensor(split, dtype=torch.uint8), classes)


def test_known_videos_are_judged_against_the_training_crops():
    found = on_a_line([0.0, 1.0, 10.0, 11.0, 0.5, 7.0, 10.5], [0, 0, 1, 1, 0, 0, 1], [0, 0, 0, 0, 2, 2, 2])
    judged = video_measures.judged(found)
    assert judged["knn@1"] == pytest.approx(2 / 3), "that at 7 is nearest to 10"
    assert judged["map@r"] == pytest.approx(1 / 2), "of the two with company held out, 0.5 finds 7, and 7 finds 10.5"
    wanted = silhouette_samples(found.vectors[4:].numpy(), found.labels[4:].numpy()).mean()
    assert judged["silhouette"] == pytest.approx(wanted)
    assert judged["train"] == pytest.approx(silhouette_samples([[0], [1], [10], [11]], [0, 0, 1, 1]).mean())


def test_new_videos_are_judged_among_all_crops():
    positions, labels = [0.0, 1.0, 10.0, 11.0, 5.0, 5.5, 10.4], [0, 0, 1, 1, 2, 2, 2]
    judged = video_measures.judged(on_a_line(positions, labels, [0, 0, 0, 0, 2, 2, 2]))
    assert judged["knn@1"] == pytest.approx(2 / 3), "that at 10.4 is nearest to 10"
    wanted = silhouette_samples(torch.tensor(positions)[:, None].numpy(), labels)[4:].mean()
    assert judged["silhouette"] == pytest.approx(wanted)


def test_background_is_no_class_of_the_measures():
    base = ([0.0, 1.0, 10.0, 11.0, 0.5, 0.7, 10.5], [0, 0, 1, 1, 0, 0, 1], [0, 0, 0, 0, 2, 2, 2])
    more = tuple(a + b for a, b in zip(base, ([0.2, 0.4], [2, 2], [0, 0]), strict=True))
    with_it = on_a_line(*more, classes=("a", "b", "background"))
    assert video_measures.judged(with_it) == video_measures.judged(on_a_line(*base))


def test_their_silhouette_counts_the_crop_itself():
    torch.manual_seed(0)
    vectors, labels = torch.randn(30, 2), torch.arange(30) % 3
    ours = video_measures.silhouette_over_all(vectors, labels)
    for i in range(30):
        far = (vectors.double() - vectors[i].double()).norm(dim=1)
        means = [float(far[labels == c].sum() / 10) for c in range(3)]
        a = means.pop(int(labels[i]))
        assert float(ours[i]) == pytest.approx((min(means) - a) / max(a, min(means)), abs=1e-6)
    assert float(ours.mean()) > silhouette_samples(vectors.numpy(), labels.numpy()).mean()


def test_settings_are_chosen_without_the_end_of_a_video(tmp_path):
    recipe = of_folder(recipes.video_small(), tlp(tmp_path, 2, frames=40, lost=()))
    images = video_measures.inner(load_images(recipe))
    for c in range(2):
        of_c = images.take((images.labels == c).nonzero()[:, 0])
        frames = {part: [int(i[-5:]) for i in of_c.part(part).ids] for part in ("train", "test")}
        assert frames == {"train": list(range(1, 29)), "test": list(range(33, 37))}


def test_how_far_a_crop_is_away():
    """Of the same video where there is one, else of any."""
    found = on_a_line([0.0, 4.0, 10.0, 3.0, 9.0, 6.0], [0, 0, 1, 0, 1, 0], [0, 0, 0, 2, 2, 2])
    assert video_measures.away(found) == pytest.approx((1 + 1 + 2) / 3)
    new = replace(found, labels=torch.tensor([0, 0, 1, 2, 2, 2]))
    assert video_measures.away(new) == pytest.approx((1 + 1 + 2) / 3)
    other = replace(found, labels=torch.tensor([0, 0, 1, 0, 1, 1]))
    assert video_measures.away(other) == pytest.approx((1 + 1 + 4) / 3), "a nearer crop of another video does not count"


def test_the_scale_of_distances():
    """Along each video 0, 1, 3 and 10, 14: steps of 1, 2 and 4, two videos 10 and more apart."""
    found = on_a_line([0.0, 1.0, 3.0, 10.0, 14.0], [0, 0, 0, 1, 1], [0, 0, 0, 0, 2])
    scale = video_measures.scale(found)
    assert scale.following == pytest.approx((1 + 2 + 4) / 3)
    assert scale.same == pytest.approx((1 + 3 + 2 + 4) / 4)
    assert scale.different == pytest.approx((10 + 9 + 7 + 14 + 13 + 11) / 6)
    assert scale.random in (1, 2, 4), "one crop, and the nearest other one of its video"


def test_a_name_respelled():
    assert video_trainings.respelled("tracking(every=2)", parts="gap") == "tracking(every=2, parts='gap')"
    assert video_trainings.respelled("triplets", batch=4) == "triplets(batch=4)"
    base = recipes.video_small()
    assert video_trainings.divided(base, "temporal") == base


# The experiment, whole, on little data.


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    top = tlp(tmp_path / "TLP", 3)
    small, alexnet = recipes.video_small(), recipes.video_alexnet().replace(network="alexnet(width=32)")
    for name, recipe in (("video_small", small), ("video_alexnet", alexnet)):
        made = of_folder(recipe, top, epochs=1)
        monkeypatch.setattr(recipes, name, lambda made=made: made)
    monkeypatch.setattr(video_trainings, "SEEDS", 2)
    monkeypatch.setattr(video_objects, "GRID", video_objects.GRID[:1])


@pytest.mark.slow
def test_video_objects_is_written_up_from_its_trainings(tiny, tmp_path):
    said: list[str] = []
    path = reproduce("video-objects", out=tmp_path / "out", say=said.append)
    text = path.read_text()
    for words in ("| Small | 0.348 | 0.058 |", "| AlexNet | 0.134 | 0.235 |", "labels ignored", "next frame"):
        assert words in text
    assert all(paragraph in text for paragraph in video_objects.slips())
    for pick in video_picks.PICKS:
        assert f"| {pick} |" in text
    for where in video_trainings.PARTS.values():
        assert f"| {where} |" in text
    shown = re.findall(r"\]\(images/forerunners/([^)]+)\)", text)
    assert len(shown) == 4
    assert all(0 < (path.parent / file).stat().st_size < 150_000 for file in shown)
    assert len(said) == len(set(said)) == 12 + 2 + 4 + 3, "seeds and splits, settings, picks, other triplets"
    again: list[str] = []
    assert reproduce("video-objects", out=tmp_path / "out", say=again.append).read_text() == text
    assert reproduce("video-objects", out=tmp_path / "out", train=False).read_text() == text
    assert not again, "nothing is trained twice"


def test_an_interrupted_experiment_keeps_what_it_has(tiny, tmp_path):
    def cut(name: str) -> None:
        if name == "temporal-Small-seed1":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        reproduce("video-objects", out=tmp_path / "out", say=cut)
    kept = tmp_path / "out" / "video-objects" / "embeddings"
    assert [p.name for p in kept.iterdir()] == ["temporal-Small-seed0.parquet"]
    experiment = Experiment(kept.parent, train=False)
    assert [len(video_trainings.seeds(experiment, "Small", "temporal"))] == [1]
    with pytest.raises(ValueError, match="run `likewise reproduce video-objects` first"):
        reproduce("video-objects", out=tmp_path / "out", train=False)


@pytest.mark.parametrize(
    ("small", "alexnet", "text"),
    [
        ((0.5, 0.6), (0.4, 0.5), "ours by seed +0.100, +0.100: the same network is ahead with every seed."),
        ((0.3, 0.3), (0.4, 0.5), "ours by seed -0.100, -0.200: the same network is ahead with every seed."),
        ((0.5, 0.3), (0.4, 0.5), "ours by seed +0.100, -0.200: which network is ahead depends on the seed."),
    ],
)
def test_which_network_is_ahead_seed_by_seed(monkeypatch, small, alexnet, text):
    monkeypatch.setattr(video_objects, "judged", lambda silhouette: {"train": silhouette})
    assert video_objects.verdict({"Small": small, "AlexNet": alexnet}).endswith(text)


def test_each_part_of_video_objects_is_written_in_order(monkeypatch, tmp_path):
    at = replay(monkeypatch, video_objects, tmp_path, seeds=lambda experiment, name, parts: [f"{parts}-{name}"])
    first = {name: [f"temporal-{name}"] for name in video_trainings.NETWORKS}
    images = dict.fromkeys(video_trainings.PARTS, "load_images")
    main = {parts: {name: [f"{parts}-{name}"] for name in video_trainings.NETWORKS} for parts in video_trainings.PARTS}
    assert at == [
        ("introduction", EXPERIMENT, "load_images"), ("crops", "load_images"), ("of_settings", EXPERIMENT),
        ("of_their_measure", EXPERIMENT, first), ("of_splits", images, main), ("of_picks", EXPERIMENT), ("slips",),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="lacks trainings; run `likewise reproduce video-objects` first"):
        replay(monkeypatch, video_objects, tmp_path, seeds=lambda experiment, name, parts: [])


def test_trainings_are_kept_beside_one_another(tmp_path):
    emb = Embeddings(torch.eye(2), torch.tensor([0, 1]), ("a", "b"), torch.zeros(2, dtype=torch.uint8), ("x", "y"))
    experiment = Experiment(tmp_path, train=False)
    for name, seconds in (("one", 1.26), ("two", 2.0), ("one", 3.04)):
        assert video_trainings.written(experiment, name, emb, seconds) is emb
    assert json.loads((tmp_path / "seconds.json").read_text()) == {"one": 3.0, "two": 2.0}
    assert sorted(p.name for p in (tmp_path / "embeddings").iterdir()) == ["one.parquet", "two.parquet"]
    assert video_trainings.learned(experiment, "one", Recipe()).ids == ("a", "b")
    assert video_trainings.learned(experiment, "three", Recipe()) is None

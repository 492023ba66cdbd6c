"""heytitle/siamese-net-and-friends: one small network to a plane, four losses and the VAE it planned, two data sets."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.experiment.build import load_images
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.metrics.neighbours import nearest
from likewise.reproduce.experiment import Experiment
from likewise.reproduce.section import Section, score_text
from likewise.spec import bind
from likewise.viz import plots
from likewise.viz.animation import animate
from likewise.viz.pages.run_data import snapshots
from likewise.viz.plots import Cloud, Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LOSSES", "run"]

# Ratio of our loss to theirs: theirs halves the contrastive loss once more, averaging over all pairs.
OVER_THEIRS = {"contrastive": 2.0}

# name: (our recipe, their name of the network)
LOSSES = {
    "softmax": ("lenet_2d_softmax", "embedding-classification"),
    "contrastive": ("lenet_2d_contrastive", "siamese-constrastive"),
    "bce": ("lenet_2d_bce", "siamese-binary-cross-entropy"),
    "triplet": ("lenet_2d_triplet", "tripet-loss-net"),
    "vae": ("lenet_2d_vae", "VAE (planned)"),
}
# Final losses, training / test, read off their plots to about 3 %.
THEIRS = {
    "mnist": {
        "softmax": ("0.20", "0.22"),
        "contrastive": ("0.0063", "0.0097"),
        "bce": ("0.037", "0.068"),
        "triplet": ("0.019", "0.030"),
    },
    "fashion_mnist": {
        "softmax": ("0.55", "0.58"),
        "contrastive": ("0.028", "0.034"),
        "bce": ("0.241", "0.269"),
        "triplet": ("0.082", "0.092"),
    },
}
TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}
SCORES = ("knn@1", "probe", "silhouette", "pair_accuracy", "pair_auc", "eer")
MOVING = "bce"  # the loss of their animation
POINTS = 2_000  # points per panel
SERIES = (0, 1, 2, 5, 10, 20)


def run(experiment: Experiment) -> Path:
    """Train what is missing, in the order of data sets and losses, and write the section. Errors: see `reproduce`."""
    runs_by_data = {data: trained(experiment, data) for data in THEIRS}
    finished = [one for runs in runs_by_data.values() for one in runs.values()]
    if not finished:
        raise ValueError(f"{experiment.folder} holds no finished run; run `likewise reproduce friends` first")
    section = Section("friends", experiment.folder)
    section.say(*introduction(finished[0]))
    for data, runs in runs_by_data.items():
        if runs:
            of_data(section, experiment, data, runs)
    section.say(*their_words())
    return section.write()


def recipe_of(experiment: Experiment, loss: str, data: str) -> Recipe:
    return experiment.recipe(LOSSES[loss][0]).replace(data=data)


def trained(experiment: Experiment, data: str) -> dict[str, Run]:
    """The runs of a data set that are finished, by loss."""
    runs = {loss: experiment.run_with_losses(f"{data}-{loss}", recipe_of(experiment, loss, data)) for loss in LOSSES}
    return {loss: run for loss, run in runs.items() if run is not None}


def introduction(one: Run) -> list[str]:
    data, recipe = one.metrics()["data"], one.recipe
    return [
        "## Siamese net and friends",
        "After heytitle/siamese-net-and-friends: a network of 35,729 parameters (6@5, 16@5, 256-128-2, PReLU) embeds "
        "an image in two dimensions; Adam at 1e-4, batches of 32, 20 epochs; four losses, two data sets. The VAE it "
        "planned but never added is included here.",
        f"Theirs trains on all 60,000 images and monitors the test images; ours trains on {data['train']:,} for "
        f"{recipe.epochs} epochs, holds out {data['val']:,} for choosing thresholds, and evaluates the test images "
        "once, at the end. Ours also standardizes pixels to mean 0 and standard deviation 1. Seed 0; training times "
        "are for one core of a machine that was also doing other work. Known bugs in the original: the network "
        "stays on the CPU while batches move to the GPU, `--animation False` turns the animation on, and the "
        "animation omits the last epoch and rescales its axes in every frame.",
    ]


def of_data(section: Section, experiment: Experiment, data: str, runs: Mapping[str, Run]) -> None:
    """Tables and images of one data set."""
    section.say(f"### {TITLES[data]}")
    section.say("Their measure, the mean loss of the last epoch over training / test images:")
    section.rows(["loss", "theirs", "ours", "loss at collapse"], [losses_row(data, *one) for one in runs.items()])
    section.say(
        "Standard metrics on the test images, with 95 % intervals. Downstream classification is `knn@1` (the nearest "
        "training image's class) and `probe` (logistic regression on the two numbers); pairs are classified at the "
        "threshold chosen on validation pairs."
    )
    section.rows(["loss", *SCORES, "training, s"], [scores_row(loss, run) for loss, run in runs.items()])
    section.say("```sh\n" + "\n".join(commands(experiment, data, runs)) + "\n```")
    section.figure(f"{data}-losses", losses_figure(runs), f"Loss on training and on test images, {TITLES[data]}")
    section.figure(f"{data}-maps", maps_figure(runs), f"Training images above, test images below, {TITLES[data]}")
    if MOVING in runs:
        section.figure(f"{data}-development", development(runs[MOVING]), f"{MOVING} on {TITLES[data]}, test images")
        animate(runs[MOVING].path)
        section.say(f"Animated, one frame per epoch: `likewise animate {data}-{MOVING}` (`--mp4`).")
    section.say("Reverse image search: a test image of each class and its five nearest training images.")
    for loss in ("contrastive", "vae"):
        if loss in runs:
            images = load_images(recipe_of(experiment, loss, data))
            section.figure(f"{data}-search-{loss}", search(runs[loss], images), f"{loss}, {TITLES[data]}")


def losses_row(data: str, loss: str, run: Run) -> list[str]:
    last = [record for record in run.records() if record["kind"] == "losses"][-1]
    by = OVER_THEIRS.get(loss, 1.0)
    theirs = " / ".join(THEIRS[data][loss]) if loss in THEIRS[data] else "–"
    at_collapse = run.metrics()["loss_at_collapse"]
    ours = " / ".join(f"{last[side] / by:.3g}" for side in ("train_loss", "test_loss"))
    return [loss, theirs, ours, "–" if at_collapse is None else f"{at_collapse / by:.3g}"]


def scores_row(loss: str, run: Run) -> list[str]:
    metrics = run.metrics()
    return [loss, *(score_text(metrics["scores"].get(name)) for name in SCORES), f"{metrics['seconds']:.0f}"]


def commands(experiment: Experiment, data: str, runs: Mapping[str, Run]) -> list[str]:
    """One command per run; the recipes have seed 0."""
    return [experiment.command(LOSSES[loss][0], recipe_of(experiment, loss, data)) for loss in runs]


def losses_figure(runs: Mapping[str, Run]) -> "Figure":
    panels = {}
    for loss, run in runs.items():
        lines = [record for record in run.records() if record["kind"] == "losses"]
        by, epochs = OVER_THEIRS.get(loss, 1.0), [line["epoch"] for line in lines]
        panels[loss] = {
            side: Curve(epochs, [line[f"{side}_loss"] / by for line in lines]) for side in ("train", "test")
        }
    return plots.curves_family(panels)


def maps_figure(runs: Mapping[str, Run]) -> "Figure":
    """Training images in the first row, test images in the second."""
    embeddings = {loss: Embeddings.load(run.embeddings) for loss, run in runs.items()}
    panels = {f"{loss}, {part}": cloud(e.part(part)) for part in ("train", "test") for loss, e in embeddings.items()}
    return plots.maps(panels, columns=len(runs), side=1.9, shared=False, names=False)


def development(run: Run) -> "Figure":
    """Test images at some epochs, on shared axes."""
    by_epoch = snapshots(run)
    return plots.series(
        {f"epoch {epoch}": cloud(by_epoch[epoch].part("test")) for epoch in SERIES if epoch in by_epoch}, shared=True
    )


def cloud(part: Embeddings) -> Cloud:
    every = torch.arange(min(POINTS, len(part))) * len(part) // min(POINTS, len(part))
    shown = part.take(every)
    return Cloud(shown.vectors.numpy(), shown.labels.numpy(), shown.classes)


def search(run: Run, images: Images, count: int = 5) -> "Figure":
    """A test image of each class, and the training images nearest to it."""
    known, recipe = Embeddings.load(run.embeddings), run.recipe
    train, test = known.part("train"), known.part("test")
    first = [int((test.labels == c).nonzero()[0]) for c in test.labels.unique().tolist()]
    near = nearest(test.vectors[first], train.vectors, count, sim=bind("sim", recipe.sim))
    place = {name: i for i, name in enumerate(images.ids)}
    shown, titles = [], []
    for query, row in zip(first, near.place.tolist(), strict=True):
        shown += [place[test.ids[query]], *(place[train.ids[i]] for i in row)]
        titles += ["▸ " + test.classes[test.labels[query]], *(train.classes[train.labels[i]] for i in row)]
    return plots.batch_grid(images.batch(shown), titles, columns=2 * (count + 1), side=0.62)


# Their words, and ours.
WORDS = (
    ("`embedding-classification`", "`lenet-2d-softmax`"),
    ("`siamese-constrastive`", "`lenet-2d-contrastive`"),
    ("`siamese-binary-cross-entropy`", "`lenet-2d-bce`"),
    ("`tripet-loss-net`", "`lenet-2d-triplet`"),
    ("`MNIST`, `FashionMNIST`", "`data=mnist`, `data=fashion_mnist`"),
    ("`--lr 0.0001`", "`lr=1e-4`"),
    ("`--epochs 20`", "`epochs=20`"),
    ("`--batch-size 32`", '`"sampler=pairs(batch=32)"`, or `shuffled`, or `triplets`'),
    ("`--output ./tmp`", "`--out tmp`"),
    (
        "`--log-interval 50`",
        ("not needed: `metrics.jsonl` gets a line every quarter of a second and at the end of every epoch"),
    ),
    ("`--animation True`", "`likewise animate RUN` after training; the recipes save every epoch"),
)


def their_words() -> list[str]:
    lines = ["| theirs | ours |", "|---|---|", *(f"| {theirs} | {ours} |" for theirs, ours in WORDS)]
    return [
        "### Their command line and ours",
        "\n".join(lines),
        "So `train.py siamese-constrastive MNIST --lr 0.0001 --epochs 20 --batch-size 32 --output ./tmp --animation "
        "True` is",
        '```sh\nlikewise train lenet-2d-contrastive data=mnist lr=1e-4 epochs=20 "sampler=pairs(batch=32)" --out tmp\n'
        "likewise animate tmp/lenet-2d-contrastive\n```",
        "and then `likewise predict tmp/lenet-2d-contrastive image.png` predicts the class of an image and lists its "
        "nearest training images.",
    ]

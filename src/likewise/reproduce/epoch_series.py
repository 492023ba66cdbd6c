"""A classifier against a siamese network in the plane, epoch by epoch, with the triplet variant."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import torch

from likewise.data.images import Images
from likewise.evaluate import Embeddings, evaluate
from likewise.experiment import trial
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.recipe import Recipe
from likewise.experiment.records import DataRecord, ScoreRecord
from likewise.experiment.run import Run
from likewise.geometry import euclidean
from likewise.metrics.classification import probe, vote
from likewise.metrics.clustering import silhouette
from likewise.metrics.neighbours import nearest
from likewise.reproduce.experiment import Experiment
from likewise.reproduce.section import Section, load_json, save_json, score_text
from likewise.viz import plots
from likewise.viz.pages.run_data import snapshots
from likewise.viz.plots import Cloud, Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["METHODS", "run"]

METHODS = {"classifier": "series_cnn", "siamese": "series_siamese", "triplet": "series_triplet"}
SERIES = (0, 1, 2, 5, 10, 20, 50)
EARLY = (1, 2, 5)
SCORES = ("knn@1", "silhouette", "pair_accuracy", "pair_auc", "eer", "probe")
NEIGHBOUR_AT, SILHOUETTE_AT = (0.90, 0.95), (0.5, 0.6)  # levels of separation
ROUNDS, STEPS = 5, 40  # of the timing
POINTS = 1_000


class Followed(NamedTuple):
    """Scores of a method by epoch, by Euclidean distance between held-out images."""

    epoch: list[int]
    seconds: list[float]
    neighbour: list[float]  # knn@1
    silhouette: list[float]


def run(experiment: Experiment) -> Path:
    """Train what is missing and write the section. Errors: see `reproduce`."""
    runs = {name: experiment.run(name, experiment.recipe(recipe)) for name, recipe in METHODS.items()}
    there = {name: run for name, run in runs.items() if run is not None}
    if len(there) < len(METHODS):
        raise ValueError(f"{experiment.folder} lacks finished runs; run `likewise reproduce epoch-series` first")
    section = Section("epoch-series", experiment.folder)
    section.say(*introduction(there["classifier"].metrics()["data"]))
    section.say("```sh\n" + "\n".join(map(experiment.command, METHODS.values())) + "\n```")
    section.figure(
        "epochs", epochs_figure(there), "Test images before training and after 1, 2, 5, 10, 20 and 50 epochs"
    )
    write_scores(section, experiment, there)
    for name, one in there.items():
        section.figure(f"regions-{name}", regions(one), f"{name}: decision regions of logistic regression")
    write_speed(section, experiment, there)
    return section.write()


def introduction(data: DataRecord) -> list[str]:
    return [
        "## A classifier against a siamese network",
        "After a small study on MNIST that shows plots but reports no figures: two convolutions and two dense layers "
        "with a 2-d embedding, trained once with a 10-way linear classifier on the embedding, and once as a siamese "
        "network with half of the pairs from the same class. Its learning rate, batch size and margin are not "
        "published; here they are 1e-3 (Adam), 128 and 1. The triplet variant, which it leaves as future work, is "
        "the third row.",
        (
            f"Seed 0. Trained on {data['train']:,} images; another {data['val']:,} are held out for choosing the pair "
            "threshold."
        ),
    ]


def epochs_figure(runs: Mapping[str, Run]) -> "Figure":
    """Methods are rows, epochs are columns, each panel at its own scale."""
    panels: dict[str, Cloud] = {}
    for name, one in runs.items():
        by_epoch = snapshots(one)
        panels |= {f"{name}, {epoch}": cloud(by_epoch[epoch].part("test")) for epoch in SERIES if epoch in by_epoch}
    return plots.maps(panels, columns=len(panels) // len(runs), side=1.5, shared=False, names=False)


def cloud(part: Embeddings) -> Cloud:
    shown = part.take(torch.arange(min(POINTS, len(part))) * len(part) // min(POINTS, len(part)))
    return Cloud(shown.vectors.numpy(), shown.labels.numpy(), shown.classes)


def write_scores(section: Section, experiment: Experiment, runs: Mapping[str, Run]) -> None:
    """Scores by Euclidean distance, the subject of the study's claims; the classifier also by angle."""
    path = experiment.folder / "euclidean.json"
    results = load_json(path) or save_json(path, {name: by_distance(one) for name, one in runs.items()})
    rows = [[f"{name}, by distance", *(score_text(scores.get(s)) for s in SCORES)] for name, scores in results.items()]
    own = runs["classifier"].metrics()["scores"]
    rows.insert(1, ["classifier, by angle", *(score_text(own.get(s)) for s in SCORES)])
    section.say(
        "After the last epoch, on all test images, with 95 % intervals. `probe` is their simple classifier, logistic "
        "regression on the embedding. A classifier spreads its classes along rays, so its embedding is also scored "
        "by angle."
    )
    section.rows(["embedding", *SCORES], rows)
    section.say(*claims_of_space(results))


def by_distance(one: Run) -> dict[str, ScoreRecord]:
    """Scores by Euclidean distance; the run's own if it was trained for it."""
    if one.recipe.sim == "euclidean":
        return {name: score for name, score in one.metrics()["scores"].items() if name in SCORES}
    results = Embeddings.load(one.embeddings)
    scores = evaluate(results.part("test"), results.part("train"), sim="euclidean", val=results.part("val"))
    there = {name: scores[name] for name in SCORES if name in scores}
    return {name: ScoreRecord(value=s.value, low=s.low, high=s.high, n=s.n) for name, s in there.items()}


def claims_of_space(results: Mapping[str, Mapping[str, ScoreRecord]]) -> list[str]:
    """The two claims about the embedding space, with evidence."""
    cnn, siamese = results["classifier"], results["siamese"]
    better = [name for name in ("knn@1", "silhouette", "pair_auc") if siamese[name]["low"] > cnn[name]["high"]]
    verdict = "holds" if len(better) == 3 else f"holds for {', '.join(better)}" if better else "does not show"
    apart = siamese["probe"]["value"] - cnn["probe"]["value"]
    return [
        f"- *The siamese network separates better in L2.* The claim {verdict}: silhouette "
        f"{siamese['silhouette']['value']:.3f} against {cnn['silhouette']['value']:.3f}, pair_auc "
        f"{siamese['pair_auc']['value']:.3f} against {cnn['pair_auc']['value']:.3f}, knn@1 "
        f"{siamese['knn@1']['value']:.3f} against {cnn['knn@1']['value']:.3f}.\n- *The classifier's embedding is "
        f"linearly separable, but not a metric.* Logistic regression reaches {cnn['probe']['value']:.3f} on it and "
        f"{siamese['probe']['value']:.3f} on the siamese one ({apart:+.3f}); pair accuracy by distance is "
        f"{cnn['pair_accuracy']['value']:.3f} and {siamese['pair_accuracy']['value']:.3f}."
    ]


def regions(one: Run) -> "Figure":
    """Decision regions of logistic regression on training embeddings, with some test images."""
    results = Embeddings.load(one.embeddings)
    train, test = results.part("train"), results.part("test")
    fitted = probe(train.vectors, train.labels)
    accuracy = float((torch.from_numpy(fitted.predict(test.vectors.numpy())) == test.labels).float().mean())
    return plots.decision_regions(cloud(test), fitted, title=f"test accuracy {accuracy:.3f}")


def follow(one: Run, cost: float) -> Followed:
    """knn@1 of 2,000 test images among 2,000 training images, and the silhouette of the former, at every epoch.

    cost: CPU seconds of an epoch; wall-clock time would depend on the load of the machine.
    """
    results = [(epoch, epoch * cost, *measured(by_epoch)) for epoch, by_epoch in snapshots(one).items()]
    return Followed(*map(list, zip(*results, strict=True)))


def measured(by_epoch: Embeddings) -> tuple[float, float]:
    train, test = by_epoch.part("train"), by_epoch.part("test")
    named = vote(nearest(test.vectors, train.vectors, 1, sim=euclidean), train.labels, 1)
    return float((named == test.labels).float().mean()), float(silhouette(test.vectors, test.labels).mean())


def write_speed(section: Section, experiment: Experiment, runs: Mapping[str, Run]) -> None:
    path = experiment.folder / "cost.json"
    cost = load_json(path) or save_json(path, cost_of_epochs(experiment))
    followed = {name: follow(one, cost[name]) for name, one in runs.items()}
    section.figure("curves", curves(followed), "How fast classes separate: by epoch, and by CPU seconds of training")
    section.say(
        "By distance, on 2,000 test images (knn@1 among 2,000 training images): the first epoch that reaches each "
        "value, and the training time up to it."
    )
    goals = [*(("neighbour", at) for at in NEIGHBOUR_AT), *(("silhouette", at) for at in SILHOUETTE_AT)]
    head = ["method", *(f"{'knn@1' if kind == 'neighbour' else kind} ≥ {at}" for kind, at in goals), "CPU s per epoch"]
    section.rows(
        head,
        [[name, *(first(one, kind, at) for kind, at in goals), f"{cost[name]:.2f}"] for name, one in followed.items()],
    )
    section.say(*claims_of_speed(followed, cost))


def first(one: Followed, kind: str, at: float) -> str:
    """`2 (11 s)`."""
    reached = next((i for i, value in enumerate(getattr(one, kind)) if value >= at), None)
    return "never" if reached is None else f"{one.epoch[reached]} ({one.seconds[reached]:.0f} s)"


def curves(followed: Mapping[str, Followed]) -> "Figure":
    panels, labels = {}, []
    for axis_title, axis in (("by epoch", "epoch"), ("by seconds", "seconds")):
        for score, kind in (("knn@1", "neighbour"), ("silhouette", "silhouette")):
            panels[f"{score}, {axis_title}"] = {
                name: Curve(getattr(one, axis), getattr(one, kind)) for name, one in followed.items()
            }
            labels.append(axis)
    return plots.curves_family(panels, xlabels=labels, columns=2)


def claims_of_speed(followed: Mapping[str, Followed], cost: Mapping[str, float]) -> list[str]:
    cnn, siamese = followed["classifier"], followed["siamese"]
    early = "; ".join(
        f"after epoch {epoch} silhouette {siamese.silhouette[epoch]:.2f} against {cnn.silhouette[epoch]:.2f}, knn@1 "
        f"{siamese.neighbour[epoch]:.3f} against {cnn.neighbour[epoch]:.3f}"
        for epoch in EARLY
    )
    ahead = all(siamese.silhouette[e] > cnn.silhouette[e] and siamese.neighbour[e] > cnn.neighbour[e] for e in EARLY)
    times = cost["siamese"] / cost["classifier"]
    return [
        f"- *The siamese network is slower per epoch.* {'It is' if times > 1 else 'It is not'}: {times:.2f} times the "
        f"CPU seconds (it sees two images where the classifier sees one), and the triplet network "
        f"{cost['triplet'] / cost['classifier']:.2f} times.\n"
        f"- *It separates faster, epoch by epoch.* {'It does' if ahead else 'Not in every respect'}: {early}."
    ]


def cost_of_epochs(experiment: Experiment) -> dict[str, float]:
    """CPU seconds per epoch of each method: median over interleaved rounds, so that load affects all methods."""
    shipped = {
        name: resolve_defaults(experiment.recipe(recipe).replace(epochs=1_000)) for name, recipe in METHODS.items()
    }
    images = load_images(next(iter(shipped.values())))
    going = {name: ticking(recipe, images) for name, recipe in shipped.items()}
    by_epoch = [{name: next(tick) for name, tick in going.items()} for _ in range(ROUNDS)]
    return {name: median(one[name] for one in by_epoch[1:]) for name in going}


def ticking(recipe: Recipe, images: Images) -> Iterator[float]:
    """CPU seconds of an epoch, extrapolated from STEPS steps."""
    parts = build(recipe, images)
    loop, whole = trial.loop(parts), len(parts.feed.plan(0))
    while True:
        began = time.process_time()
        for _ in range(STEPS):
            next(loop)
        yield (time.process_time() - began) / STEPS * whole

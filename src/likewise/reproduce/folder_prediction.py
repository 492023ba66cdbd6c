"""The folder trainer's section on use: files of encodings, two predictions, their speed, and the map."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from likewise import api
from likewise.data.options import data_home
from likewise.evaluate import Embeddings
from likewise.evaluate.prototypes import at_most, centres, naming
from likewise.experiment.build import load_images
from likewise.experiment.run import Run
from likewise.metrics.intervals import Score
from likewise.models import Embedder
from likewise.reproduce.experiment import Experiment
from likewise.reproduce.section import Section, load_json, save_json, score_text
from likewise.viz import plots
from likewise.viz.pages.map import clouds, mapped, write_map
from likewise.viz.plots import Cloud

__all__ = ["MOST", "interval_text", "of_encodings", "of_map", "of_prediction"]

MAPPED = 2_000  # images on the maps that are compared
MOST = 30  # encodings per class, as theirs


def interval_text(score: Score) -> str:
    return score_text(asdict(score))


def of_encodings(section: Section, name: str, one: Run) -> None:
    """Accuracy of files of encodings: all images, some per class, or class centres."""
    embeddings, sim = Embeddings.load(one.embeddings), one.recipe.sim
    train = embeddings.part("train")
    kinds = {"all training images": train, f"at most {MOST} per class": at_most(train, MOST)}
    kinds |= {
        "at most 5 per class": at_most(train, 5),
        "1 per class": at_most(train, 1),
        "class centres": centres(train),
    }
    rows = []
    for kind, by in kinds.items():
        scores = naming(embeddings.part("test"), by, sim=sim)
        rows.append([kind, f"{len(by):,}", *(interval_text(scores[top]) for top in ("top@1", "top@5"))])
    section.say("### Train, encode, test")
    section.say(
        "The three steps on which users of the original got stuck are three commands. A file of encodings is "
        f"Parquet with the id (path), class, label, part and vector of each image. The table is for {name}, the best "
        "network on validation bursts:"
    )
    section.say(
        f"```sh\nlikewise embed RUN --most-per-class {MOST} -o encodings.parquet   # or all, or --centres\n"
        "likewise evaluate RUN --encodings encodings.parquet\n"
        "likewise predict RUN image.jpg --encodings encodings.parquet\n```"
    )
    section.rows(["encodings", "how many", "top-1", "top-5"], rows)


def of_prediction(section: Section, experiment: Experiment, one: Run) -> None:
    """The first correctly and the first incorrectly classified test image, by `likewise predict`."""
    embeddings = Embeddings.load(one.embeddings).part("test")
    top = data_home() / "grocery-store" / "dataset"
    named = api.predict(one.path, [top / name for name in embeddings.ids])
    truth = [embeddings.classes[label] for label in embeddings.labels.tolist()]
    at = [next((n for n, p in enumerate(named) if (p["class"] == truth[n]) is right), None) for right in (True, False)]
    chosen = [n for n in at if n is not None]
    rows, titles, right = [], [], []
    images = load_images(one.recipe)
    place = {name: n for n, name in enumerate(images.ids)}
    for n in chosen:
        near = named[n]["neighbours"]
        rows.append(images.batch([place[embeddings.ids[n]], *(place[p["id"]] for p in near)]))
        titles.append(
            [f"{truth[n]}, named {named[n]['class']}", *(f"{p['class']} {p['similarity']:+.2f}" for p in near)]
        )
        right.append([p["class"] == truth[n] for p in near])
    section.figure("prediction", plots.neighbour_rows(rows, titles, right), PREDICTED, colours=256)
    section.say(PREDICTED + " " + speed(experiment, one, top / embeddings.ids[0]))


PREDICTED = (
    "The first correctly classified test image (above) and the first incorrectly classified one (below), by a vote of "
    "the five nearest training images, shown beside them with their similarity (minus the squared distance)."
)


def speed(experiment: Experiment, one: Run, image: Path) -> str:
    """A sentence on the time per image, including decoding, measured once."""
    path = experiment.folder / "one_image.json"
    times = load_json(path) or save_json(path, timed(one, image))
    return (
        f"One image, including decoding, takes {1000 * times['cold']:.0f} ms the first time and "
        f"{1000 * times['warm']:.0f} ms after that (median of 100, one core); the original reports 1.85 s and 16 ms "
        "for `simple2` on an unspecified machine."
    )


def timed(one: Run, image: Path) -> dict[str, float]:
    model = Embedder.load(one.model)
    ticks = []
    for _ in range(101):
        began = time.perf_counter()
        model.embed([image])
        ticks.append(time.perf_counter() - began)
    return {"cold": ticks[0], "warm": statistics.median(ticks[1:])}


def of_map(section: Section, runs: Mapping[str, Run], names: Sequence[str]) -> None:
    """t-SNE before and after, as an image here and as a page in the run."""
    section.say("### The map, before and after")
    panels: dict[str, Cloud] = {}
    for name in dict.fromkeys(names):
        drawn = clouds(mapped(runs[name], MAPPED).stages, sim=runs[name].recipe.sim)
        panels |= {f"{name}, {stage}": cloud for stage, cloud in drawn.items()}
    shown = next(iter(panels.values()))
    section.figure(
        "tsne",
        plots.maps(panels, side=3.4, shared=False, names=False),
        f"t-SNE of {len(shown.labels):,} images before and after training; ten of the classes are coloured",
        colours=256,
    )
    section.say(
        "`likewise map RUN` writes the same as a page that works offline: hovering over a point shows its image, "
        "class and file, and its position in the other map. Pretrained weights already separate many classes before "
        "training."
    )
    write_map(runs[names[-1]], load_images(runs[names[-1]].recipe))

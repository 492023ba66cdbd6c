"""Does the promise hold where the enrolled classes are those that the model was trained on?

    LIKEWISE_DATA=... python benchmarks/promise_trained.py [--only digits,coins] [--folds 5]

Some classes are kept out of everything: a model is trained on the others, which are then enrolled, and the images of
those kept out are unknown queries. Of few classes each is kept out in turn, of many a quarter in each of 4 rounds.
Small networks (convnet, 8 epochs, at most 32 pixels), so that the trainings take minutes.

`gallery`: each enrolled class left out of the gallery in turn. `cautious`: the threshold of `gallery`, or that which a
tenth of the run's validation images miss, whichever is higher. `calibrate`: `likewise calibrate RUN`, the recipe
trained again without some classes (one class each, or 10 folds), and never below the threshold of `gallery`. Rates are
means over the rounds, with the lowest and highest. `above`: rounds whose rate lies above the interval that `calibrate`
stated; `right`: share of the validation images of enrolled classes that are named right at each of the thresholds.
"""

import argparse

import machine
import numpy as np
import torch

from likewise.data.images import Images
from likewise.data.options import data_home
from likewise.embeddings import embed
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.left_out import one_fold, part_classes
from likewise.experiment.recipe import Recipe
from likewise.experiment.trial import trial
from likewise.gallery.calibrate import leave_out
from likewise.gallery.index import prepare, similarities
from likewise.gallery.unseen import Basis, basis, trials_of_folds, vectors_of

SIZE = {"size": 32, "epochs": 8, "split": "ratio(test=0)", "device": "cpu", "doctor": False, "eval_every_epochs": 0}
SETS = {
    "digits": {"size": 16, "data": "digits"},
    "coins": {"data": f"table(path='{data_home() / 'coins/images.csv'}')", "max_per_class": 100},
    "grocery-store": {"data": "groceries", "max_classes": 40, "max_per_class": 25},
    "Omniglot": {"data": "omniglot", "max_classes": 60},
    "AT&T faces": {"data": "faces"},
    "Fashion-MNIST": {"data": "fashion-mnist", "max_per_class": 60},
}
FARS = (0.1, 0.05, 0.01)
FEW = 15  # classes, up to which each is kept out in turn
HEAD = (
    "| data | promised | gallery | cautious | calibrate | its interval | above | right |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|"
)


def rounds(images: Images) -> list[np.ndarray]:
    """The classes kept out in each round."""
    classes = np.random.default_rng(0).permutation(images.labels.unique().numpy())
    return np.array_split(classes, len(classes) if len(classes) <= FEW else 4)


def one_round(recipe: Recipe, images: Images, away: np.ndarray, folds: int) -> np.ndarray:
    """Of each rate: the rate and the share named right by the three thresholds, then low and high of the last."""
    away_N = torch.isin(images.labels, torch.from_numpy(away))
    seen = images.take((~away_N).nonzero()[:, 0])
    model = trial(build(recipe, seen)).state.final
    enrolled, val = vectors_of(embed(model, seen.part("train"))), vectors_of(embed(model, seen.part("val")))
    unknown_UD = embed(model, images.take(away_N.nonzero()[:, 0])).vectors.numpy()
    unknown_U = similarities(unknown_UD, prepare(enrolled.vectors, "cosine"), "cosine").max(1)
    itself = leave_out(enrolled.vectors, enrolled.labels, None, enrolled.labels, sim="cosine")
    known = leave_out(val.vectors, val.labels, enrolled.vectors, enrolled.labels, sim="cosine")
    known = known._replace(impostor=itself.impostor, impostor_class=itself.impostor_class)
    parted = part_classes(seen, folds, 0)
    trained = [one_fold(recipe, seen, classes, len(parted)) for classes in parted]
    of_folds = trials_of_folds(trained, None, sim="cosine", rule="nearest")
    bases = [
        Basis(known, "the gallery"),
        basis(known, set(enrolled.labels), source="the gallery"),
        basis(known, set(enrolled.labels), source="the gallery", folds=of_folds),
    ]
    rows = []
    for far in FARS:
        found = [one.promise(far, "nearest") for one in bases]
        named = [float((unknown_U >= one.threshold).mean()) for one in found]
        right = [float((known.right & (known.genuine >= one.threshold)).mean()) for one in found]
        rows.append([*named, *right, found[-1].low, found[-1].high])
    return np.asarray(rows)


def lines(name: str, seen: np.ndarray) -> list[str]:
    """seen: [rounds, rates, 8]."""
    made = []
    for i, far in enumerate(FARS):
        rates, right, (low, high) = seen[:, i, :3], seen[:, i, 3:6].mean(0), seen[:, i, 6:].T
        above = int((rates[:, 2] > high).sum())
        cells = [f"{x.mean():.3f} ({x.min():.3f} to {x.max():.3f})" for x in rates.T]
        interval = f"{np.median(low):.3f} to {np.median(high):.3f}"
        ends = (interval, f"{above} of {len(seen)}", ", ".join(f"{x:.2f}" for x in right))
        made.append(f"| {name} | {far:g} | {' | '.join([*cells, *ends])} |")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="some of the data sets, separated by commas")
    parser.add_argument("--folds", type=int, default=0, help="as in `likewise calibrate`")
    options = parser.parse_args()
    asked = [name for name in options.only.split(",") if name] or list(SETS)
    table = [HEAD]
    for name in asked:
        recipe = resolve_defaults(Recipe(**{**SIZE, **SETS[name]}))
        images = load_images(recipe)
        parts = rounds(images)
        seen = []
        for away in parts:
            seen.append(one_round(recipe, images, away, options.folds))
            print(name, len(seen), "of", len(parts), np.round(seen[-1][:, :3], 3).tolist(), flush=True)
        table += lines(f"{name}, {len(images.labels.unique())} classes", np.stack(seen))
        print("\n".join(table), flush=True)
    if len(asked) == len(SETS):
        machine.write("promise_trained", "\n".join(table), __doc__ or "")


if __name__ == "__main__":
    main()

"""Trainings of a run's recipe with some classes left out: how a model answers images of classes it was not trained on.

A network keeps the classes that it was trained on further apart than new ones, so that a false-accept rate cannot be
calibrated on them. Here the classes are parted into folds, as in cross-conformal prediction (Vovk, 2015,
https://arxiv.org/abs/1208.0806), and each fold's model is trained without its classes. Test images take no part.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from likewise.data.images import SPLITS, Images
from likewise.data.subset import spaced
from likewise.embeddings import Embeddings, embed
from likewise.experiment.build import build, load_images
from likewise.experiment.inputs import check_inputs
from likewise.experiment.lock import locked
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.experiment.trial import trial
from likewise.training.watch import Watch

__all__ = ["FEWEST", "FOLDS", "complete", "left_out", "one_fold", "part_classes", "train_left_out"]

FOLDS = 10
FEWEST = 3  # training classes of which some can be left out
REFERENCES = 20_000  # training images of a fold that are kept
QUERIES = 4_000  # left-out images of all folds that are kept, and as many known ones
TRAIN, VAL, TEST = range(len(SPLITS))


def train_left_out(
    run: Run,
    folds: int = 0,
    *,
    watch: Watch | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> list[Embeddings]:
    """Train the run's recipe once a fold, without the fold's classes, and keep the vectors in the run's folder.

    folds: 2 to the number of training classes; 0 is 10, or one a class where they are fewer. Finished folds of an
    interrupted call are used as they are. Returns the vectors of each fold: in the part `train` images that its model
    was trained on, in `val` other images of their classes, in `test` those of the classes left out.
    Errors: ValueError for fewer than three classes, a number of folds out of range, or data that have changed.
    """
    recipe = run.recipe
    with locked(run.path):
        run.metrics()
        images = load_images(recipe, None)
        check_inputs(run, recipe, images)
        images = images.take((images.split != TEST).nonzero()[:, 0])
        parted = part_classes(images, folds, recipe.split_seed)
        files = fold_files(run, len(parted))
        for old in set(run.left_out.glob("*.parquet")) - set(files):
            old.unlink()
        run.left_out.mkdir(exist_ok=True)
        for file, classes in zip(files, parted, strict=True):
            if not file.exists():
                names = ", ".join(images.classes[i] for i in classes.tolist()[:3]) + " ..." * (len(classes) > 3)
                say(f"training {files.index(file) + 1} of {len(files)}, without {names}")
                one_fold(recipe, images, classes, len(parted), watch).save(file)
    return left_out(run)


def part_classes(images: Images, folds: int, seed: int) -> list[np.ndarray]:
    """The labels of each fold, drawn from the training classes."""
    classes = images.part("train").labels.unique().cpu().numpy()
    if len(classes) < FEWEST:
        raise ValueError(
            f"{images.name} has {len(classes)} training classes, and leaving some out takes 3 or more; calibrate with "
            "a model of more classes"
        )
    folds = folds or min(FOLDS, len(classes))
    if not 2 <= folds <= min(len(classes), 99):
        raise ValueError(
            f"folds is 2 to {min(len(classes), 99)}, since {images.name} has {len(classes)} training classes; "
            f"got {folds}"
        )
    return [np.sort(part) for part in np.array_split(np.random.default_rng(seed).permutation(classes), folds)]


def one_fold(recipe: Recipe, images: Images, classes: np.ndarray, folds: int, watch: Watch | None = None) -> Embeddings:
    """Train without these classes, and embed: what the model was trained on, other images of that, and the classes."""
    out_N = torch.isin(images.labels, torch.from_numpy(classes).to(images.labels.device))
    rest = images.take((~out_N).nonzero()[:, 0])
    model = trial(build(recipe, rest), watch=watch).state.final
    reference, known = spaced(rest.part("train"), REFERENCES), rest.part("val")
    known = known.take(torch.isin(known.labels, reference.labels).nonzero()[:, 0])
    shown = [reference, spaced(known, QUERIES // folds)]
    shown.append(spaced(images.take(out_N.nonzero()[:, 0]), QUERIES // folds))
    parts = [replace(embed(model, part), split=torch.full((len(part),), i).byte()) for i, part in enumerate(shown)]
    return Embeddings(
        torch.cat([part.vectors for part in parts if len(part)]),
        torch.cat([part.labels for part in parts]),
        tuple(id_ for part in parts for id_ in part.ids),
        torch.cat([part.split for part in parts]),
        images.classes,
    )


def fold_files(run: Run, folds: int) -> list[Path]:
    return [run.left_out / f"{i:02d}_of_{folds:02d}.parquet" for i in range(1, folds + 1)]


def complete(run: Run) -> list[Path]:
    """The files of all folds; none where one lacks, or none was trained."""
    files = sorted(run.left_out.glob("*_of_*.parquet"))
    folds = files[0].stem.rpartition("_")[2] if files else ""
    wanted = fold_files(run, int(folds)) if folds.isdigit() and int(folds) < 100 else []
    return wanted if wanted and files == wanted else []


def left_out(run: Run) -> list[Embeddings]:
    """The vectors of each fold, see `train_left_out`; none where they are not all there. Errors: ValueError."""
    return [Embeddings.load(path) for path in complete(run)]

"""The commands as Python functions: a recipe by name, train, evaluate, report, embed, predict, verify."""

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, TypeVar, cast

import torch

from likewise import distributed, spec
from likewise.audit import Audit
from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.evaluate.prototypes import at_most, naming
from likewise.evaluate.prototypes import centres as centred
from likewise.experiment.evaluate_on import evaluate_on as score_images
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.experiment.samples import make_pairs
from likewise.experiment.score import evaluate_run, rank_run
from likewise.experiment.train import resume as resume_run
from likewise.experiment.train import train as train_run
from likewise.experiment.verify_on import score_pairs
from likewise.gallery.decide import of_pairs, same
from likewise.gallery.predict import calibrate_run, folder_classes, predicted, promise_of
from likewise.imaging.find import image_files as files
from likewise.metrics.neighbours import nearest
from likewise.metrics.verification import aim
from likewise.models import Embedder
from likewise.recipes.load import is_own, load_recipe
from likewise.recipes.plan import plan
from likewise.safety.bounds import Fields
from likewise.training.watch import Watch
from likewise.viz.pages.map import write_map
from likewise.viz.pages.report import write_report
from likewise.viz.pages.workspace import relink
from likewise.viz.workspace import audit_run, available, write_workspace

__all__ = [
    "calibrate",
    "draw_map",
    "embed",
    "encodings",
    "epochs_of",
    "evaluate",
    "evaluate_encodings",
    "evaluate_on",
    "evaluate_pairs",
    "make_pairs",
    "predict",
    "rank",
    "report",
    "resume",
    "train",
    "verify",
]


class Verification(TypedDict):
    """Whether two images show the same class. prior: see `verify`. target: what the threshold was chosen for.

    note: where the threshold was chosen on classes that the model was trained on.
    """

    same: bool
    probability: float | None
    prior: float | None
    similarity: float
    threshold: float
    target: str
    note: str


Call = TypeVar("Call", bound=Callable[..., object])


def trusts(function: Call) -> Call:
    """Add a keyword `trust_code`: with it, files that the function reads may name code outside the package to run."""

    @functools.wraps(function)
    def call(*args: object, trust_code: bool = False, **given: object) -> object:
        with spec.trusting(trust_code):
            return function(*args, **given)

    signature = inspect.signature(function)
    option = inspect.Parameter("trust_code", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool)
    call.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    return cast(Call, call)


@trusts
@distributed.joined()
def train(
    recipe: Recipe | str | os.PathLike,
    *,
    out: str | os.PathLike = "runs",
    name: str = "",
    decisions: str | os.PathLike = "",
    watch: Watch | None = None,
) -> Run:
    """Train a recipe, evaluate it and write its pages: report, map, doctor, and the audit where it is cheap.

    recipe: a Recipe, or what `load_recipe` takes: a shipped one's name, a .toml, a folder. In a script that torchrun
    starts, all processes train it together, and rank 0 writes.
    decisions: a CSV that the audit page saved (keep, relabel, remove), in place of the recipe's. Errors: ValueError.
    """
    wanted = load_recipe(recipe) if isinstance(recipe, str | os.PathLike) else recipe
    if decisions and isinstance(wanted, Recipe):
        wanted = wanted.replace(decisions=os.fspath(decisions))
    if isinstance(recipe, str | os.PathLike) and is_own(recipe):
        wanted = plan(wanted).recipe
    if not isinstance(wanted, Recipe):
        hint = "Recipe.from_dict makes one of a dict" if isinstance(wanted, Mapping) else "Recipe() is one"
        raise spec.SpecError(
            f"train takes a Recipe, the name of a shipped one, a .toml or a folder, got {type(wanted).__name__}; {hint}"
        )
    return reported(*train_run(wanted, out=out, name=name or None, watch=watch))


@trusts
@distributed.joined()
def resume(run: str | os.PathLike, *, watch: Watch | None = None, force: bool = False) -> Run:
    """Go on with an interrupted run; it ends in the weights it would have had.

    force: also where its recipe or data have changed since it was started. Errors: ValueError naming what changed.
    """
    return reported(*resume_run(run, watch=watch, force=force))


@trusts
def epochs_of(run: str | os.PathLike) -> int:
    """How many epochs a run was to train for."""
    return Run.open(run).recipe.epochs


@trusts
def evaluate(run: str | os.PathLike, *, threshold_at: str = "") -> Run:
    """Score a run again; metrics.json and embeddings.parquet are replaced.

    threshold_at: target of the threshold on validation pairs, saved with the model: accuracy, f1, eer, far=0.001 or
        precision=0.99; empty keeps the current target. Errors: ValueError for one out of reach.
    """
    if threshold_at:
        aim(threshold_at)
    opened = Run.open(run)
    evaluate_run(opened, threshold_at=threshold_at)
    return opened


@trusts
def evaluate_pairs(
    run: str | os.PathLike,
    pairs: str | os.PathLike | None = None,
    *,
    images: str | os.PathLike | None = None,
    folds: int = 0,
    threshold_at: str = "",
) -> Fields:
    """Score the pairs of a file (.csv, .parquet, LFW's pairs.txt), or pairs drawn within folds of held-out classes.

    The run keeps nothing of it. images: the folder of images that are not ids of the run's data. Errors: ValueError.
    """
    opened = Run.open(run)
    opened.metrics()
    return score_pairs(opened, pairs, images=images, folds=folds, threshold_at=threshold_at)


@trusts
def evaluate_on(run: str | os.PathLike, on: str | os.PathLike, *, gallery: str | os.PathLike | None = None) -> Fields:
    """Score any labelled images (folder, table, .npz) by the run's training images, or by those of `gallery`.

    Classes that the references lack are scored among themselves, as an open set. Errors: ValueError.
    """
    return score_images(Run.open(run), on, gallery)


@trusts
def rank(
    run: str | os.PathLike, metrics: Sequence[str] = (), *, gallery: str = "", across_groups: bool = False
) -> Fields:
    """Retrieval scores by name (mrr, ndcg@10, map, cmc@20 ...) of a run's embeddings, which it keeps as they are.

    gallery: the part that is searched; empty is the other images of the scored part. across_groups: an image does
        not find its own class in its own group (camera, video, writer). Errors: ValueError.
    """
    opened = Run.open(run)
    embedded(opened)
    return rank_run(opened, metrics, gallery=gallery, across_groups=across_groups)


@trusts
def encodings(run: str | os.PathLike, *, most_per_class: int = 0, centres: bool = False) -> Embeddings:
    """Reference embeddings of a run: of its training images, at most this many per class (0 is all), or class centres.

    Errors: ValueError where the run was not evaluated yet, or most_per_class is below 0.
    """
    references = embedded(Run.open(run)).part("train")
    if most_per_class:
        references = at_most(references, most_per_class, seed=Run.open(run).recipe.split_seed)
    return centred(references) if centres else references


@trusts
def evaluate_encodings(run: str | os.PathLike, file: str | os.PathLike) -> Fields:
    """Top-1 and top-5 accuracy on a run's held-out images, classified by the encodings of a file; nothing is saved.

    Errors: ValueError for a file without classes, or of another model.
    """
    opened = Run.open(run)
    split = opened.metrics()["split"]
    recipe = opened.recipe
    scores = naming(embedded(opened).part(split), known(opened, file), sim=recipe.sim, seed=recipe.split_seed)
    records = {name: dataclasses.asdict(score) for name, score in scores.items()}
    return {"run": opened.name, "split": split, "encodings": os.fspath(file), "scores": records}


def embedded(run: Run) -> Embeddings:
    """The embeddings of a run's own images. Errors: ValueError if it was not evaluated yet."""
    if not run.embeddings.exists():
        raise ValueError(f"{run.path} has no embeddings yet; run `likewise evaluate {run.path}`")
    return Embeddings.load(run.embeddings)


def known(run: Run, file: str | os.PathLike | None) -> Embeddings:
    """Reference embeddings: those of a file, or of all training images of the run."""
    if file is None:
        return embedded(run).part("train")
    references = Embeddings.load(file)
    if not any(references.classes):
        raise ValueError(
            f"{os.fspath(file)} has no classes to name images by; write such a file with "
            f"`likewise embed {run.path} -o FILE`"
        )
    return references


def reported(run: Run, images: Images | None) -> Run:
    if distributed.is_main():
        write_workspace(run, images)
    return run


@trusts
def report(run: str | os.PathLike) -> Path:
    """Write report.html again; its images are left out where the data are no longer there."""
    opened = Run.open(run)
    opened.metrics()
    path = write_report(opened.path, available(opened))
    relink(opened)
    return path


@trusts
def draw_map(run: str | os.PathLike, *, method: str = "tsne") -> Path:
    """Write map.html, a map of the run's embedding before and after training to walk through; and plots/METHOD.png.

    method: tsne, opentsne, umap or pca. Errors: ValueError for another one, or a run without embeddings.
    """
    opened = Run.open(run)
    path = write_map(opened, available(opened), method=method)
    relink(opened)
    return path


@trusts
def audit(run: str | os.PathLike) -> Audit:
    """Look for problems in a run's data; audit.html and audit.csv are written into its folder.

    What it counts goes into metrics.json, and into the verdict on the run.

    Errors: ValueError when the run has no embeddings, or its images have changed since.
    """
    opened = Run.open(run)
    return audit_run(opened, available(opened))


@trusts
def embed(run: str | os.PathLike, images: Sequence[str | os.PathLike]) -> Embeddings:
    """Embed image files (folders are searched) with a run's model. Errors: ValueError naming what cannot be read."""
    model, paths = Embedder.load(run), files(images)
    n = len(paths)
    vectors = model.embed(paths)
    return Embeddings(
        vectors,
        torch.zeros(n, dtype=torch.int64),
        tuple(map(str, paths)),
        torch.full((n,), 2, dtype=torch.uint8),
        ("",),
    )


@trusts
def predict(
    run: str | os.PathLike,
    images: Sequence[str | os.PathLike],
    *,
    k: int = 5,
    encodings: str | os.PathLike | None = None,
    far: float | None = None,
) -> list[Fields]:
    """The class of each image by a vote of its k nearest training images, and those neighbours.

    encodings: a file that `likewise embed RUN` wrote, in place of all training images.
    far: answer "unknown" (class None) where no class reaches the threshold at which at most this share of the
        validation images, tried with their own class left out, is named. Errors: ValueError where they are too few.
    An image in a folder that is named like a class has `folder_class`, which `gallery.predict.accuracy` compares.
    """
    opened = Run.open(run)
    by = known(opened, encodings)
    if not 1 <= k <= len(by):
        raise ValueError(f"k is the number of neighbours, 1 to {len(by)} here, got {k}")
    model, paths = Embedder.load(opened.model), files(images)
    promised = None if far is None else promise_of(opened, by, embedded(opened), k, far, model.sim)
    near = nearest(model.embed(paths), by.vectors, k, sim=spec.bind("sim", model.sim))
    rows = zip(paths, near.place.tolist(), near.sim.tolist(), strict=True)
    predictions = [predicted(path, place, sims, by, k, promised) for path, place, sims in rows]
    for row, name in zip(predictions, folder_classes(paths, images, by.classes), strict=True):
        row |= {} if name is None else {"folder_class": name}
    return predictions


calibrate = trusts(calibrate_run)


@trusts
def verify(run: str | os.PathLike, a: str | os.PathLike, b: str | os.PathLike) -> Verification:
    """Whether two images show the same class, at the threshold that validation pairs chose, and how probable that is.

    The probability agrees with the decision: it holds where the share of same pairs is `prior`, for which the threshold
    is the best cut, so that it is 0.5 there (see gallery/decide.py). None, both, for a run without a calibration.
    """
    model = Embedder.load(run)
    threshold, fit = model.record("threshold"), model.record("calibration")
    if not threshold:
        raise ValueError(f"{run} has no threshold: its validation part had no pairs; give val=0.1 and 2 images a class")
    emb_ND = model.embed([a, b])
    similarity = float(spec.bind("sim", model.sim)(emb_ND[:1], emb_ND[1:]))
    is_same, probability, prior = same(similarity, threshold["value"], fit)
    return Verification(
        same=is_same,
        probability=probability,
        prior=prior,
        similarity=similarity,
        threshold=threshold["value"],
        target=threshold["target"],
        note=of_pairs(model.info),
    )

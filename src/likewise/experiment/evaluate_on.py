"""A run's model on any labelled images: scores, confusions and worst errors by its training images or a gallery."""

import dataclasses
import os
from collections import Counter

import torch

from likewise import data, spec
from likewise.data.images import Images
from likewise.data.options import LoadOptions
from likewise.evaluate import Embeddings, embed, evaluate
from likewise.experiment.open_set import is_open_set_score, trained_on
from likewise.experiment.run import Run
from likewise.metrics.calibration import restored
from likewise.metrics.neighbours import nearest
from likewise.models import Embedder
from likewise.spec import Keywords

__all__ = ["evaluate_on"]

LISTED = 20  # confusions and worst errors
IDENTICAL = 1 - 1e-6  # cosine similarity from which two images are taken for the same


def evaluate_on(run: Run, on: str | os.PathLike, gallery: str | os.PathLike | None = None) -> dict[str, object]:
    """Score labelled images (folder, table, .npz) that need not be of the run's data; the run keeps nothing of it.

    Where they come with a test part, that is scored, else all. gallery: labelled images that are searched in place of
    the run's training images. Images of classes that the references have are classified by these (`scores`); those of
    other classes are scored among themselves, as an open set (`open_scores`).
    Errors: ValueError where nothing can be read, or a run has no embeddings to refer to.
    """
    model, recipe = Embedder.load(run.model), run.recipe
    query_images = read_images(on, model)
    tested = query_images.part("test")
    scored = tested if len(tested) else query_images
    if gallery is not None:
        reference = embed(model, read_images(gallery, model))
    elif run.embeddings.exists():
        reference = Embeddings.load(run.embeddings).part("train")
    else:
        raise ValueError(f"{run.path} has no embeddings yet; run `likewise evaluate {run.path}`, or give --gallery")
    query, reference = same_classes(embed(model, scored), reference)
    known_Q = torch.isin(query.labels, reference.labels)
    known, unknown = query.take(known_Q.nonzero()[:, 0]), query.take((~known_Q).nonzero()[:, 0])
    trained = Embeddings.load(run.embeddings).part("train") if run.embeddings.exists() else None
    settings: Keywords = {"sim": recipe.sim, "seed": recipe.split_seed} | of_validation(model)
    scores = records(known, reference, settings)
    is_optimistic = trained is not None and any(map(is_open_set_score, scores)) and shares(known, trained)
    return {
        "run": run.name,
        "on": os.fspath(on),
        "part": "test" if len(tested) else "all",
        "gallery": os.fspath(gallery) if gallery is not None else "training images",
        "images": len(query),
        "references": len(reference),
        "scores": scores,
        "caveats": [trained_on(run, len(trained.classes))] if trained is not None and is_optimistic else [],
        "open_scores": records(unknown, None, settings),
        "unknown_classes": sorted({query.classes[i] for i in unknown.labels.tolist()}),
        "unknown_images": len(unknown),
        **errors(known, reference, recipe.sim),
        "skipped": [skip._asdict() for skip in query_images.skipped],
    }


def shares(query: Embeddings, trained: Embeddings) -> bool:
    """Whether queries are of classes, by their names, that the network was trained on."""
    names = {trained.classes[i] for i in trained.labels.unique().tolist()}
    return any(query.classes[i] in names for i in query.labels.unique().tolist())


def read_images(source: str | os.PathLike, model: Embedder) -> Images:
    """All images of a source, in the size and colour that the model takes, with the parts that the source gives."""
    options = LoadOptions()
    if len(model.shape) == 3:
        channels, height, width = model.shape
        options = LoadOptions(size=f"{height}x{width}", channels=channels if channels in (1, 3) else 0, fit=model.fit)
    return data.read(os.fspath(source), options)


def same_classes(query: Embeddings, reference: Embeddings) -> tuple[Embeddings, Embeddings]:
    """Both with labels that index one list of classes, by the classes' names."""
    classes = tuple(dict.fromkeys((*reference.classes, *query.classes)))
    place = {name: i for i, name in enumerate(classes)}

    def numbered(part: Embeddings) -> Embeddings:
        labels = torch.tensor([place[part.classes[i]] for i in part.labels.tolist()], dtype=torch.int64)
        return dataclasses.replace(part, labels=labels, classes=classes)

    return numbered(query), numbered(reference)


def of_validation(model: Embedder) -> Keywords:
    """The threshold and the calibration that the run's validation pairs chose."""
    threshold, fit = model.info.get("threshold"), model.info.get("calibration")
    return {"threshold": threshold["value"] if threshold else None, "fit": restored(fit) if fit else None}


def records(query: Embeddings, reference: Embeddings | None, settings: Keywords) -> dict[str, object]:
    """Scores by name as they are written; none where there is no query."""
    scores = evaluate(query, reference, **settings) if len(query) else {}
    return {name: dataclasses.asdict(score) for name, score in scores.items()}


def errors(query: Embeddings, reference: Embeddings, sim: str) -> dict[str, object]:
    """By the nearest reference: the classes most confused, the wrong answers of the highest similarity, and copies."""
    if not len(query):
        return {"confusions": [], "worst": [], "identical": 0}
    near = nearest(query.vectors, reference.vectors, 1, sim=spec.bind("sim", sim))
    place_Q, sim_Q = near.place[:, 0], near.sim[:, 0]
    answer_Q = reference.labels[place_Q]
    wrong = (answer_Q != query.labels).nonzero()[:, 0].tolist()
    name = query.classes
    counts = Counter((name[query.labels[i]], name[answer_Q[i]]) for i in wrong)
    worst = sorted(wrong, key=lambda i: -float(sim_Q[i]))[:LISTED]
    cosine_Q = torch.cosine_similarity(query.vectors, reference.vectors[place_Q])
    return {
        "confusions": [{"class": a, "taken_for": b, "images": n} for (a, b), n in counts.most_common(LISTED)],
        "worst": [
            {
                "image": query.ids[i],
                "class": name[query.labels[i]],
                "taken_for": name[answer_Q[i]],
                "nearest": reference.ids[int(place_Q[i])],
                "similarity": round(float(sim_Q[i]), 6),
            }
            for i in worst
        ],
        "identical": int((cosine_Q >= IDENTICAL).sum()),
    }

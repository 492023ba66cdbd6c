"""A run's model on its held-out images: metrics.json, embeddings.parquet, and in the model what val pairs chose."""

import dataclasses
import json
from collections.abc import Sequence

from likewise import spec
from likewise.data.images import SPLITS, Images
from likewise.doctor.monitor import LOSS_AT_COLLAPSE
from likewise.evaluate import (
    Embeddings,
    Threshold,
    embed,
    evaluate,
    health,
    queries_without_positives,
    retrieve,
    too_few,
)
from likewise.evaluate.one_shot import official_error
from likewise.experiment.baselines import without_training
from likewise.experiment.build import load_images
from likewise.experiment.caveats import caveats, far_above
from likewise.experiment.gain import remark, warning
from likewise.experiment.near_copies import counted
from likewise.experiment.rates import held_out_rates
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.experiment.sizes import accuracy_by_size
from likewise.experiment.thresholds import choices, is_closed_set, pairs_of, told
from likewise.experiment.verdict import verdict_of
from likewise.metrics.calibration import Calibration
from likewise.metrics.sampled_pairs import Pairs
from likewise.models import Embedder
from likewise.safety.bounds import Fields
from likewise.training.loop import State

__all__ = ["evaluate_run", "rank_run"]

# What `rank_run` measures unless told: all of a ranking, where a run's own scores stop at its first R.
RANKED = ("recall@1", "recall@5", "recall@10", "precision@10", "r_precision", "map@r", "map", "mrr", "ndcg@10")


def evaluate_run(
    run: Run,
    *,
    model: Embedder | None = None,
    images: Images | None = None,
    state: State | None = None,
    found: Embeddings | None = None,
    threshold_at: str = "",
) -> dict[str, object]:
    """Embed everything once, score the test part (validation, where there is none); returns what metrics.json holds.

    found: the embeddings of all images, where they are known. threshold_at: what the threshold aims at, such as
    far=0.001; empty is as before, at first accuracy.
    """
    recipe = run.recipe
    model = model or Embedder.load(run.model)
    images = images or load_images(recipe)
    found = embed(model, images) if found is None else found
    found.save(run.embeddings)
    split = "test" if len(found.part("test")) else "val"
    if not len(found.part(split)):
        raise ValueError(f"{images.name} has no held-out images to score; give val=0.1, or split='ratio(test=0.2)'")
    pairs = pairs_of(run, found, recipe.split_seed)
    target = threshold_at or model.record("threshold").get("target", "accuracy")
    threshold, fit = choices(found, pairs.get("val"), recipe, open_set=not is_closed_set(found, "val"), target=target)
    kept: Fields = {"threshold": threshold._asdict() if threshold else None, "calibration": told(fit, pairs.get("val"))}
    scores = scores_of(found, split, recipe, pairs.get(split), threshold, fit)
    training = of_training(state) if state else earlier(run)
    open_set = not is_closed_set(found, split)
    baselines = without_training(
        recipe, images, found, split, open_set=open_set, device=next(model.parameters()).device
    )
    val = scores_of(found, "val", recipe) if split == "test" and len(found.part("val")) else {}
    of_scores = caveats(recipe, images, found, split, open_set=open_set)
    held = found.part(split).labels
    said = {
        **({"warning": why} if (why := warning(baselines, recipe, training.get("steps"))) else {}),
        "run": run.name,
        "split": split,
        "open": open_set,
        "scores": scores | one_shot(model, recipe, images, split),
        "caveats": of_scores + far_above(val, scores, images.groups is not None) + remark(baselines, recipe),
        "majority": None if open_set else float(held.bincount().max() / len(held)),
        "near_copies": counted(images, recipe.split, seed=recipe.split_seed),
        "verification": held_out_rates(found, pairs, recipe.sim, kept["threshold"]),
        "left_out": too_few(pairs["test"].same) if "test" in pairs else {},
        "queries_without_positives": queries_without_positives(
            found.part(split), None if open_set else found.part("train")
        ),
        "health": health(found.part(split), sim=recipe.sim),
        "val": val,
        **kept,
        "data": about(images),
        "without_training": baselines,
        **({"vector_sizes": sizes} if (sizes := accuracy_by_size(recipe, found, split, open_set=open_set)) else {}),
        **training,
    }
    model.info |= kept | of_classes(found)
    model.save(run.model)
    said |= {"audit": audited} if (audited := run.metrics_or_nothing().get("audit")) else {}
    said = {"verdict": verdict_of(run, metrics=said).to_dict(), **said}
    run.write("metrics.json", json.dumps(said, indent=1))
    return said


def rank_run(
    run: Run, names: Sequence[str] = (), *, gallery: str = "", across_groups: bool = False
) -> dict[str, object]:
    """Retrieval scores of a run's kept embeddings, by name, with their intervals; the run keeps nothing of it.

    gallery: the part that is searched (train, val, test); empty is the other images of the part that is scored.
    across_groups: an image does not find those of its own class and group (camera, video, writer).
    Errors: ValueError for a name that is no retrieval metric, a gallery without the classes, or unknown groups.
    """
    recipe, split = run.recipe, run.metrics()["split"]
    found = Embeddings.load(run.embeddings)
    query, searched = found.part(split), found.part(gallery) if gallery not in ("", split) else None
    scores, n = retrieve(
        query,
        searched,
        names or [name for name in RANKED if fits(name, len(query if searched is None else searched))],
        sim=recipe.sim,
        open_set=not is_closed_set(found, split),
        across_groups=across_groups,
        seed=recipe.split_seed,
    )
    said = {name: dataclasses.asdict(score) for name, score in scores.items()}
    return {
        "run": run.name,
        "split": split,
        "gallery": gallery or split,
        "scores": said,
        "queries_without_positives": n,
        "of": len(query),
    }


def fits(name: str, images: int) -> bool:
    """Whether a metric's k is less than there are images."""
    k = name.partition("@")[2]
    return not k.isdigit() or int(k) < images


def scores_of(
    found: Embeddings,
    split: str,
    recipe: Recipe,
    pairs: Pairs | None = None,
    threshold: Threshold | None = None,
    fit: Calibration | None = None,
) -> dict[str, Fields]:
    scores = evaluate(
        found.part(split),
        found.part("train") if is_closed_set(found, split) else None,
        sim=recipe.sim,
        threshold=threshold.value if threshold else None,
        fit=fit,
        pairs=pairs,
        seed=recipe.split_seed,
        quick=split == "val",
    )
    return {name: dataclasses.asdict(score) for name, score in scores.items()}


def of_classes(found: Embeddings) -> Fields:
    """What the model keeps of its classes: those trained on, where others were held out; are those of val among them."""
    trained = found.part("train").labels.unique().tolist()
    names = [found.classes[i] for i in trained]
    said: Fields = {"closed": is_closed_set(found, "val")}
    return said | ({"trained_classes": names} if len(names) < len(found.classes) else {})


def one_shot(model: Embedder, recipe: Recipe, images: Images, split: str) -> dict[str, Fields]:
    """Omniglot's official one-shot error, for a model that has not seen its evaluation alphabets."""
    if images.name != "omniglot" or split != "test" or not images.open:
        return {}
    score = official_error(model, ink=spec.parse(recipe.data)[1].get("ink", "bright"), seed=recipe.split_seed)
    return {"one_shot_error": dataclasses.asdict(score)} if score else {}


def about(images: Images) -> dict[str, object]:
    counts = {split: int((images.split == i).sum()) for i, split in enumerate(SPLITS)}
    return {"name": images.name, "classes": len(images.classes), **counts, "skipped": len(images.skipped)}


def of_training(state: State) -> Fields:
    """What the training itself has to say; the loss at collapse is that of its first batch, as the doctor has it."""
    return {
        "loss_at_collapse": state.callback_state.get(LOSS_AT_COLLAPSE),
        "seconds": round(state.seconds, 2),
        "images_per_s": round(state.seen / max(state.seconds, 1e-9), 1),
        "steps": state.step,
        "epochs": state.epochs_done,
        "stopped": state.stop or "",
        "parameters": sum(p.numel() for p in state.model.parameters()),
        **({"ranks": state.ranks} if state.ranks > 1 else {}),
        **({"wise": state.callback_state["wise"]} if "wise" in state.callback_state else {}),
    }


def earlier(run: Run) -> Fields:
    """What metrics.json said of the training before."""
    kept = ("loss_at_collapse", "seconds", "images_per_s", "steps", "epochs", "stopped", "parameters", "ranks", "wise")
    held = run.metrics_or_nothing()
    return {name: held[name] for name in kept if name in held}

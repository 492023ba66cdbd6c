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
from likewise.experiment.open_set import open_set_scores
from likewise.experiment.rates import held_out_rates
from likewise.experiment.recipe import Recipe
from likewise.experiment.records import ScoreRecord, as_record
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
    embeddings: Embeddings | None = None,
    threshold_at: str = "",
) -> dict[str, object]:
    """Embed everything once, score the test part (validation, where there is none); returns what metrics.json holds.

    embeddings: the embeddings of all images, where they are known. threshold_at: what the threshold aims at, such as
    far=0.001; empty is as before, at first accuracy.
    """
    recipe = run.recipe
    model = model or Embedder.load(run.model)
    images = images or load_images(recipe)
    embeddings = embed(model, images) if embeddings is None else embeddings
    embeddings.save(run.embeddings)
    split = "test" if len(embeddings.part("test")) else "val"
    if not len(embeddings.part(split)):
        raise ValueError(f"{images.name} has no held-out images to score; give val=0.1, or split='ratio(test=0.2)'")
    pairs = pairs_of(run, embeddings, recipe.split_seed)
    target = threshold_at or model.record("threshold").get("target", "accuracy")
    threshold, fit = choices(
        embeddings, pairs.get("val"), recipe, open_set=not is_closed_set(embeddings, "val"), target=target
    )
    decision: Fields = {
        "threshold": threshold._asdict() if threshold else None,
        "calibration": told(fit, pairs.get("val")),
    }
    scores = scores_of(embeddings, split, recipe, pairs.get(split), threshold, fit)
    training = of_training(state) if state else earlier(run)
    open_set = not is_closed_set(embeddings, split)
    baselines = without_training(
        recipe, images, embeddings, split, open_set=open_set, device=next(model.parameters()).device
    )
    val = scores_of(embeddings, "val", recipe) if split == "test" and len(embeddings.part("val")) else {}
    of_scores = caveats(recipe, images, embeddings, split, open_set=open_set)
    if not open_set:
        scores, of_unknown = open_set_scores(run, scores, len(images.classes))
        of_scores = of_unknown + of_scores
    labels_Q = embeddings.part(split).labels
    record = {
        **({"warning": why} if (why := warning(baselines, recipe, training.get("steps"))) else {}),
        "run": run.name,
        "split": split,
        "open": open_set,
        "scores": scores | one_shot(model, recipe, images, split),
        "caveats": of_scores + far_above(val, scores, images.groups is not None) + remark(baselines, recipe),
        "majority": None if open_set else float(labels_Q.bincount().max() / len(labels_Q)),
        "near_copies": counted(images, recipe.split, seed=recipe.split_seed),
        "verification": held_out_rates(embeddings, pairs, recipe.sim, decision["threshold"]),
        "left_out": too_few(pairs["test"].same) if "test" in pairs else {},
        "queries_without_positives": queries_without_positives(
            embeddings.part(split), None if open_set else embeddings.part("train")
        ),
        "health": health(embeddings.part(split), sim=recipe.sim),
        "val": val,
        **decision,
        "data": about(images),
        "without_training": baselines,
        **(
            {"vector_sizes": sizes} if (sizes := accuracy_by_size(recipe, embeddings, split, open_set=open_set)) else {}
        ),
        **training,
    }
    model.info |= decision | of_classes(embeddings)
    model.save(run.model)
    record |= {"audit": audited} if (audited := run.metrics_or_nothing().get("audit")) else {}
    record = {"verdict": verdict_of(run, metrics=record).to_dict(), **record}
    run.write("metrics.json", json.dumps(record, indent=1))
    return record


def rank_run(
    run: Run, names: Sequence[str] = (), *, gallery: str = "", across_groups: bool = False
) -> dict[str, object]:
    """Retrieval scores of a run's kept embeddings, by name, with their intervals; the run keeps nothing of it.

    gallery: the part that is searched (train, val, test); empty is the other images of the part that is scored.
    across_groups: an image does not find those of its own class and group (camera, video, writer).
    Errors: ValueError for a name that is no retrieval metric, a gallery without the classes, or unknown groups.
    """
    recipe, split = run.recipe, run.metrics()["split"]
    embeddings = Embeddings.load(run.embeddings)
    query, searched = embeddings.part(split), embeddings.part(gallery) if gallery not in ("", split) else None
    scores, n = retrieve(
        query,
        searched,
        names or [name for name in RANKED if fits(name, len(query if searched is None else searched))],
        sim=recipe.sim,
        open_set=not is_closed_set(embeddings, split),
        across_groups=across_groups,
        seed=recipe.split_seed,
    )
    record = {name: dataclasses.asdict(score) for name, score in scores.items()}
    return {
        "run": run.name,
        "split": split,
        "gallery": gallery or split,
        "scores": record,
        "queries_without_positives": n,
        "of": len(query),
    }


def fits(name: str, images: int) -> bool:
    """Whether a metric's k is less than there are images."""
    k = name.partition("@")[2]
    return not k.isdigit() or int(k) < images


def scores_of(
    embeddings: Embeddings,
    split: str,
    recipe: Recipe,
    pairs: Pairs | None = None,
    threshold: Threshold | None = None,
    fit: Calibration | None = None,
) -> dict[str, ScoreRecord]:
    scores = evaluate(
        embeddings.part(split),
        embeddings.part("train") if is_closed_set(embeddings, split) else None,
        sim=recipe.sim,
        threshold=threshold.value if threshold else None,
        fit=fit,
        pairs=pairs,
        seed=recipe.split_seed,
        quick=split == "val",
    )
    return {name: as_record(score) for name, score in scores.items()}


def of_classes(embeddings: Embeddings) -> dict[str, object]:
    """What the model keeps: whether its validation classes were trained on, and where some were not, which were."""
    trained = embeddings.part("train").labels.unique().tolist()
    names = [embeddings.classes[i] for i in trained]
    record: dict[str, object] = {"closed": is_closed_set(embeddings, "val")}
    return record | ({"trained_classes": names} if len(names) < len(embeddings.classes) else {})


def one_shot(model: Embedder, recipe: Recipe, images: Images, split: str) -> dict[str, ScoreRecord]:
    """Omniglot's official one-shot error, for a model that has not seen its evaluation alphabets."""
    if images.name != "omniglot" or split != "test" or not images.open:
        return {}
    score = official_error(model, ink=spec.parse(recipe.data)[1].get("ink", "bright"), seed=recipe.split_seed)
    return {"one_shot_error": as_record(score)} if score else {}


def about(images: Images) -> dict[str, object]:
    counts = {split: int((images.split == i).sum()) for i, split in enumerate(SPLITS)}
    return {"name": images.name, "classes": len(images.classes), **counts, "skipped": len(images.skipped),
            **dict(images.decided)}  # fmt: skip


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
    names = ("loss_at_collapse", "seconds", "images_per_s", "steps", "epochs", "stopped", "parameters", "ranks", "wise")
    saved = run.metrics_or_nothing()
    return {name: saved[name] for name in names if name in saved}

"""A run's model on its held-out part: metrics.json, embeddings.parquet, the threshold kept with the model."""

import dataclasses
import json
from typing import Any

import torch

from likewise import spec
from likewise.assemble import load_images
from likewise.data.images import SPLITS, Images
from likewise.evaluate import Embeddings, Threshold, embed, evaluate, pick_threshold
from likewise.metrics.pairs import draw
from likewise.models import Embedder
from likewise.one_shot import official_error
from likewise.recipe import Recipe
from likewise.run import Run
from likewise.training import State

__all__ = ["evaluate_run"]


def evaluate_run(
    run: Run, *, model: Embedder | None = None, images: Images | None = None, state: State | None = None
) -> dict[str, Any]:
    """Embed everything once, score the test part (validation, where there is none); returns what metrics.json holds."""
    recipe = Recipe.load(run.recipe)
    model = model or Embedder.load(run.model)
    images = images or load_images(recipe)
    found = embed(model, images)
    found.save(run.embeddings)
    split = "test" if len(found.part("test")) else "val"
    if not len(found.part(split)):
        raise ValueError(f"{images.name} has no held-out pictures to score; give val=0.1, or split='ratio(test=0.2)'")
    threshold = threshold_of(found, recipe)
    said = {
        "run": run.name,
        "split": split,
        "open": not seen(found, split),
        "scores": scores_of(found, split, recipe, threshold) | one_shot(model, recipe, images, split),
        "val": scores_of(found, "val", recipe, threshold) if split == "test" and len(found.part("val")) else {},
        "threshold": threshold._asdict() if threshold else None,
        "data": about(images),
        **(of_training(state, images) if state else earlier(run)),
    }
    keep_threshold(run, model, threshold)
    run.write("metrics.json", json.dumps(said, indent=1))
    return said


def seen(found: Embeddings, split: str) -> bool:
    """Whether the classes of a part were trained on (closed set)."""
    return bool(torch.isin(found.part(split).labels, found.part("train").labels).any())


def scores_of(found: Embeddings, split: str, recipe: Recipe, threshold: Threshold | None) -> dict[str, Any]:
    reference = found.part("train") if seen(found, split) else None
    scores = evaluate(
        found.part(split),
        reference,
        sim=recipe.sim,
        threshold=threshold.value if threshold else None,
        seed=recipe.split_seed,
        quick=split == "val",
    )
    return {name: dataclasses.asdict(score) for name, score in scores.items()}


def one_shot(model: Embedder, recipe: Recipe, images: Images, split: str) -> dict[str, Any]:
    """Omniglot's official one-shot error, for a model that has not seen its evaluation alphabets."""
    if images.name != "omniglot" or split != "test" or not images.open:
        return {}
    score = official_error(model, ink=spec.parse(recipe.data)[1].get("ink", "bright"), seed=recipe.split_seed)
    return {"one_shot_error": dataclasses.asdict(score)} if score else {}


def threshold_of(found: Embeddings, recipe: Recipe) -> Threshold | None:
    """From pairs of the validation part; None where it has no two pictures of one class, or only one class."""
    val = found.part("val")
    if not len(val) or not len(draw(val.labels, 1).same):
        return None
    return pick_threshold(val, sim=recipe.sim, open_set=not seen(found, "val"), seed=recipe.split_seed)


def keep_threshold(run: Run, model: Embedder, threshold: Threshold | None) -> None:
    model.info["threshold"] = threshold._asdict() if threshold else None
    model.save(run.model)


def about(images: Images) -> dict[str, Any]:
    counts = {split: int((images.split == i).sum()) for i, split in enumerate(SPLITS)}
    return {"name": images.name, "classes": len(images.classes), **counts, "skipped": len(images.skipped)}


def of_training(state: State, images: Images) -> dict[str, Any]:
    """What the training itself has to say; the chance value is for batches as they were drawn."""
    chance = state.loss_fn.chance() if hasattr(state.loss_fn, "chance") else None
    return {
        "chance": chance,
        "seconds": round(state.seconds, 2),
        "images_per_s": round(state.seen / max(state.seconds, 1e-9), 1),
        "steps": state.step,
        "epochs": state.epochs_done,
        "stopped": state.stop or "",
        "parameters": sum(p.numel() for p in state.model.parameters()),
    }


def earlier(run: Run) -> dict[str, Any]:
    """What metrics.json said of the training before."""
    kept = ("chance", "seconds", "images_per_s", "steps", "epochs", "stopped", "parameters")
    held = json.loads(run.metrics.read_text(encoding="utf-8")) if run.metrics.exists() else {}
    return {name: held[name] for name in kept if name in held}

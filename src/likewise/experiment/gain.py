"""Whether training helped, in one sentence, and what to change where it did not; and what the doctor reads from it."""

import math

from likewise.evaluate.baselines import is_better, is_worse
from likewise.experiment.build import NO_WEIGHTS
from likewise.experiment.imagenet import imagenet
from likewise.experiment.recipe import Recipe
from likewise.experiment.records import BaselineRecord, PairedRecord, WithoutTraining

__all__ = ["against", "also_better", "note", "remark", "remedy", "rows", "warning"]

TITLES = {
    "pixels": "raw pixels",
    "values": "the raw values",
    "untrained": "the network before training",
    "published": "frozen published features",
}
FEW_STEPS = 200
MOST_QUERIES = 100_000  # beyond, the difference does not matter


def warning(record: WithoutTraining, recipe: Recipe, steps: int | None = None) -> str:
    """The sentence to say first: training made it worse, or did not help beyond doubt; empty where it helped.

    Training helped where its main score is above that of every baseline by the paired difference, or where another of
    the main scores is and this one is not lower; `remark` says the latter.
    """
    main = record["main"]
    apart = {name: one["difference"][main] for name, one in record["baselines"].items() if main in one["difference"]}
    failed = {name: one for name, one in apart.items() if not is_better(one)}
    if not failed:
        return ""
    name = min(failed, key=lambda each: failed[each]["difference"])
    if remark(record, recipe):
        return ""
    return f"{against(record, name, recipe)}; what to change: {remedy(name, recipe, steps)}"


def remark(record: WithoutTraining, recipe: Recipe) -> list[str]:
    """A caveat: a baseline is as good in the main score, while another score is above it beyond doubt."""
    main = record["main"]
    apart = {name: one["difference"][main] for name, one in record["baselines"].items() if main in one["difference"]}
    failed = {name: one for name, one in apart.items() if not is_better(one)}
    if not failed or any(one["difference"] < 0 for one in failed.values()):
        return []
    if not all(also_better(record["baselines"][name], main) for name in failed):
        return []
    return [against(record, min(failed, key=lambda each: failed[each]["difference"]), recipe)]


def against(record: WithoutTraining, name: str, recipe: Recipe) -> str:
    """The main score against that of a baseline, with the paired difference."""
    main, one = record["main"], record["baselines"][name]
    apart = one["difference"][main]
    ours, theirs = record["trained"][main]["value"], one["scores"][main]["value"]
    sentence = "Training made it worse than" if is_worse(apart) else "Training is not beyond doubt better than"
    sentence = "Training made it better than" if is_better(apart) else sentence
    difference = f"{apart['difference']:+.4f}, 95 % interval {apart['low']:+.4f} to {apart['high']:+.4f}"
    figures = f"{main} {ours:.4f} against {theirs:.4f} ({difference}{wanted_queries(apart, recipe)})"
    return f"{sentence} {TITLES.get(name, name)}: {figures}{also_better(one, main)}"


def wanted_queries(apart: PairedRecord, recipe: Recipe) -> str:
    """`, which some 2,300 images would tell`: queries for an interval above 0, should the difference stay as it is."""
    if apart["difference"] <= 0 or recipe.lr == 0:
        return ""
    needed = apart["n"] * max(1.5, ((apart["difference"] - apart["low"]) / apart["difference"]) ** 2)
    return f", which about {float(f'{needed:.1g}'):,.0f} test images could tell" if needed <= MOST_QUERIES else ""


def also_better(baseline: BaselineRecord, main: str) -> str:
    """`, while map@r rose by 0.2310`, or an empty string."""
    others = {name: one for name, one in baseline["difference"].items() if name != main and is_better(one)}
    return "".join(f", while {name} rose by {one['difference']:.4f}" for name, one in list(others.items())[:1])


def remedy(name: str, recipe: Recipe, steps: int | None) -> str:
    """What to change where a baseline was not beaten."""
    if recipe.lr == 0:
        return "lr=0 leaves the weights as they are; give lr=0.002"
    if steps is not None and 0 < steps < FEW_STEPS:
        more = math.ceil(recipe.epochs * FEW_STEPS / steps)
        return f"{steps} optimizer steps are few; give epochs={more} or more, or smaller batches (sampler=)"
    if name == "published" and recipe.weights in ("", NO_WEIGHTS):
        start = imagenet()
        which = f"network={start.network} weights={start.weights} " if start else ""
        return f"start from these weights: {which}channels=3 size=96 lr=0.0003"
    if name == "published":
        return f"train them less: lr={recipe.lr / 10:g}, frozen_epochs={max(1, recipe.epochs // 2)}, or dim=0"
    if name == "untrained":
        return f"train longer, epochs={3 * recipe.epochs}, or faster, lr={3 * recipe.lr:g}"
    if recipe.size:
        return f"epochs={3 * recipe.epochs}, or another size than {recipe.size} (0 is that of the images)"
    return f"train longer, epochs={3 * recipe.epochs}, or vary the images: augment=light"


def rows(record: WithoutTraining) -> list[tuple[str, str, str, str, str]]:
    """The table: method, score, value, trained less it, and its interval; the trained model comes last."""
    listed = []
    for one in record["baselines"].values():
        for i, (name, score) in enumerate(one["scores"].items()):
            apart = one["difference"][name]
            interval = f"{apart['low']:+.4f} to {apart['high']:+.4f}"
            listed.append(
                ("" if i else one["what"], name, f"{score['value']:.4f}", f"{apart['difference']:+.4f}", interval)
            )
    for i, (name, score) in enumerate(record["trained"].items()):
        listed.append(("" if i else "this run", name, f"{score['value']:.4f}", "", ""))
    return listed


def note(record: WithoutTraining) -> str:
    """Which images it is of: `on 500 of 1,539 queries and ...`, all of them where none was left out."""
    queries, of = record["queries"], record["queries_of"]
    drawn = f"{queries:,} of the {of:,}" if queries < of else f"all {of:,}"
    if not record["references_of"]:
        return f"on {drawn} images"
    references, of = record["references"], record["references_of"]
    searched = f"{references:,} of {of:,}" if references < of else f"all {of:,}"
    return f"on {drawn} images, with {searched} training images as references"

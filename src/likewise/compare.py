"""Many recipes, the same data, equal budgets, one table: with intervals, and bold only where a paired test says so."""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import torch

from likewise.evaluate import Embeddings, Measured, Ratio, difference, draw_pairs, intervals, measure
from likewise.launch import Watch, resume, train
from likewise.metrics.pairs import even
from likewise.pairing import kept_pairs
from likewise.recipe import Recipe
from likewise.run import Run, replacing
from likewise.spec import SpecError

__all__ = ["Comparison", "Row", "compare", "parse_over", "variants"]

METRICS = ("knn@1", "map@r", "silhouette", "pair_accuracy", "eer")
LOWER_IS_BETTER = {"eer", "one_shot_error"}
LEVEL = 0.05
FIXED_THRESHOLD = 0.5


@dataclass(frozen=True)
class Row:
    """One method: its recipe, its runs (one a seed) and what came of them."""

    label: str
    recipe: Recipe
    runs: tuple[Run, ...]
    scores: dict[str, dict[str, float]]  # name: value, low, high, n
    fixed: float  # accuracy on the same test pairs when distances below 0.5 are called the same
    seconds: float
    images_per_s: float


@dataclass(frozen=True)
class Comparison:
    """All rows, and for each metric the row that is best beyond doubt, where one is."""

    folder: Path
    rows: tuple[Row, ...]
    best: dict[str, str]  # metric: label; a metric without a significant best is left out
    p: dict[str, dict[str, float]]  # metric: label: p of the paired test against the best value, Holm-corrected

    def to_dict(self) -> dict[str, Any]:
        rows = [
            {
                "label": row.label,
                "recipe": row.recipe.to_dict(),
                "runs": [str(run.path.relative_to(self.folder)) for run in row.runs],
                "scores": row.scores,
                "accuracy at fixed threshold 0.5": row.fixed,
                "seconds": row.seconds,
                "images_per_s": row.images_per_s,
            }
            for row in self.rows
        ]
        return {"rows": rows, "best": self.best, "p": self.p}


def parse_over(texts: Iterable[str]) -> dict[str, list[str]]:
    """`['loss=softmax,triplet(margin=0.2, soft=True)']` -> `{'loss': ['softmax', 'triplet(margin=0.2, soft=True)']}`.

    Commas inside brackets or quotes part nothing. Errors: SpecError for what is not field=value,value.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        listed = [value.strip() for value in outer_commas(values)]
        if not equals or not all(listed):
            raise SpecError(f"--over takes field=value,value,..., such as loss=softmax,contrastive; got {text!r}")
        found[name] = listed
    return found


def outer_commas(text: str) -> list[str]:
    """The text cut at the commas that stand in no bracket and in no quotes."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        depth += (sign in "([{") - (sign in ")]}") if not quote else 0
        if sign == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def variants(recipes: Mapping[str, Recipe], over: Mapping[str, Sequence[str]]) -> dict[str, Recipe]:
    """Every recipe with every combination of the values, by what differs. Errors: SpecError, before any run."""
    found: dict[str, Recipe] = {}
    for name, recipe in recipes.items():
        for values in product(*over.values()):
            settings = [f"{field}={value}" for field, value in zip(over, values, strict=True)]
            label = ", ".join([name] * (len(recipes) > 1 or not values) + list(values))
            found[label] = recipe.override(*settings)
    return found


def compare(
    recipes: Mapping[str, Recipe],
    *,
    folder: str | os.PathLike,
    seeds: int = 1,
    watch: Watch | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Comparison:
    """Train every recipe with every seed, or go on where an earlier call stopped, and compare them.

    Recipes must share data and split: the paired tests are on the same queries. Errors: ValueError where they do not.
    """
    folder = Path(folder)
    check_same_data(recipes)
    rows = []
    for label, recipe in recipes.items():
        runs = tuple(done(folder, label, recipe.replace(seed=recipe.seed + i), watch, say) for i in range(seeds))
        rows.append(runs)
    measured = [seen(runs) for runs in rows]
    made = tuple(row(*parts) for parts in zip(recipes, recipes.values(), rows, measured, strict=True))
    best, p = judged(made, measured)
    result = Comparison(folder, made, best, p)
    with replacing(folder / "compare.json") as temporary:
        temporary.write_text(json.dumps(result.to_dict(), indent=1), encoding="utf-8")
    return result


def check_same_data(recipes: Mapping[str, Recipe]) -> None:
    shared = ("data", "split", "val", "split_seed", "min_per_class", "max_per_class", "max_classes")
    for field in shared:
        values = dict.fromkeys(getattr(recipe, field) for recipe in recipes.values())
        if len(values) > 1:
            raise ValueError(
                f"a comparison is on the same pictures, but {field} differs: {', '.join(map(str, values))}"
            )


def done(folder: Path, label: str, recipe: Recipe, watch: Watch | None, say: Callable[[str], None]) -> Run:
    """The run of one method and seed: as it is where it is finished, gone on with where it is not, else trained."""
    name = f"{slug(label)}-seed{recipe.seed}"
    path = folder / "runs" / name
    if (path / "metrics.json").exists():
        return Run(path)
    if (path / "checkpoints" / "last.safetensors").exists():
        say(f"{label}, seed {recipe.seed}: going on")
        return resume(path, watch=watch)[0]
    say(f"{label}, seed {recipe.seed}")
    path = path if not path.exists() else path.with_name(f"{name}-again")
    return train(recipe, out=folder / "runs", name=path.name, watch=watch)[0]


def slug(label: str) -> str:
    """A label as a file name."""
    return re.sub(r"[^A-Za-z0-9.=]+", "-", label).strip("-")[:80]


def seen(runs: Sequence[Run]) -> Measured:
    """A method's metrics query by query, its seeds summed: each query's average over them, exactly."""
    measured = [of_run(run) for run in runs]
    shared = [name for name in measured[0].ratios if all(name in m.ratios for m in measured)]
    ratios = {
        name: Ratio(sum_of(m.ratios[name].over for m in measured), sum_of(m.ratios[name].under for m in measured))
        for name in shared
    }
    return measured[0]._replace(ratios=ratios)


def sum_of(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(tensors)).sum(0)


def of_run(run: Run) -> Measured:
    found, recipe, split = Embeddings.load(run.embeddings), Recipe.load(run.recipe), run.scores()["split"]
    query, train_part = found.part(split), found.part("train")
    closed = bool(torch.isin(query.labels, train_part.labels).any())
    return measure(query, train_part if closed else None, sim=recipe.sim, seed=recipe.split_seed)


def row(label: str, recipe: Recipe, runs: tuple[Run, ...], measured: Measured) -> Row:
    held = [run.scores() for run in runs]
    scores = {name: widest([h["scores"][name] for h in held if name in h["scores"]]) for name in held[0]["scores"]}
    drawn = intervals.bootstrap(measured.ratios, measured.units, seed=recipe.split_seed)
    scores |= {name: dataclasses.asdict(score) for name, score in drawn.items()}
    fixed = mean(fixed_threshold(run) for run in runs)
    return Row(
        label, recipe, runs, scores, fixed, mean(h["seconds"] for h in held), mean(h["images_per_s"] for h in held)
    )


def widest(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean over seeds, and an interval that covers each seed's own."""
    low, high = min(s["low"] for s in scores), max(s["high"] for s in scores)
    return {"value": mean(s["value"] for s in scores), "low": low, "high": high, "n": scores[0]["n"]}


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def fixed_threshold(run: Run) -> float:
    """Accuracy on balanced test pairs that calls two pictures the same below a distance of 0.5, whatever the model."""
    split = run.scores()["split"]
    query = Embeddings.load(run.embeddings).part(split)
    pairs = kept_pairs(run, query, split) or draw_pairs(query.labels, seed=Recipe.load(run.recipe).split_seed)
    distance_T = (query.vectors[pairs.first] - query.vectors[pairs.second]).norm(dim=-1)
    return float(((distance_T < FIXED_THRESHOLD) == pairs.same)[even(pairs.same)].float().mean())


def judged(rows: Sequence[Row], measured: Sequence[Measured]) -> tuple[dict[str, str], dict[str, dict[str, float]]]:
    """For each metric with a value per query: p of every row against the best, and the best where all are clear."""
    pairs = combinations(range(len(rows)), 2)
    paired = {(a, b): difference(measured[a], measured[b]) for a, b in pairs}
    best: dict[str, str] = {}
    found: dict[str, dict[str, float]] = {}
    for name in METRICS:
        if len(rows) < 2 or not all(name in m.ratios for m in measured):
            continue
        top = max(range(len(rows)), key=lambda i: rows[i].scores[name]["value"])
        p = holm({rows[i].label: paired[min(top, i), max(top, i)][name].p for i in range(len(rows)) if i != top})
        found[name] = p
        if all(value < LEVEL for value in p.values()):
            best[name] = rows[top].label
    return best, found


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's correction for as many tests as there are. Holm, 1979."""
    found: dict[str, float] = {}
    worst = 0.0
    for rank, (label, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        worst = max(worst, min(1.0, value * (len(p) - rank)))
        found[label] = worst
    return found

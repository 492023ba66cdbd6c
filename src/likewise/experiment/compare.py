"""Many recipes, the same data, equal budgets, one table: with intervals, and bold only where a paired test says so."""

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations, product
from pathlib import Path
from zlib import crc32

from likewise import spec
from likewise.atomic import replacing
from likewise.evaluate import DivergedError, Embeddings, Measured, draw_pairs, measure
from likewise.evaluate.resampling import strata, units
from likewise.evaluate.significance import Comparable, apart, over_seeds
from likewise.evaluate.verification import CURVED, Resampled, resampled
from likewise.experiment.build import resolve_defaults
from likewise.experiment.compared_baselines import Baseline, baselines_of
from likewise.experiment.recipe import NAMED, Recipe, known
from likewise.experiment.records import Metrics, ScoreRecord
from likewise.experiment.run import Run
from likewise.experiment.thresholds import kept_pairs
from likewise.experiment.train import check_same_recipe, obtain
from likewise.metrics import intervals
from likewise.metrics.sampled_pairs import Pairs, even, similarities
from likewise.safety import bounds, notebook
from likewise.spec import SpecError
from likewise.training.watch import Watch

__all__ = ["Comparison", "Row", "compare", "parse_over", "variants"]

# What the table shows, in this order, where it was measured.
METRICS = ("knn@1", "map@r", "silhouette", "silhouette_simplified", "one_shot_error", "pair_accuracy", "eer")
LOWER_IS_BETTER = {"eer", "one_shot_error"}
SHARED = ("data", "split", "val", "split_seed", "min_per_class", "max_per_class", "max_classes")
BUDGET = ("epochs", "pretrain_epochs", "max_seconds")
PAIRWISE = ("knn@1", "map@r", "pair_accuracy")  # of these every method is tested against every other one
MOST_ROWS = 20  # of a comparison whose methods are tested pairwise
LEVEL = 0.05
FIXED_THRESHOLD = 0.5


@dataclass(frozen=True)
class Row:
    """One method: its recipe, its runs (one a seed) and what came of them."""

    label: str
    recipe: Recipe
    runs: tuple[Run, ...]
    scores: dict[str, dict[str, float]]  # name: value, low, high, n
    fixed: float | None  # accuracy on the same test pairs when distances below 0.5 are called the same
    seconds: float
    images_per_s: float


@dataclass(frozen=True)
class Comparison:
    """All rows, and for each metric the row that is best beyond doubt, where one is."""

    folder: Path
    rows: tuple[Row, ...]
    best: dict[str, str]  # metric: label; a metric without a significant best is left out
    p: dict[str, dict[str, float]]  # metric: label: p of the paired test against the best value, Holm-corrected
    failed: dict[str, str] = dataclasses.field(default_factory=dict)  # label: why it has no scores
    wins: dict[str, dict[str, list[str]]] = dataclasses.field(default_factory=dict)  # metric: label: whom it is above
    without_training: tuple[Baseline, ...] = ()

    def _repr_html_(self) -> str:
        """For a notebook: a row for each method, its value and interval of each score, and which are best by a test."""
        names = [name for name in METRICS if any(name in row.scores for row in self.rows)]
        rows = [(row.label, *(self._cell(row, name) for name in names)) for row in self.rows]
        rows += [(label, f"failed: {why}") for label, why in self.failed.items()]
        note = f"* better than every other method by a paired test (p < {LEVEL}, Holm)" if self.best else ""
        return notebook.table(f"{len(self.rows)} methods", ("method", *names), rows, note=note)

    def _cell(self, row: Row, name: str) -> str:
        """A value with its interval, and a star where it is best beyond doubt; empty where it was not measured."""
        score = row.scores.get(name)
        if not score:
            return ""
        star = "*" if self.best.get(name) == row.label else ""
        return f"{score['value']:.3f}{star} ({score['low']:.3f} – {score['high']:.3f})"

    def to_dict(self) -> dict[str, object]:
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
        judged = {"best": self.best, "p": self.p, "wins": self.wins, "failed": self.failed}
        return {"rows": rows, **judged, "without_training": [one.to_dict() for one in self.without_training]}


def parse_over(texts: Iterable[str]) -> dict[str, list[str]]:
    """`['loss=softmax,triplet(margin=0.2, soft=True)']` -> `{'loss': ['softmax', 'triplet(margin=0.2, soft=True)']}`.

    Commas inside brackets or quotes part nothing. Errors: SpecError for what is not field=value,value.
    """
    values_by_field: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        listed = [value.strip() for value in outer_commas(values)]
        if not equals or not all(listed):
            raise SpecError(f"--over takes field=value,value,..., such as loss=softmax,contrastive; got {text!r}")
        values_by_field[name] = listed
    return values_by_field


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
    by_label: dict[str, Recipe] = {}
    for name, recipe in recipes.items():
        for values in product(*over.values()):
            settings = [f"{field}={value}" for field, value in zip(over, values, strict=True)]
            labels = [v if known(f) in NAMED else f"{f}={v}" for f, v in zip(over, values, strict=True)]
            by_label[", ".join([name] * (len(recipes) > 1 or not values) + labels)] = recipe.override(*settings)
    return by_label


def compare(
    recipes: Mapping[str, Recipe],
    *,
    folder: str | os.PathLike,
    seeds: int = 1,
    over: Collection[str] = (),
    watch: Watch | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Comparison:
    """Train every recipe with every seed, or go on where an earlier call stopped, and compare them.

    over: fields that differ on purpose. Recipes must share data and split, since the paired tests are on the same
    queries, and the budget (epochs, seconds) unless it is in `over`. A method that diverges is a row without scores.
    Errors: ValueError where they do not, where the folder holds runs of other recipes, or where all diverge.
    """
    folder = Path(folder)
    check_shared(recipes, SHARED, "a comparison is on the same images")
    check_shared(recipes, [name for name in BUDGET if name not in over], "every method has the same budget")
    check_same_methods(folder, recipes)
    planned = plan(folder, recipes, seeds)
    trained: dict[str, tuple[Run, ...]] = {}
    failed: dict[str, str] = {}
    for i, (label, tasks) in enumerate(planned.items()):
        try:
            where = f"{i + 1} of {len(planned)}: {label}"
            trained[label] = tuple(
                obtain(path, task, watch=watch, announce=partial(announced, say, f"{where}, seed {task.seed}"))
                for path, task in tasks
            )
        except DivergedError as error:
            failed[label] = str(error)
    if not trained:
        raise DivergedError(f"every method diverged; {next(iter(failed))}: {next(iter(failed.values()))}")
    say("comparing")
    rows, comparables = zip(*(scored(label, recipes[label], runs) for label, runs in trained.items()), strict=True)
    best, p = judged(rows, comparables)
    without = baselines_of({row.label: row.runs[0] for row in rows})
    result = Comparison(folder, rows, best, p, failed, pairwise(rows, comparables), without)
    with replacing(folder / "compare.json") as temporary:
        temporary.write_text(json.dumps(result.to_dict(), indent=1), encoding="utf-8")
    return result


def check_same_methods(folder: Path, recipes: Mapping[str, Recipe]) -> None:
    """Errors: ValueError where the folder holds a comparison of other methods, which this one would replace."""
    path = folder / "compare.json"
    if not path.exists():
        return
    before = bounds.parsed_json(bounds.text(path, bounds.JSON_FILE, "a comparison"), str(path))
    labels = [row.get("label") for row in before.get("rows", []) if isinstance(row, dict)]
    labels += list(before.get("failed") or {})
    if set(labels) - set(recipes):
        raise ValueError(
            f"{folder} holds a comparison of {', '.join(map(str, labels))}; give this one another --name, or delete it"
        )


def check_shared(recipes: Mapping[str, Recipe], fields: Iterable[str], why: str) -> None:
    """Errors: ValueError for a field in which two recipes differ, with its values and the first that has each."""
    for field in fields:
        whose: dict[object, str] = {}
        for label, recipe in recipes.items():
            whose.setdefault(getattr(recipe, field), label)
        if len(whose) > 1:
            values = ", ".join(f"{value} ({label})" for value, label in whose.items())
            raise ValueError(f"{why}, but {field} differs: {values}; give {field}=... for all of them")


def announced(say: Callable[[str], None], label: str, how: str) -> None:
    say(f"{label}: {how}" if how else label)


Task = tuple[Path, Recipe]  # the folder of a run, and what is trained there


def plan(folder: Path, recipes: Mapping[str, Recipe], seeds: int) -> dict[str, list[Task]]:
    """Every run by label. Errors: ValueError where a folder holds a run of another recipe."""
    names = {label: slug(label) for label in recipes}
    twice = {name for name, n in Counter(names.values()).items() if n > 1}
    tasks: dict[str, list[Task]] = {}
    for label, recipe in recipes.items():
        name = names[label] if names[label] not in twice else f"{names[label]}-{crc32(label.encode()):08x}"
        wanted = [resolve_defaults(recipe.replace(seed=recipe.seed + i)) for i in range(seeds)]
        tasks[label] = [(folder / "runs" / f"{name}-seed{each.seed}", each) for each in wanted]
    for path, recipe in chain.from_iterable(tasks.values()):
        check_same_recipe(path, recipe)
    return tasks


def slug(label: str) -> str:
    """A label as a file name."""
    return re.sub(r"[^A-Za-z0-9.=]+", "-", label).strip("-")[:80]


def scored(label: str, recipe: Recipe, runs: tuple[Run, ...]) -> tuple[Row, Comparable]:
    """A method's row, and what it is compared by; several seeds are averaged."""
    seen = [of_run(run) for run in runs]
    averaged = over_seeds([comparable for comparable, _ in seen])
    fixed = [accuracy for _, accuracy in seen if accuracy is not None]
    return row(label, recipe, runs, averaged.queries, mean(fixed) if fixed else None), averaged


def of_run(run: Run) -> tuple[Comparable, float | None]:
    """What a run is compared by, and its accuracy at the fixed threshold where there are pairs."""
    saved, recipe = run.metrics(), run.recipe
    embeddings = Embeddings.load(run.embeddings)
    query, reference = embeddings.part(saved["split"]), None if saved["open"] else embeddings.part("train")
    measured = measure(query, reference, sim=recipe.sim, seed=recipe.split_seed)
    pairs = kept_pairs(run, query, saved["split"]) or draw_pairs(query.labels, seed=recipe.split_seed)
    if not len(pairs.same):
        return Comparable(measured, {}), None
    return Comparable(measured, of_pairs(query, pairs, recipe, saved)), fixed_threshold(query, pairs)


def of_pairs(query: Embeddings, pairs: Pairs, recipe: Recipe, saved: Metrics) -> dict[str, Resampled]:
    """The table's scores of pairs, with the resamples of their intervals."""
    curves = {name: of for name, of in CURVED.items() if name in METRICS}
    score_T = similarities(query.vectors, pairs, sim=spec.bind("sim", recipe.sim))
    threshold = saved.get("threshold")
    at = threshold["value"] if threshold else None
    drawn_N = units(query.labels, saved["open"])
    strata_N = strata(query.labels, drawn_N)
    values = resampled(pairs, score_T, drawn_N, strata_N=strata_N, curves=curves, threshold=at, seed=recipe.split_seed)
    return {name: x for name, x in values.items() if name in METRICS}


def fixed_threshold(query: Embeddings, pairs: Pairs) -> float:
    """Accuracy on balanced pairs that calls two images the same below a distance of 0.5, whatever the model."""
    distance_T = (query.vectors[pairs.first] - query.vectors[pairs.second]).norm(dim=-1)
    return float(((distance_T < FIXED_THRESHOLD) == pairs.same)[even(pairs.same)].float().mean())


def row(label: str, recipe: Recipe, runs: tuple[Run, ...], measured: Measured, fixed: float | None) -> Row:
    saved = [run.metrics() for run in runs]
    scores = {name: widest([h["scores"][name] for h in saved if name in h["scores"]]) for name in saved[0]["scores"]}
    drawn = intervals.bootstrap(measured.ratios, measured.units, seed=recipe.split_seed)
    scores |= {name: dataclasses.asdict(score) for name, score in drawn.items()}
    seconds, speed = (mean(h[name] for h in saved) for name in ("seconds", "images_per_s"))
    return Row(label, recipe, runs, scores, fixed, seconds, speed)


def widest(scores: Sequence[ScoreRecord]) -> dict[str, float]:
    """The mean over seeds, and an interval that covers each seed's own."""
    low, high = min(s["low"] for s in scores), max(s["high"] for s in scores)
    return {"value": mean(s["value"] for s in scores), "low": low, "high": high, "n": scores[0]["n"]}


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def judged(
    rows: Sequence[Row], comparables: Sequence[Comparable]
) -> tuple[dict[str, str], dict[str, dict[str, float]]]:
    """For each metric that all rows have: p of every row against the best, and the best where all are clear."""
    best: dict[str, str] = {}
    against: dict[str, dict[str, float]] = {}
    for name in METRICS if len(rows) > 1 else ():
        if not all(name in one for one in comparables):
            continue
        top = max(range(len(rows)), key=lambda i: merit(name, rows[i]))
        others = [i for i in range(len(rows)) if i != top]
        against[name] = intervals.holm({rows[i].label: apart(name, comparables[top], comparables[i]).p for i in others})
        if all(p < LEVEL for p in against[name].values()):
            best[name] = rows[top].label
    return best, against


def pairwise(rows: Sequence[Row], comparables: Sequence[Comparable]) -> dict[str, dict[str, list[str]]]:
    """The labels that each row is better than, by metrics of PAIRWISE that all rows have, corrected over all pairs."""
    wins: dict[str, dict[str, list[str]]] = {}
    pairs = list(combinations(range(len(rows)), 2))
    for name in PAIRWISE if 1 < len(rows) <= MOST_ROWS else ():
        if not all(name in one for one in comparables):
            continue
        p = intervals.holm({str(pair): apart(name, comparables[pair[0]], comparables[pair[1]]).p for pair in pairs})
        wins[name] = {row.label: [] for row in rows}
        for pair in pairs:
            if p[str(pair)] < LEVEL:
                above, below = sorted(pair, key=lambda i: -merit(name, rows[i]))
                wins[name][rows[above].label].append(rows[below].label)
    return wins


def merit(name: str, row: Row) -> float:
    """A score, the higher the better."""
    value = row.scores[name]["value"]
    return -value if name in LOWER_IS_BETTER else value

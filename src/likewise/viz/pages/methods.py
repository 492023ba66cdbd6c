"""Comparison page: facts, differences between the recipes, and where the runs are."""

from collections.abc import Mapping
from dataclasses import fields

from likewise.experiment.compare import BUDGET, Comparison
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.viz.pages.html import Html, table, tag

__all__ = ["facts", "recipes"]


def facts(comparison: Comparison) -> Html:
    """Data, budget and seeds of the comparison."""
    metrics, first = comparison.rows[0].runs[0].metrics(), comparison.rows[0].recipe
    counted: Mapping[str, object] = metrics["data"]
    named = {"train": "train", "val": "validation", "test": "test"}
    parts = [f"{counted[part]:,} {name}" for part, name in named.items() if counted.get(part)]
    known = {
        "Data": first.data,
        "Images": f"{', '.join(parts)}; {counted['classes']:,} classes",
        "Evaluated on": f"{metrics['split']} images of classes {'not seen' if metrics['open'] else 'seen'} in training",
        "Methods": len(comparison.rows) + len(comparison.failed),
        "Budget of each run": budget(comparison),
        "Seeds": ", ".join(str(recipe_of(run).seed) for run in comparison.rows[0].runs),
    }
    return tag("dl", *(tag("div", tag("dt", k), tag("dd", v)) for k, v in known.items()), class_="facts")


def budget(comparison: Comparison) -> str:
    """`10 epochs`, `60 s`, or that it differs between methods."""
    recipes = [row.recipe for row in comparison.rows]
    if any(len({getattr(recipe, name) for recipe in recipes}) > 1 for name in BUDGET):
        return "differs, see below"
    seconds, epochs = recipes[0].max_seconds, recipes[0].epochs
    if seconds and all(row.seconds >= 0.95 * seconds for row in comparison.rows):
        return f"{seconds:g} s of training"
    limit = f", {seconds:g} s at most" if seconds else ""
    before = f", {recipes[0].pretrain_epochs} before as a classifier" if recipes[0].pretrain_epochs else ""
    return f"{epochs} epoch{'s' if epochs > 1 else ''}{before}{limit}"


def recipes(comparison: Comparison) -> list[Html]:
    """Fields that differ between the methods, shared fields, and where their runs are."""
    ran = {row.label: recipe_of(row.runs[0]) for row in comparison.rows}
    missing = [row for row in comparison.rows if not row.runs[0].report.is_file()]
    first = next(iter(ran.values()))
    names = [f.name for f in fields(Recipe) if f.name != "seed"]
    apart = [name for name in names if len({getattr(recipe, name) for recipe in ran.values()}) > 1]
    rows = [[label, *(tag("code", setting(recipe, name)) for name in apart)] for label, recipe in ran.items()]
    same = "".join(line for line in first.to_toml().splitlines(keepends=True) if line.split(" ")[0] not in apart)
    differ = [tag("p", "Differences:"), table(["Method", *apart], rows)] if apart else []
    above = comparison.folder.resolve().name
    reports = "\n".join(f"likewise report {above}/{row.runs[0].path.relative_to(comparison.folder)}" for row in missing)
    return [
        *differ,
        tag("details", tag("summary", "Shared fields"), tag("pre", same)),
        tag("p", "Each run is a folder as any other, with pages of its own."),
        *([tag("p", f"To write their reports, from the folder that contains {above}:")] if missing else []),
        *([tag("pre", reports)] if missing else []),
    ]


def recipe_of(run: Run) -> Recipe:
    """The recipe as trained, with defaults resolved."""
    return run.recipe


def setting(recipe: Recipe, name: str) -> str:
    value = getattr(recipe, name)
    return "none" if value in ("", None) else str(value).lower() if isinstance(value, bool) else str(value)

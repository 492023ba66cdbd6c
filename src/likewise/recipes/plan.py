"""A plan for a user's own data: looked at first, then network, size, weights, batch, loss and epochs by rule.

Each rule's measurement is in docs/log.md. The test part is never looked at but for near-copies.
"""

import dataclasses
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from likewise.data.images import Images
from likewise.data.scenes import TELLING
from likewise.experiment.build import resolve_defaults
from likewise.experiment.recipe import Recipe
from likewise.recipes.cost import cost_of, measured, memory
from likewise.recipes.facts import Facts, facts, peek
from likewise.recipes.rules import rules

__all__ = ["Plan", "plan"]

MINUTES = 10.0  # longest run without --minutes, from reading the images to the last page
WIDTH, INDENT = 80, 9  # columns of the printed plan


@dataclass(frozen=True)
class Plan:
    """A recipe, the reasons for its settings, and its estimated time and memory."""

    recipe: Recipe
    facts: Facts
    notes: tuple[str, ...]
    minutes: float
    memory_gib: float
    precision: str = ""  # what amp=auto measured

    def to_dict(self) -> dict[str, object]:
        return {
            "data": dataclasses.asdict(self.facts),
            "recipe": self.recipe.to_dict(),
            "notes": list(self.notes),
            "minutes": self.minutes,
            "memory_gib": self.memory_gib,
            "precision": self.precision,
        }

    def lines(self) -> list[str]:
        """Five entries of at most 80 columns, each with its further lines indented."""
        f, r = self.facts, self.recipe
        groups = f", {f.groups:,} groups" if f.groups else ""
        if f.groups_from:
            off = "; group_from=off to ignore" if f.groups_from == "file names" else ""
            groups += f" from {f.groups_from} (such as {', '.join(f.group_examples)}{off})"
        sizes = f"{f.smallest_class:,} to {f.largest_class:,} a class"
        drawn = f"{' and '.join(f.drawn)} drawn by {r.split}" if f.drawn else "as the source has them"
        near = ", ".join(f"{a} in {b} {share:.0%}" for a, b, share in f.near_copies if share >= TELLING)
        entries = [
            f"data     {f.images:,} images, {f.classes:,} classes of {sizes}, {f.kind()}{groups}",
            f"parts    train {f.train:,}, val {f.val:,}, test {f.test:,}; {drawn}; "
            f"near-copies: {near or 'few or none'}",
            f"network  {r.network}, size={r.size}, weights={r.weights or 'none'}, dim={r.dim}, "
            f"augment={r.augment or 'none'}",
            f"training loss={r.loss}, sampler={r.sampler}, epochs={r.epochs}, lr={r.lr:g}, "
            f"amp={r.amp}" + f" ({self.precision})" * bool(self.precision),
            f"cost     about {max(self.minutes, 0.1):.1f} minutes and {self.memory_gib:.1f} GiB here; "
            + ("; ".join(self.notes) or "change any field with field=value"),
        ]
        return [line for entry in entries for line in wrapped(entry)]


def wrapped(entry: str) -> list[str]:
    """Lines of at most 80 columns; the later ones are indented as far as the text of the first."""
    return textwrap.wrap(entry, WIDTH, subsequent_indent=" " * INDENT, break_long_words=False, break_on_hyphens=False)


def plan(recipe: Recipe, changes: Sequence[str] = (), *, minutes: float = 0.0, measure: bool = True) -> Plan:
    """The recipe of `folder` or `rows` for its data, with the user's `field=value` texts last.

    minutes: time limit of the whole run; 0 is MINUTES. Errors: ValueError for data that cannot be read.
    """
    if not (minutes >= 0 and math.isfinite(minutes)):
        raise ValueError(f"--minutes is how long the training may take, a number above 0, got {minutes}")
    overridden = recipe.override(*changes)
    fixed = {text.partition("=")[0].strip().replace("-", "_") for text in changes}
    images = peek(overridden)
    of_data = facts(images, overridden)
    chosen, notes = rules(of_data)
    drawn_up = recipe.replace(**chosen).override(*changes)
    if drawn_up.network != chosen.get("network", recipe.network) and "weights" not in fixed:
        drawn_up = drawn_up.replace(weights="", size=overridden.size)
    if not measure:
        return Plan(drawn_up, of_data, tuple(notes), 0.0, 0.0)
    return fitted(drawn_up, of_data, notes, minutes, fixed, images)


def fitted(recipe: Recipe, of_data: Facts, notes: list[str], minutes: float, fixed: set[str], images: Images) -> Plan:
    """The recipe with epochs that suit the time, by what is measured; memory too."""
    recipe = resolve_defaults(recipe)
    memory_before = memory()
    steps = measured(recipe, images, of_data)
    recipe = recipe.replace(amp=steps.amp)
    cost = cost_of(recipe, of_data, steps)
    epochs = recipe.epochs
    if "epochs" not in fixed:
        by_time = cost.epochs_within(60 * (minutes or MINUTES))
        if minutes:  # use the requested time, up to four times the usual number of epochs
            epochs = min(by_time, 4 * recipe.epochs)
        elif by_time < epochs:
            epochs = by_time
            notes = [*notes, f"cut to {MINUTES:.0f} minutes: --minutes 60 trains for longer"]
    recipe = recipe.replace(epochs=epochs)
    if minutes and "max_seconds" not in fixed:
        left = 60 * minutes - cost.read - cost.scoring
        recipe = recipe.replace(max_seconds=float(round(max(20 * minutes, left))))
    total = cost.total(epochs) / 60
    return Plan(recipe, of_data, tuple(notes), total, max(memory(), memory_before) / 2**30, steps.precision)

"""The facts of a finished run, and the verdict on it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from math import isfinite

from likewise.data.scenes import TELLING
from likewise.doctor import Finding
from likewise.doctor.verdict import Facts, Gain, Leak, Measured, Problem, Verdict, verdict_on
from likewise.evaluate.baselines import MAIN, is_better, is_worse
from likewise.experiment.checkup import examine
from likewise.experiment.gain import against, also_better, remedy
from likewise.experiment.recipe import Recipe
from likewise.experiment.records import WithoutTraining
from likewise.experiment.run import Run
from likewise.safety.bounds import Record

__all__ = ["facts_of", "keep_audit", "settings_in", "typed", "verdict_of"]

FIELDS = {f.name for f in fields(Recipe)}
LOWERED = re.compile(r"\b(?:lower|raise) (\w+) from \S+ to ([^\s,;]+)")
ASSIGNED = re.compile(r"\b(\w+)=('[^']*'|[^\s,;')(]+(?:\([^)]*\))?)")


def typed(run: Run) -> str:
    """The run's folder as typed beside the folder of runs: `runs/digits`."""
    path = run.path.resolve()
    return f"{path.parent.name}/{path.name}"


def verdict_of(run: Run, *, folder: str = "", metrics: Record | None = None) -> Verdict:
    """The verdict on a run.

    folder: the run as commands name it; the default is `typed(run)`. metrics: instead of its metrics.json.
    """
    saved = run.metrics_or_nothing() if metrics is None else metrics
    try:
        findings, _ = examine(run, metrics=saved)
    except (ValueError, TypeError):  # a run without embeddings, or a recipe without a loss
        findings = []
    try:
        recipe = run.recipe
    except ValueError:  # of another version: only the remedies need it
        recipe = Recipe()
    return verdict_on(facts_of(recipe, saved, findings, folder or typed(run)))


def keep_audit(run: Run, counts: Mapping[str, object]) -> None:
    """Write what an audit counted into metrics.json, with the verdict that follows from it."""
    if not run.metrics_file.exists():
        return
    saved = {name: value for name, value in run.metrics_or_nothing().items() if name != "verdict"} | {"audit": counts}
    record = {"verdict": verdict_of(run, metrics=saved).to_dict(), **saved}
    run.write("metrics.json", json.dumps(record, indent=1))


def facts_of(recipe: Recipe, metrics: Record, findings: Sequence[Finding], folder: str) -> Facts:
    """What metrics.json and the doctor say of a run."""
    scores = metrics.get("scores") or {}
    main = next((name for name in MAIN if measured(scores, name)), "")
    audited = metrics.get("audit")
    return Facts(
        run=folder,
        score=measured(scores, main),
        chance=metrics.get("majority") if main == "knn@1" and not metrics.get("open") else None,
        pairs=measured(scores, "pair_accuracy"),
        auc=measured(scores, "pair_auc"),
        ece=measured(scores, "ece"),
        gain=gain_of(recipe, metrics),
        leak=leak_of(metrics),
        audited=bool(audited),
        suspects=(audited["suspects"], audited["images"]) if audited else None,
        problems=tuple(Problem(f.name, f.happening, settings_in(f.change)) for f in findings),
        caveats=tuple(metrics.get("caveats") or ()),
    )


def measured(scores: Record, name: str) -> Measured | None:
    """A score with its interval; None where it, or its interval, was not measured."""
    score = scores.get(name)
    numbers = [(score or {}).get(key) for key in ("value", "low", "high", "n")]
    if not score or not all(isinstance(one, int | float) and isfinite(one) for one in numbers):
        return None
    return Measured(name, score["value"], score["low"], score["high"], int(score["n"]))


def gain_of(recipe: Recipe, metrics: Record) -> Gain | None:
    """The main score against the baseline that it is least above."""
    record: WithoutTraining | None = metrics.get("without_training")
    if not record:
        return None
    main, baselines = record["main"], record["baselines"]
    apart = {name: one["difference"][main] for name, one in baselines.items() if main in one["difference"]}
    if not apart or main not in record["trained"]:
        return None
    failed = [name for name, one in apart.items() if not is_better(one)]
    name = min(failed or apart, key=lambda each: apart[each]["difference"])
    return Gain(
        against(record, name, recipe),
        apart[name]["difference"],
        better=not failed,
        worse=is_worse(apart[name]),
        elsewhere=also_better(baselines[name], main),
        settings=settings_in(remedy(name, recipe, metrics.get("steps"))) if failed else (),
    )


def leak_of(metrics: Record) -> Leak | None:
    """What the audit counted, else what the quick look at a sample did."""
    if audited := metrics.get("audit"):
        if audited.get("leaked") is None:
            return None
        return Leak(audited["leaked"], audited["held_out"], audited.get("split", ""))
    looked = [one for one in metrics.get("near_copies") or () if one["other"] == "train"]
    scored = [one for one in looked if one["part"] == metrics.get("split")]
    leak = scored[0] if scored else None
    if leak is None or leak["copies"] < TELLING * leak["checked"]:
        return None
    return Leak(leak["copies"], leak["checked"], leak.get("split", ""), sample=True)


def settings_in(change: str) -> tuple[str, ...]:
    """The first recipe settings that a remedy names: `lower lr from 0.1 to 0.001` gives `lr=0.001`.

    Settings that follow one another without a word between them belong together.
    """
    if (lowered := LOWERED.search(change)) and lowered[1] in FIELDS:
        return (f"{lowered[1]}={lowered[2]}",)
    change = change.partition("give ")[2] or change
    settings: list[str] = []
    end = -1
    for each in ASSIGNED.finditer(change):
        if each[1] not in FIELDS:
            continue
        if settings and change[end : each.start()].strip():
            break
        settings.append(f"{each[1]}={each[2].strip(chr(39)).rstrip('.')}")
        end = each.end()
    return tuple(settings)

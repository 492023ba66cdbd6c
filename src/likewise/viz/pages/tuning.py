"""tune.html: the trials of a search, score against each setting and all settings at once, as one offline file."""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from likewise.atomic import replacing
from likewise.experiment.compare import LOWER_IS_BETTER
from likewise.experiment.tune import Attempt, Span, Tuned
from likewise.viz.pages.axes import Axis, axis_of
from likewise.viz.pages.document import document
from likewise.viz.pages.html import Html, Sorted, asset, script, table, tag

__all__ = ["write_tuning"]

BEST = 5  # trials that are coloured
MOST = 1_000  # trials on the page
WIDE, HIGH = 320, 200  # of a scatter
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40  # around it
RAIL = 16  # below the scores, for trials without one
BETWEEN, TALL = 130, 260  # of the parallel coordinates
STATES = {"complete": "finished", "pruned": "stopped early", "fail": "failed", "running": "not finished",
          "waiting": "not finished"}  # fmt: skip


def write_tuning(result: Tuned, space: Mapping[str, Sequence[str] | Span]) -> Path:
    """Write tune.html into the folder of the search, atomically."""
    path = result.folder / "tune.html"
    with replacing(path) as temporary:
        temporary.write_text(page(result, space), encoding="utf-8")
    return path


def page(result: Tuned, space: Mapping[str, Sequence[str] | Span]) -> str:
    """The document."""
    ranked = ranking(result)
    shown = ranked[:MOST]
    axes = {name: axis_of([t.settings.get(name) for t in shown], values) for name, values in space.items()}
    scored = [t.value for t in shown if t.value is not None]
    score = axis_of(scored, Span(min(scored), max(scored), whole=False), log=False)
    details = {t.number: sentence(t, result.monitor) for t in shown}
    order = axis_of([t.number for t in shown], Span(0, max(t.number for t in shown), whole=True), log=False)
    panels = [scatter("order of the trials", order, score, shown, [t.number for t in shown], result.monitor)]
    panels += [
        scatter(name, axes[name], score, shown, [t.settings.get(name) for t in shown], result.monitor) for name in space
    ]
    reading = tag("p", id="trial-text", class_="cell-text", role="status")
    parts = [
        ("best", "The best trials", [*best(result), reading]),
        ("settings", "Score against each setting", [tag("p", *legend(result)), tag("div", *panels, class_="trials")]),
        ("parallel", "All settings at once", parallel(axes, score, shown, result.monitor)),
        ("trials", "All trials", [every(shown, space, result), *rest(ranked)]),
    ]
    parts[-1][2].extend([
        script(json.dumps(details, ensure_ascii=False), type="application/json", id="trial-details"),
        script(asset("tuning.js")),
        script(asset("sort.js")),
    ])  # fmt: skip
    return document(result.folder.resolve().name, "Likewise tune", [facts(result, space)], parts)


def ranking(result: Tuned) -> list[Attempt]:
    """The best finished trial first; then those that were stopped early, then the failed ones."""
    sign = 1 if result.monitor in LOWER_IS_BETTER else -1
    place = {"complete": 0, "pruned": 1}
    return sorted(
        result.attempts,
        key=lambda t: (place.get(t.state, 2), math.inf if t.value is None else sign * t.value, t.number),
    )


def facts(result: Tuned, space: Mapping[str, Sequence[str] | Span]) -> Html:
    counted = {text: sum(STATES.get(t.state, t.state) == text for t in result.attempts) for text in STATES.values()}
    known = {
        "Data": result.best.data,
        "Trials": ", ".join(f"{n:,} {text}" for text, n in counted.items() if n),
        "Decided by": f"{result.monitor} on {'held-out classes' if result.apart else 'held-out images'} (validation)",
        "Searched": "; ".join(f"{name}: {described(values)}" for name, values in space.items()),
    }
    return tag("dl", *(tag("div", tag("dt", k), tag("dd", v)) for k, v in known.items()), class_="facts")


def described(values: Sequence[str] | Span) -> str:
    if not isinstance(values, Span):
        return ", ".join(values)
    return f"{values.low:g} to {values.high:g}{', logarithmic' if values.log else ''}"


def best(result: Tuned) -> list[Html]:
    """The winner in words, and the command that trains it."""
    first = ranking(result)[0]
    settings = ", ".join(f"{name} = {written(value)}" for name, value in first.settings.items())
    text = (
        f"Trial {first.number} is the best: {result.monitor} {written(first.value)} with {settings}. The test part was "
        "not read. The best of many trials is a little luckier than it will be on new images: compare it with the "
        "recipe you began with, over several seeds, before you rely on it."
    )
    above = result.folder.resolve().name
    where = f"To train it, from the folder that contains {above}:"
    return [tag("p", text), tag("p", where), tag("pre", f"likewise train {shlex.quote(f'{above}/best.toml')}")]


def legend(result: Tuned) -> list[Html | str]:
    better = "lower" if result.monitor in LOWER_IS_BETTER else "higher"
    kinds = {
        "best": ("●", f"one of the best {BEST}"), "complete": ("●", "finished"),
        "pruned": ("○", "stopped early, at its last score"), "fail": ("×", "without a score, below the others"),
    }  # fmt: skip
    marks = [
        part for class_, (sign, text) in kinds.items() for part in (tag("span", sign, class_=class_), f" {text}; ")
    ]
    walk = "Point at a trial, tap it, or walk from the best down with the arrow keys: it is marked in every drawing."
    return [f"{result.monitor}, {better} is better. ", *marks[:-1], f"{marks[-1].rstrip('; ')}. ", walk]


def kind_of(place: int, trial: Attempt) -> str:
    if trial.value is None:
        return "fail"
    return "best" if place < BEST and trial.state == "complete" else trial.state


def scatter(
    name: str, x_axis: Axis, score: Axis, trials: Sequence[Attempt], values: Sequence[object], monitor: str
) -> Html:
    """Score against one setting."""
    width, height = WIDE - LEFT - RIGHT, HIGH - TOP - BOTTOM - RAIL
    inside: list[Html] = []
    for value, text in x_axis.ticks:
        x = LEFT + x_axis(value) * width
        inside += [line(x, TOP, x, TOP + height), label(text, x, TOP + height + RAIL + 10, "middle")]
    for value, text in score.ticks:
        y = TOP + (1 - score(value)) * height
        inside += [line(LEFT, y, LEFT + width, y), label(text, LEFT - 5, y, "end")]
    marks: list[Html] = []
    ordered = list(enumerate(zip(trials, values, strict=True)))
    for place, (trial, value) in reversed(ordered):  # the best are drawn last, above the others
        if value is None:
            continue
        x, kind = LEFT + x_axis(value) * width, kind_of(place, trial)
        y = TOP + height + RAIL / 2 if trial.value is None else TOP + (1 - score(trial.value)) * height
        marks.append(dot(x, y, kind, trial.number))
    inside.append(tag("g", *marks))
    inside.append(label(name, LEFT + width / 2, HIGH - 8, "middle", "title"))
    return drawing(inside, WIDE, HIGH, f"{monitor} against {name}")


def dot(x: float, y: float, kind: str, number: int) -> Html:
    if kind == "fail":
        area = tag("rect", x=f"{x - 6:.1f}", y=f"{y - 6:.1f}", width=12, height=12, class_="area")  # to point at
        cross = tag("path", d=f"M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6")
        return tag("g", area, cross, class_="trial fail", data_trial=number)
    return tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, class_=f"trial {kind}", data_trial=number)


def line(x1: float, y1: float, x2: float, y2: float) -> Html:
    return tag("path", d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", class_="grid")


def label(text: str, x: float, y: float, anchor: str, class_: str | None = None) -> Html:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=class_)


def drawing(inside: Sequence[Html], width: float, height: float, text: str, class_: str = "") -> Html:
    svg = tag("svg", tag("title", text), *inside, viewBox=f"0 0 {width:g} {height:g}", style=f"width:{width:g}px",
              tabindex=0, role="application", aria_label=f"{text}; arrow keys walk the trials")  # fmt: skip
    return tag("div", svg, class_=f"drawing tuning {class_}".strip())


def parallel(axes: Mapping[str, Axis], score: Axis, trials: Sequence[Attempt], monitor: str) -> list[Html]:
    """A line for each trial through its value of every setting, to its score; failed ones end at the bottom."""
    drawn = {**axes, monitor: score}
    width, height = 2 * LEFT + BETWEEN * (len(drawn) - 1) + 20, TALL - TOP - BOTTOM - RAIL
    lines: list[Html] = []
    for place, trial in reversed(list(enumerate(trials))):
        values = [*(trial.settings.get(name) for name in axes), trial.value]
        ups = [
            (1 - axis(value)) * height if value is not None else height + RAIL / 2
            for axis, value in zip(drawn.values(), values, strict=True)
        ]
        points = "L".join(f"{LEFT + n * BETWEEN:g} {TOP + up:.1f}" for n, up in enumerate(ups))
        kind = kind_of(place, trial)
        lines.append(tag("path", d=f"M{points}", class_=f"trial line {kind}", data_trial=trial.number))
    inside = [tag("g", *lines)]
    for n, (name, axis) in enumerate(drawn.items()):
        x = LEFT + n * BETWEEN
        inside.append(tag("path", d=f"M{x} {TOP}v{height}", class_="axis"))
        inside += [label(text, x + 6, TOP + (1 - axis(value)) * height, "start", "tick") for value, text in axis.ticks]
        inside.append(label(name if len(name) <= 18 else f"{name[:17]}…", x, TALL - 12, "middle", "title"))
    text = "Each line is a trial. Where the coloured lines meet on an axis, that setting matters and its best is there."
    return [tag("p", text), drawing(inside, width, TALL, "All settings and the score of every trial", "across")]


def every(shown: Sequence[Attempt], space: Mapping[str, object], result: Tuned) -> Html:
    """The sortable table."""
    rows = [
        [
            Sorted(str(t.number), t.number), Sorted(written(t.value), "" if t.value is None else t.value),
            STATES.get(t.state, t.state), *(written(t.settings.get(name)) for name in space),
            Sorted(f"{t.seconds:g} s" if t.seconds is not None else "", t.seconds or 0),
        ]
        for t in shown
    ]  # fmt: skip
    made = table(["Trial", result.monitor, "State", *space, "Time"], rows, numbers=[0, 1], class_="sortable")
    return tag("div", made, class_="tall")


def rest(ranked: Sequence[Attempt]) -> list[Html]:
    if len(ranked) <= MOST:
        return []
    return [tag("p", f"The best {MOST:,} of {len(ranked):,} trials; trials.csv lists all.", class_="note")]


def sentence(trial: Attempt, monitor: str) -> str:
    """What is read of a trial: its score, state and settings."""
    settings = ", ".join(f"{name} = {written(value)}" for name, value in trial.settings.items())
    value = f"{monitor} {written(trial.value)}" if trial.value is not None else "no score"
    return f"Trial {trial.number}: {value}, {STATES.get(trial.state, trial.state)}; {settings}"


def written(value: object) -> str:
    """A number with four significant digits, anything else as it is."""
    if value is None:
        return ""
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else str(value)

"""Report section: scores as sentences and as a table, evaluation setting and threshold."""

import math
from collections.abc import Sequence

import numpy as np

from likewise.data.decisions import counted
from likewise.experiment.records import ScoreRecord
from likewise.viz.pages import score_texts
from likewise.viz.pages.html import Html, join, table, tag
from likewise.viz.pages.rates import error_rates
from likewise.viz.pages.run_data import RunData
from likewise.viz.plots.style import decimal

__all__ = ["chosen_threshold", "facts", "scores", "summary", "tiles"]


def facts(m: RunData) -> Html:
    """Data, network, loss and training of the run."""
    recipe, parameters = m.recipe, m.metrics.get("parameters")
    known = {
        "Data": m.data or recipe.get("data"),
        "Images": _parts(m),
        "Decisions": _decisions(m),
        "Network": f"{recipe.get('network')}, {parameters:,} parameters" if parameters else recipe.get("network"),
        "Loss": recipe.get("loss"),
        "Embedding": f"{recipe['dim']} dimensions, {m.sim_name} similarity" if recipe.get("dim") else None,
        "Training": _training(m),
        "Stopped early": m.metrics.get("stopped") or None,
        "Seed": recipe.get("seed"),
    }
    return tag(
        "dl", *(tag("div", tag("dt", k), tag("dd", v)) for k, v in known.items() if v is not None), class_="facts"
    )


def _parts(m: RunData) -> str | None:
    known = m.metrics.get("data")
    if not isinstance(known, dict):
        return None
    named = {"train": "train", "val": "validation", "test": "test"}
    counts = [f"{known[part]:,} {name}" for part, name in named.items() if known.get(part)]
    return ", ".join(counts + ([f"{known['classes']:,} classes"] if known.get("classes") else [])) or None


def _decisions(m: RunData) -> str | None:
    """`decisions applied: 3 removed, 2 relabelled, 5 kept`; None for a run without any."""
    data = m.metrics.get("data")
    text = counted(data) if isinstance(data, dict) else ""
    return f"decisions applied: {text}" if text else None


def _training(m: RunData) -> str | None:
    epochs = m.metrics.get("epochs", m.recipe.get("epochs"))
    seconds, speed = m.metrics.get("seconds"), m.metrics.get("images_per_s")
    parts = [f"{epochs} epoch{'s' if epochs != 1 else ''}"] if epochs else []
    parts += [duration(seconds)] if seconds else []
    parts += [f"{speed:,.0f} images/s"] if speed else []
    return ", ".join(parts) or None


def duration(seconds: float) -> str:
    """`41 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def scores(m: RunData) -> list[Html]:
    """Headline scores, evaluation setting, threshold, and the table of all scores."""
    measured: dict[str, ScoreRecord] = m.metrics.get("scores", {})
    if not measured:
        return []
    words = [row for name in _headline_names(measured) for row in _in_words(m, name, measured[name])]
    return [*words, *_setting(m), *_caveats(m), *_all_scores(m, measured), *error_rates(m)]


def _headline_names(measured: dict[str, ScoreRecord]) -> list[str]:
    """The most important scores that were measured."""
    names = (
        next((name for head in group for name in measured if name == head or name.startswith(f"{head}@")), None)
        for group in score_texts.HEADLINES
    )
    return [name for name in names if name]


def summary(m: RunData) -> Html:
    """What was trained on what, in one line."""
    recipe = m.recipe
    data = (m.data or recipe.get("data"), _parts(m), _decisions(m))
    known = (*data, recipe.get("network"), recipe.get("loss"), _training(m))
    return tag("p", " · ".join(str(one) for one in known if one), class_="note summary")


def tiles(m: RunData) -> list[Html]:
    """The most important scores as numbers with their intervals."""
    measured: dict[str, ScoreRecord] = m.metrics.get("scores", {})
    made = []
    for name in _headline_names(measured):
        if math.isfinite(measured[name]["value"]):
            interval = score_texts.interval(name, measured[name])
            notes = [tag("dd", f"95 % interval {interval}", class_="note")] if interval else []
            title = score_texts.title(name, open_set=m.open)
            made.append(
                tag("div", tag("dt", title), tag("dd", score_texts.number(name, measured[name]["value"])), *notes)
            )
    return [tag("dl", *made, class_="tiles scores")] if made else []


def _in_words(m: RunData, name: str, score: ScoreRecord) -> list[Html]:
    """A score with its sentence and meaning; empty without texts or without a value."""
    words = score_texts.sentence(name, score, data=m.data, open_set=m.open)
    if words is None:
        return []
    title, value = score_texts.title(name, open_set=m.open), score_texts.number(name, score["value"])
    left = tag("div", tag("p", title, class_="title"), tag("p", value, class_="value"))
    right = tag("div", tag("p", words[0], class_="sentence"), tag("p", words[1], class_="meaning"))
    return [tag("div", left, right, class_="headline")]


def _setting(m: RunData) -> list[Html]:
    """Open-set or closed-set evaluation."""
    if "open" not in m.metrics:
        return []
    part = {"test": "test", "val": "validation"}.get(m.metrics.get("split", "test"), "held-out")
    if m.open:
        text = f"Open set: the classes of the {part} images were not seen in training."
    else:
        text = f"Closed set: the {part} images are new, but their classes were seen in training."
    return [tag("p", tag("strong", text), " ", *_majority_baseline(m), *_without_positives(m))]


def _caveats(m: RunData) -> list[Html]:
    """What makes a score mean less than it seems to."""
    return [
        tag("p", tag("strong", "Caveat: "), f"{caveat}.", class_="caveat") for caveat in m.metrics.get("caveats") or ()
    ]


def _majority_baseline(m: RunData) -> list[str]:
    """Accuracy of always predicting the most frequent class (baseline)."""
    if m.open or m.query is None:
        return []
    counts = np.bincount(m.query.labels.numpy())
    return [f"Majority-class baseline: {score_texts.percent(counts.max() / counts.sum())} accuracy."]


WITHOUT_POSITIVES = {
    "retrieval": "the only ones of their class, and excluded from retrieval scores.",
    "unseen": "of classes without training images, and excluded from classification scores.",
}


def _without_positives(m: RunData) -> list[str]:
    """Queries without positives."""
    counted = m.metrics.get("queries_without_positives") or {}
    return [f" {n:,} image{'s are' if n > 1 else ' is'} {WITHOUT_POSITIVES[kind]}" for kind, n in counted.items()]


def chosen_threshold(m: RunData) -> list[Html]:
    """The threshold that validation pairs chose, with its interval and what it was chosen for."""
    chosen = m.metrics.get("threshold")
    if not chosen or not math.isfinite(chosen.get("value", math.nan)):
        return []
    text = [f"Two images count as the same class if their similarity ({m.sim_name}) is at least "]
    text += [tag("strong", decimal(chosen["value"], 3))]
    if math.isfinite(chosen.get("low", math.nan)) and math.isfinite(chosen.get("high", math.nan)):
        text += [f" (95 % interval {decimal(chosen['low'], 3)} to {decimal(chosen['high'], 3)})"]
    text += [". The threshold was chosen on validation pairs"]
    text += [f": {score_texts.aim(chosen['target'])}." if chosen.get("target") else "."]
    return [tag("p", *text)]


def _all_scores(m: RunData, measured: dict[str, ScoreRecord]) -> list[Html]:
    validation: dict[str, ScoreRecord] = m.metrics.get("val") or {}
    head = ["Score", "Value", "95 % interval", "on its scale", "Count"] + ["Validation"] * bool(validation)
    rows = [_row(name, score, validation, m.open) for name, score in measured.items()]
    if not (m.metrics.get("verification") or {}).get("error_rates"):  # which have no least number of pairs
        rows += [_few(name, why, len(head)) for name, why in (m.metrics.get("left_out") or {}).items()]
    note = "Count: number of images, pairs or tasks that the score is computed from."
    words = [row for name, score in measured.items() for row in _in_words(m, name, score)]
    return [
        tag(
            "details",
            tag("summary", f"All {len(measured)} scores"),
            table(head, rows, numbers=[1, 2, 4, 5][: 3 + bool(validation)]),
            tag("p", note, class_="note"),
        ),
        tag("details", tag("summary", "All scores as sentences"), *words) if words else Html(""),
    ]


def _row(name: str, score: ScoreRecord, validation: dict[str, ScoreRecord], open_set: bool) -> Sequence[object]:
    title = score_texts.title(name, open_set=open_set)
    named = join(title, " ", tag("code", name)) if title != name else tag("code", name)
    row = [named, _value(name, score), score_texts.interval(name, score), _strip(name, score), f"{score.get('n', 0):,}"]
    return row + ([_value(name, validation[name]) if name in validation else ""] if validation else [])


def _few(name: str, why: str, width: int) -> Sequence[object]:
    """A rate with too few pairs to estimate it; the reason is the tooltip."""
    named = join(score_texts.title(name), " ", tag("code", name))
    return [named, tag("span", "too few pairs", title=why), *[""] * (width - 2)]


def _value(name: str, score: ScoreRecord) -> str:
    return score_texts.number(name, score["value"]) if math.isfinite(score["value"]) else "too few"


def _strip(name: str, score: ScoreRecord) -> Html:
    """The interval as a bar on the scale of the score."""
    if not score_texts.interval(name, score):
        return Html("")
    bottom, top = score_texts.scale(name)
    low, value, high = (
        100 * (np.clip(one, bottom, top) - bottom) / (top - bottom)
        for one in (score["low"], score["value"], score["high"])
    )
    bar = tag("i", style=f"left:{low:.1f}%;width:{max(high - low, 0.5):.1f}%")
    return tag("span", bar, tag("b", style=f"left:{value:.1f}%"), class_="strip", aria_hidden="true")

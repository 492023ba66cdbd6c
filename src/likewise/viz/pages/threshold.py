"""Report section: the threshold on pairs, with a slider over their histogram, error rates and calibration."""

import json
from collections.abc import Sequence

import numpy as np

from likewise.experiment.verdict import typed
from likewise.viz import plots
from likewise.viz.pages import charts, score_texts
from likewise.viz.pages.findings import Similarities
from likewise.viz.pages.html import Html, asset, script, tag
from likewise.viz.pages.run_data import RunData
from likewise.viz.pages.scores import chosen_threshold
from likewise.viz.plots.style import decimal

__all__ = ["Counts", "counts", "threshold"]

STEPS = 500  # positions of the slider
BARS = 100  # bars of the histogram
HEIGHT, WIDTH = 180, 1000  # of the drawing, in its own units


class Counts:
    """Same and different pairs at or above each position of the slider."""

    def __init__(self, similarities: Similarities):
        sims_P = np.concatenate(similarities).astype(np.float64)
        low, high = float(sims_P.min()), float(sims_P.max())
        room = max(1e-3 * (high - low), 1e-6)
        self.low, self.high = low - room, high + room
        self.edges = np.linspace(self.low, self.high, STEPS + 1)
        self.same, self.different = (above(sim_P, self.edges) for sim_P in similarities)

    def at(self, value: float) -> int:
        """The position nearest to a similarity."""
        return int(np.abs(self.edges - value).argmin())

    def equal_errors(self) -> int:
        """The position at which both error rates are nearest to each other."""
        far, frr = self.different / self.different[0], 1 - self.same / self.same[0]
        return int(np.abs(far - frr).argmin())

    def at_most(self, far: float) -> int:
        """The lowest position with at most this false accept rate."""
        return int(np.flatnonzero(self.different <= far * self.different[0])[0])


def above(sim_P: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many similarities are at or above each edge."""
    ordered = np.sort(sim_P.astype(np.float64))
    return len(ordered) - np.searchsorted(ordered, edges, side="left")


def counts(similarities: Similarities) -> Counts | None:
    """None where one kind of pair is missing."""
    return Counts(similarities) if len(similarities.same) and len(similarities.different) else None


def threshold(m: RunData) -> list[Html]:
    """The chosen threshold, the slider, DET curve and reliability diagram."""
    similarities = m.similarities
    if similarities is None:
        return []
    counted = counts(similarities)
    parts = [*chosen_threshold(m), *([slider(m, counted)] if counted else [])]
    chosen = (m.metrics.get("threshold") or {}).get("value")
    figure = plots.pair_histogram(*similarities, threshold=chosen, xlabel=f"similarity ({m.sim_name})")
    plots.save(figure, m.run.path / "plots" / "pairs.png")
    drawn = [*charts.det(m, similarities), *charts.reliability(m, similarities)]
    return [*parts, tag("div", *drawn, class_="figures")] if drawn else parts


def slider(m: RunData, counted: Counts) -> Html:
    """The histogram with a line at the threshold, the slider, and both error rates with their counts."""
    chosen = (m.metrics.get("threshold") or {}).get("value")
    start = counted.at(chosen) if chosen is not None else counted.equal_errors()
    same, different = int(counted.same[0]), int(counted.different[0])
    text = (
        f"{same:,} same-class and {different:,} different-class held-out pairs. Move the threshold to see what it "
        "accepts and rejects. To keep another one: ",
        tag("code", f"likewise evaluate {typed(m.run)} --threshold-at far=0.01"),
    )
    marks = {"chosen on validation": start if chosen is not None else None, "equal errors": counted.equal_errors()}
    marks |= {f"FAR {100 * far:g} %": counted.at_most(far) for far in (0.01, 0.001) if far * different >= 1}
    buttons = [tag("button", name, type="button", data_at=at) for name, at in marks.items() if at is not None]
    data = {
        "low": counted.low,
        "high": counted.high,
        "same": counted.same.tolist(),
        "different": counted.different.tolist(),
    }
    control = tag(
        "input", type="range", id="at", min=0, max=STEPS, value=start, step=1, aria_label="threshold", class_="at"
    )
    shown = [
        ("Threshold", "value", decimal(counted.edges[start], 3), f"{m.sim_name} similarity of same pairs"),
        ("FAR", "far", *rate(int(counted.different[start]), different, "different pairs accepted")),
        ("FRR", "frr", *rate(same - int(counted.same[start]), same, "same pairs rejected")),
        ("Accuracy", "accuracy", score_texts.percent(accuracy(counted, start)), "of equally many pairs of both kinds"),
    ]  # fmt: skip
    tiles = [
        tag("div", tag("dt", name), tag("dd", value, id=f"th-{key}"), tag("dd", note, id=f"th-{key}-of", class_="note"))
        for name, key, value, note in shown
    ]
    return tag(
        "div",
        tag("p", *text),
        tag("div", histogram(counted, start), control, class_="histogram"),
        tag("p", *legend(), class_="note"),
        tag("div", *buttons, class_="buttons", role="group", aria_label="thresholds"),
        tag("div", tag("dl", *tiles, class_="tiles"), role="status"),
        script(json.dumps(data, separators=(",", ":")), type="application/json", id="pair-counts"),
        script(asset("threshold.js")),
        class_="threshold",
    )


def legend() -> Sequence[Html | str]:
    kinds = ((tag("span", "▬", class_=name), f" {name} class  ") for name in ("different", "same"))
    return (*(part for kind in kinds for part in kind), "Heights are square roots of the shares.")


def rate(n: int, of: int, what: str) -> tuple[str, str]:
    return score_texts.percent(n / of, 2), f"{n:,} of {of:,} {what}"


def accuracy(counted: Counts, at: int) -> float:
    right = counted.same[at] / counted.same[0] + 1 - counted.different[at] / counted.different[0]
    return float(right / 2)


def histogram(counted: Counts, start: int) -> Html:
    """Both kinds as shares of their pairs, as two outlines, with the line of the threshold."""
    step = STEPS // BARS
    kinds = {"different": counted.different, "same": counted.same}
    shares = {name: (above[:-1:step] - above[step::step]) / above[0] for name, above in kinds.items()}
    top = max(float(share.max()) for share in shares.values())
    heights = {name: np.sqrt(share / top) for name, share in shares.items()}  # so that the overlap is seen
    outlines = [tag("path", d=outline(height), class_=f"{name} area") for name, height in heights.items()]
    x = start * WIDTH / STEPS
    line = tag("line", x1=x, x2=x, y1=0, y2=HEIGHT, id="th-line")
    label = "Histogram of the similarities of same-class and of different-class pairs"
    return tag(
        "svg",
        *outlines,
        line,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def outline(height_B: np.ndarray) -> str:
    """A filled step curve as a path."""
    wide = WIDTH / len(height_B)
    points = [f"M0 {HEIGHT}"]
    points += [
        f"V{HEIGHT * (1 - 0.96 * height):.1f}H{(n + 1) * wide:.0f}" for n, height in enumerate(height_B.tolist())
    ]
    return "".join([*points, f"V{HEIGHT}Z"])

"""The bar by which images are decided on (keep, relabel, remove), on the audit page and on the map."""

import json
from collections.abc import Sequence

from likewise.viz.pages.html import Html, asset, script, tag

__all__ = ["decision_bar"]

OFFERED = 2_000  # classes that the field for a new label offers
KEYS = {"keep": ("Keep", "K"), "remove": ("Remove", "X"), "undo": ("Undo", "U"), "relabel": ("Relabel", "R, Enter")}


def decision_bar(run_name: str, classes: Sequence[str], how: str) -> list[Html]:
    """How to decide, the bar, hidden without a script, and the decisions of the run (decisions.js)."""
    buttons = [
        tag("button", text, " ", tag("kbd", key), type="button", id=f"decide-{name}")
        for name, (text, key) in KEYS.items()
    ]
    label = tag("input", id="decide-label", list="decide-classes", aria_label="new label", maxlength=200)
    bar = tag(
        "div", tag("output", id="decide-at"), *buttons, label, tag("datalist", id="decide-classes"),
        tag("span", id="decide-count", aria_live="polite"),
        tag("button", "Save decisions.csv", type="button", id="decide-save"),
        class_="decide", id="decide", role="group", aria_label="decisions", hidden="",
    )  # fmt: skip
    text = (
        f"{how}: K keeps, X removes, R takes the label in the field, U takes back. The decisions stay in this browser; "
        "saved as decisions.csv, they are applied by "
    )
    data = json.dumps({"run": run_name, "classes": sorted(set(classes))[:OFFERED]}, ensure_ascii=False)
    return [
        tag("p", text, tag("code", "likewise train SOURCE --decisions decisions.csv"), ".", class_="note"),
        bar,
        script(data, type="application/json", id="decide-data"),
        script(asset("decisions.js")),
    ]

"""doctor: what is wrong with a run, and what to change."""

import json
from dataclasses import asdict
from typing import Any

from likewise.cli.app import Json, RunFolder, app

# (signal, width, format); docs/doctor.md says what each means.
COLUMNS = (
    ("epoch", 6, "g"),
    ("loss", 8, ".4f"),
    ("loss_at_collapse", 8, ".4f"),
    ("spread", 8, ".4f"),
    ("rank", 6, ".1f"),
    ("dead", 6, ".0%"),
    ("active", 7, ".0%"),
    ("auc", 6, ".3f"),
    ("val_auc", 8, ".3f"),
)


@app.command()
def doctor(run: RunFolder, as_json: Json = False) -> None:
    """Explain a run: what went wrong while it trained, why, and what to change; or that nothing did."""
    from likewise.experiment.checkup import examine
    from likewise.experiment.run import Run

    opened = Run.open(run)
    findings, looks = examine(opened)
    if as_json:
        said = {"findings": [asdict(finding) for finding in findings], "looks": [asdict(look) for look in looks]}
        print(json.dumps({"run": opened.name, **said}, indent=1))
        return
    for finding in findings:
        print(f"{finding.name}: {finding}.")
    if not findings:
        print(f"{opened.name}: nothing is wrong that the doctor knows of.")
    print(f"\n{table([asdict(look) for look in looks])}")


def table(looks: list[dict[str, Any]]) -> str:
    """One line a look."""
    heads = "".join(name.rjust(width + 1) for name, width, _ in COLUMNS)
    return "\n".join([heads, *map(row, looks)])


def row(look: dict[str, Any]) -> str:
    cells = (("-" if look[name] is None else format(look[name], form), width) for name, width, form in COLUMNS)
    return "".join(cell.rjust(width + 1) for cell, width in cells)

"""doctor: diagnose a run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from likewise.cli.app import Json, RunFolder, app

# (signal, width, format); docs/doctor.md explains them.
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
    """Diagnose a run: symptoms during training, their cause, and what to change."""
    from likewise.experiment.checkup import examine
    from likewise.experiment.run import Run

    opened = Run.open(run)
    findings, observations = examine(opened)
    if as_json:
        output = {
            "findings": [asdict(finding) for finding in findings],
            "observations": [asdict(observation) for observation in observations],
        }
        print(json.dumps({"run": opened.name, **output}, indent=1))
        return
    for finding in findings:
        print(f"{finding.name}: {finding}.")
    if not findings:
        print(f"{opened.name}: no known problem found.")
    print(f"\n{table([asdict(observation) for observation in observations])}")


def table(observations: Sequence[Mapping[str, float | None]]) -> str:
    """One line per observation."""
    heads = "".join(name.rjust(width + 1) for name, width, _ in COLUMNS)
    return "\n".join([heads, *map(row, observations)])


def row(observation: Mapping[str, float | None]) -> str:
    cells = (
        ("-" if (value := observation[name]) is None else format(value, form), width) for name, width, form in COLUMNS
    )
    return "".join(cell.rjust(width + 1) for cell, width in cells)

"""doctor: diagnose a run."""

import json
import os
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
    from likewise.cli.screen import verdict_text
    from likewise.experiment.checkup import examine
    from likewise.experiment.judge import verdict_of
    from likewise.experiment.run import Run
    from likewise.viz.pages.doctor import write_doctor
    from likewise.viz.pages.workspace import relink

    opened = Run.open(run)
    findings, observations = examine(opened)
    verdict = verdict_of(opened, folder=os.fspath(run)) if opened.metrics_file.exists() else None
    if as_json:
        output = {
            "findings": [asdict(finding) for finding in findings],
            "observations": [asdict(observation) for observation in observations],
        }
        said = {"verdict": verdict.to_dict()} if verdict else {}
        print(json.dumps({"run": opened.name, **said, **output}, indent=1))
        return
    if verdict:
        print(f"{verdict_text(verdict)}\n")
    write_doctor(opened)
    relink(opened)
    for finding in findings:
        print(f"{finding.name}: {finding}.")
    if not findings:
        print(f"{opened.name}: no known problem of the training found.")
    print(f"\n{table([asdict(observation) for observation in observations])}\n\n{run / 'doctor.html'}")


def table(observations: Sequence[Mapping[str, float | None]]) -> str:
    """One line per observation."""
    heads = "".join(name.rjust(width + 1) for name, width, _ in COLUMNS)
    return "\n".join([heads, *map(row, observations)])


def row(observation: Mapping[str, float | None]) -> str:
    cells = (
        ("-" if (value := observation[name]) is None else format(value, form), width) for name, width, form in COLUMNS
    )
    return "".join(cell.rjust(width + 1) for cell, width in cells)

"""doctor: diagnose a run, or the machine."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import Json, app

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
def doctor(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="a run folder, for example runs/digits")] = None,
    machine: Annotated[
        bool, typer.Option("--machine", help="cores, threads, memory, disk and GPU of this machine, not a run")
    ] = False,
    as_json: Json = False,
) -> None:
    """Diagnose a run (symptoms, their cause, what to change), or with --machine what is slow here and what to set."""
    if (run is None) != machine:
        raise ValueError("doctor takes a run folder or --machine, one of them; try `likewise doctor --machine`")
    if run is None:
        diagnose_machine(as_json)
    else:
        diagnose_run(run, as_json)


def diagnose_machine(as_json: bool) -> None:
    """Of the current folder's disk."""
    from likewise.doctor.machine import advice, lines
    from likewise.doctor.probe import probe

    here = probe(Path())
    findings = advice(here)
    if as_json:
        print(json.dumps({"machine": here.to_dict(), "findings": [asdict(f) for f in findings]}, indent=1))
        return
    print("\n".join(lines(here)), end="\n\n")
    for finding in findings:
        print(f"{finding.name}: {finding}.")
    if not findings:
        print("Nothing found that slows likewise down on this machine.")


def diagnose_run(run: Path, as_json: bool) -> None:
    from likewise.cli.screen import verdict_text
    from likewise.experiment.checkup import examine
    from likewise.experiment.run import Run
    from likewise.experiment.verdict import verdict_of
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
        record = {"verdict": verdict.to_dict()} if verdict else {}
        print(json.dumps({"run": opened.name, **record, **output}, indent=1))
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

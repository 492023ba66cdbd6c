"""reproduce: run the experiments of an earlier project."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import app, interruptible


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="for example friends; an unknown name lists all")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[FIELD=VALUE]...", help="fields to change in all of its recipes")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for experiments")] = Path("reproductions"),
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="train missing runs, or only write the section")
    ] = True,
) -> None:
    """Reproduce the experiments of an earlier project and compare its figures with correct ones; resumable."""
    from likewise.cli.screen import Progress
    from likewise.reproduce import reproduce as run

    with interruptible(), Progress() as progress:
        path = run(
            name, *(settings or []), out=out, train=train, watch=progress.watch, say=lambda s: print(s, file=sys.stderr)
        )
    print(f"{path.read_text(encoding='utf-8')}\n{path}")

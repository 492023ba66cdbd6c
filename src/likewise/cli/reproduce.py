"""reproduce: a forerunner's experiment, run whole."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import app, interruptible


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="such as friends; a name that is none lists them")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[FIELD=VALUE]...", help="fields to change in all of its recipes")
    ] = None,
    out: Annotated[Path, typer.Option(help="where experiments are kept")] = Path("reproductions"),
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="train what is missing, or write up what is finished")
    ] = True,
) -> None:
    """Run the experiment of a forerunner and put its figures beside the right ones; interrupted, it goes on."""
    from likewise.cli.screen import Progress
    from likewise.reproduce import reproduce as run

    with interruptible(), Progress() as progress:
        path = run(
            name, *(settings or []), out=out, train=train, watch=progress.watch, say=lambda s: print(s, file=sys.stderr)
        )
    print(f"{path.read_text(encoding='utf-8')}\n{path}")

"""tune: search a recipe's fields on validation data."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likewise.cli.app import Json, app, interruptible

if TYPE_CHECKING:
    from likewise.experiment.tune import Tuned

SHOWN = 5


@app.command()
def tune(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="a shipped recipe, a .toml, or a folder of images")],
    settings: Annotated[list[str] | None, typer.Argument(metavar="[FIELD=VALUE]...", help="fields to change")] = None,
    over: Annotated[list[str] | None, typer.Option(help="field=low..high or field=a,b,c; repeatable")] = None,
    trials: Annotated[int, typer.Option(min=1, help="total number of trainings")] = 20,
    seconds: Annotated[
        float, typer.Option(min=0, help="start no trial after this many seconds; 0 means no limit")
    ] = 0.0,
    apart: Annotated[
        bool | None,
        typer.Option("--new-classes/--same-classes", help="validate on held-out classes, or on the training classes"),
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for searches")] = Path("searches"),
    name: Annotated[str | None, typer.Option(help="name of the search's folder")] = None,
    as_json: Json = False,
) -> None:
    """Search fields of a recipe on validation images; does not read the test part; resumes after an interruption."""
    from likewise.cli.screen import Progress
    from likewise.experiment.run import folder_in
    from likewise.experiment.tune import parse_space
    from likewise.experiment.tune import tune as run
    from likewise.recipes.load import load_recipe, name_of
    from likewise.viz.pages.tuning import write_tuning

    chosen = load_recipe(recipe).override(*(settings or []))
    space = parse_space(over or [], chosen)
    with interruptible(), Progress(chosen.epochs) as progress:
        result = run(
            chosen,
            space,
            folder=folder_in(out, name_of(recipe) if name is None else name),
            trials=trials,
            seconds=seconds,
            apart=apart,
            watch=progress.watch,
            say=lambda sentence: print(sentence, file=sys.stderr),
        )
    page = write_tuning(result, space)
    print(
        json.dumps({"best": result.best.to_dict(), "trials": result.trials, "page": str(page)}, indent=1)
        if as_json
        else f"{summary(result)}\nall trials: {page}"
    )


def summary(result: "Tuned") -> str:
    """The best trials, one line each, and the command to train the best."""
    kind = "held-out classes" if result.apart else "held-out images"
    stopped = f", {result.gone} more stopped early" if result.gone else ""
    lines = [f"{len(result.trials)} trials finished{stopped}; {result.monitor} on {kind}:"]
    for one in result.trials[:SHOWN]:
        fields = ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in fields_of(one).items())
        lines.append(f"  {one['value']:.4f}  {fields}")
    return "\n".join([*lines, f"train the best: likewise train {result.folder / 'best.toml'}"])


def fields_of(trial: dict) -> dict:
    return {name: value for name, value in trial.items() if name not in ("trial", "value", "seconds")}

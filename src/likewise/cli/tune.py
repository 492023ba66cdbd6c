"""tune: a recipe's fields, searched on validation."""

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
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="a shipped recipe, a .toml, or a folder of pictures")],
    settings: Annotated[list[str] | None, typer.Argument(metavar="[FIELD=VALUE]...", help="fields to change")] = None,
    over: Annotated[list[str] | None, typer.Option(help="field=low..high or field=a,b,c; may be given again")] = None,
    trials: Annotated[int, typer.Option(min=1, help="trainings in all")] = 20,
    seconds: Annotated[float, typer.Option(min=0, help="begin no further trial after so many; 0 is no limit")] = 0.0,
    apart: Annotated[
        bool | None,
        typer.Option("--new-classes/--same-classes", help="validate on classes kept out of training, or on the same"),
    ] = None,
    out: Annotated[Path, typer.Option(help="where searches are kept")] = Path("searches"),
    name: Annotated[str | None, typer.Option(help="name of the search's folder")] = None,
    as_json: Json = False,
) -> None:
    """Search fields of a recipe on validation pictures; the test part is not read. Interrupted, it goes on."""
    from likewise.cli.screen import Progress
    from likewise.experiment.run import folder_in
    from likewise.experiment.tune import parse_space
    from likewise.experiment.tune import tune as run
    from likewise.recipes.load import load_recipe, name_of

    chosen = load_recipe(recipe).override(*(settings or []))
    space = parse_space(over or [], chosen)
    with interruptible(), Progress(chosen.epochs) as progress:
        found = run(
            chosen,
            space,
            folder=folder_in(out, name_of(recipe) if name is None else name),
            trials=trials,
            seconds=seconds,
            apart=apart,
            watch=progress.watch,
            say=lambda sentence: print(sentence, file=sys.stderr),
        )
    print(json.dumps({"best": found.best.to_dict(), "trials": found.trials}, indent=1) if as_json else told(found))


def told(found: "Tuned") -> str:
    """The best trials, a line each, and what to do with them."""
    kind = "classes kept out of training" if found.apart else "pictures kept out of training"
    gone = f", {found.gone} more given up early" if found.gone else ""
    lines = [f"{len(found.trials)} trials ended{gone}; {found.monitor} on {kind}:"]
    for one in found.trials[:SHOWN]:
        fields = ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in fields_of(one).items())
        lines.append(f"  {one['value']:.4f}  {fields}")
    return "\n".join([*lines, f"train the best: likewise train {found.folder / 'best.toml'}"])


def fields_of(trial: dict) -> dict:
    return {name: value for name, value in trial.items() if name not in ("trial", "value", "seconds")}

"""compare: train several methods and compare their scores."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import Json, app, interruptible


@app.command()
def compare(
    recipes: Annotated[list[str], typer.Argument(metavar="RECIPE...", help="recipes, and field=value for all of them")],
    over: Annotated[list[str] | None, typer.Option(help="field=a,b,c: one row per value; repeatable")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="runs per row, with different seeds")] = 1,
    out: Annotated[Path, typer.Option(help="folder for comparisons")] = Path("comparisons"),
    name: Annotated[str | None, typer.Option(help="name of the comparison's folder")] = None,
    as_json: Json = False,
) -> None:
    """Train several methods on the same data with the same budget and compare them; resumes after an interruption."""
    from likewise.cli.comparison import comparison_text
    from likewise.cli.screen import Progress
    from likewise.experiment.compare import compare as run
    from likewise.experiment.compare import parse_over, variants
    from likewise.experiment.run import folder_in
    from likewise.recipes.load import load_recipe, name_of
    from likewise.viz.workspace import write_comparison_workspace

    named = [word for word in recipes if "=" not in word or Path(word).exists()]
    settings = [word for word in recipes if word not in named]
    if not named:
        raise ValueError("no recipe given; give one, and for example --over loss=softmax,contrastive")
    if len({name_of(what) for what in named}) < len(named):
        raise ValueError(f"two of these recipes have the same name, {', '.join(map(name_of, named))}; rename a file")
    chosen = {name_of(what): load_recipe(what).override(*settings) for what in named}
    varied = parse_over(over or [])
    rows = variants(chosen, varied)
    with interruptible(), Progress(max(recipe.epochs for recipe in rows.values())) as progress:
        folder = folder_in(out, "-".join(chosen) if name is None else name)
        say = partial(print, file=sys.stderr, flush=True)
        comparison = run(rows, folder=folder, seeds=seeds, over=varied, watch=progress.watch, say=say)
    pages = write_comparison_workspace(comparison)
    print(json.dumps(comparison.to_dict(), indent=1) if as_json else f"{comparison_text(comparison)}\n\n{pages[-1]}")

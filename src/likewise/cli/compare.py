"""compare: many methods, one honest table."""

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
    over: Annotated[list[str] | None, typer.Option(help="field=a,b,c: each value is a row; may be given again")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="runs of each row, with further seeds")] = 1,
    out: Annotated[Path, typer.Option(help="where comparisons are kept")] = Path("comparisons"),
    name: Annotated[str | None, typer.Option(help="name of the comparison's folder")] = None,
    as_json: Json = False,
) -> None:
    """Train many methods on the same data with the same budget and compare them; interrupted, it goes on."""
    from likewise.cli.screen import Progress
    from likewise.experiment.compare import compare as run
    from likewise.experiment.compare import parse_over, variants
    from likewise.experiment.run import folder_in
    from likewise.recipes.load import load_recipe, name_of
    from likewise.viz.pages.comparison import markdown, write_comparison

    named = [word for word in recipes if "=" not in word or Path(word).exists()]
    settings = [word for word in recipes if word not in named]
    if not named:
        raise ValueError("compare what? Give a recipe, and --over loss=softmax,contrastive for instance")
    if len({name_of(what) for what in named}) < len(named):
        raise ValueError(f"two of these recipes have one name, {', '.join(map(name_of, named))}; rename a file")
    chosen = {name_of(what): load_recipe(what).override(*settings) for what in named}
    varied = parse_over(over or [])
    rows = variants(chosen, varied)
    with interruptible(), Progress(max(recipe.epochs for recipe in rows.values())) as progress:
        folder = folder_in(out, "-".join(chosen) if name is None else name)
        told = partial(print, file=sys.stderr, flush=True)
        found = run(rows, folder=folder, seeds=seeds, over=varied, watch=progress.watch, say=told)
    pages = write_comparison(found)
    print(json.dumps(found.to_dict(), indent=1) if as_json else f"{markdown(found)}\n{pages[-1]}")

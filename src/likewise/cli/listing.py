"""list, explain, data: overview of losses, models, data sets and recipe fields."""

import json
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import App, Json, app
from likewise.cli.catalog import members
from likewise.cli.kinds import KINDS


@app.command("list")
def listing(kind: Annotated[str, typer.Argument(metavar="|".join(KINDS))], as_json: Json = False) -> None:
    """List the accepted names of a recipe field, one per line."""
    from likewise import spec

    if kind not in KINDS:
        raise ValueError(f"nothing is listed under {kind!r}{spec.near(kind, KINDS)}")
    summaries = {name: member.summary for name, member in members(KINDS[kind]).items()}
    if as_json:
        print(json.dumps(summaries, indent=1, ensure_ascii=False))
        return
    width = max(map(len, summaries))
    for name, line in summaries.items():
        print(f"{name.ljust(width)}  {line}")


@app.command()
def explain(name: str) -> None:
    """Explain a loss, miner, model, source, recipe field ...: signature, formula, shapes, paper, loss at collapse."""
    from likewise.cli.explaining import explanation

    print(explanation(name))


data = App(help="The data sources: what is here, and how to get the others.", no_args_is_help=True)
app.add_typer(data, name="data")


@data.command("list")
def data_list(as_json: Json = False) -> None:
    """List the published data sets, with their folders and whether they are present."""
    from likewise.data import data_home
    from likewise.data.fetch import PUBLISHED

    folders = {name: data_home() / published.folder for name, published in PUBLISHED.items()}
    here = {name: all((folders[name] / file).exists() for file in PUBLISHED[name].files) for name in folders}
    if as_json:
        print(json.dumps({name: {"path": str(folders[name]), "here": here[name]} for name in folders}, indent=1))
        return
    for name, folder in folders.items():
        print(f"{name.ljust(14)} {'here  ' if here[name] else 'absent'}  {folder}")


@data.command("fetch")
def data_fetch(name: str, root: Annotated[Path | None, typer.Option(help="instead of LIKEWISE_DATA")] = None) -> None:
    """Fetch a published data set: checksum verified, resumable, atomic."""
    from likewise.cli.screen import Download
    from likewise.data.fetch import fetch

    with Download() as download:
        print("\n".join(map(str, fetch(name, root, progress=download.watch))))

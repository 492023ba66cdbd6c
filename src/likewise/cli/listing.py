"""list, explain, data: overview of losses, models, data sets and recipe fields."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import App, Json, app
from likewise.cli.catalog import members
from likewise.cli.kinds import KINDS


def summaries_of(kind: str) -> dict[str, str]:
    return {name: member.summary for name, member in members(KINDS[kind]).items()}


def fields(kind: str) -> dict[str, str]:
    from likewise.cli.fields import grouped

    return {
        f"{field.name}={field.default}": field.metadata["meaning"] for group in grouped().values() for field in group
    }


def scores(kind: str) -> dict[str, str]:
    from likewise.cli.metric_texts import metrics

    return metrics()


LISTS: dict[str, Callable[[str], dict[str, str]]] = {
    **dict.fromkeys(KINDS, summaries_of),
    "fields": fields,
    "metrics": scores,
}


@app.command("list")
def listing(kind: Annotated[str, typer.Argument(metavar="|".join(LISTS))], as_json: Json = False) -> None:
    """List what there is of a kind with a line on each: losses, networks, fields of a recipe, metrics ..."""
    from likewise import spec

    if kind not in LISTS:
        raise ValueError(f"nothing is listed under {kind!r}{spec.near(kind, LISTS)}")
    summaries = LISTS[kind](kind)
    if as_json:
        print(json.dumps(summaries, indent=1, ensure_ascii=False))
        return
    width = max(map(len, summaries))
    for name, line in summaries.items():
        print(f"{name.ljust(width)}  {line}")


@app.command()
def explain(name: str) -> None:
    """Explain a loss, miner, network, source, score, recipe field ...: signature, formula, shapes, paper."""
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

"""rank: how well a run's embeddings find pictures of one class, by any retrieval metric."""

import json
from typing import Annotated

import typer

from likewise.cli.app import Json, RunFolder, app


@app.command()
def rank(
    run: RunFolder,
    metrics: Annotated[
        list[str] | None, typer.Argument(metavar="[METRIC]...", help="such as mrr, ndcg@10, precision@5, map, cmc@20")
    ] = None,
    gallery: Annotated[
        str, typer.Option(metavar="PART", help="train, val or test; without it the other pictures of the scored part")
    ] = "",
    across_groups: Annotated[
        bool, typer.Option("--across-groups", help="a picture does not find its class in its own group (camera, ...)")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rank a run's pictures by similarity and score the ranking; the run is left as it is."""
    from likewise import api
    from likewise.cli.screen import ranking_said

    found = api.rank(run, metrics or (), gallery=gallery, across_groups=across_groups)
    print(json.dumps(found, indent=1) if as_json else ranking_said(found))

"""rank: retrieval metrics of a run's embeddings."""

import json
from typing import Annotated

import typer

from likewise.cli.app import Json, RunFolder, app


@app.command()
def rank(
    run: RunFolder,
    metrics: Annotated[
        list[str] | None,
        typer.Argument(metavar="[METRIC]...", help="for example mrr, ndcg@10, precision@5, map, cmc@20"),
    ] = None,
    gallery: Annotated[
        str,
        typer.Option(
            metavar="PART", help="part to search: train, val or test; default: the other images of the scored part"
        ),
    ] = "",
    across_groups: Annotated[
        bool, typer.Option("--across-groups", help="exclude images of the query's class in its own group (camera, ...)")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rank a run's images by similarity and score the ranking; does not change the run."""
    from likewise import api
    from likewise.cli.screen import ranking_text

    scores = api.rank(run, metrics or (), gallery=gallery, across_groups=across_groups)
    print(json.dumps(scores, indent=1) if as_json else ranking_text(scores))

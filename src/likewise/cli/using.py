"""embed, predict, verify: a run is used as it is."""

import json
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli import app
from likewise.cli.train import Json, RunFolder

Pictures = Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="pictures, or folders of them")]


@app.command()
def embed(
    run: RunFolder,
    images: Pictures,
    output: Annotated[Path, typer.Option("-o", "--output", help="Parquet file to write")] = Path("embeddings.parquet"),
) -> None:
    """Embed pictures and keep the vectors as Parquet."""
    from likewise import api

    found = api.embed(run, images)
    found.save(output)
    print(f"{len(found)} pictures, {found.vectors.shape[1]} numbers each: {output}")


@app.command()
def predict(
    run: RunFolder, images: Pictures, k: Annotated[int, typer.Option(help="neighbours")] = 5, as_json: Json = False
) -> None:
    """Name the class of each picture and show its nearest neighbours among the training pictures."""
    from likewise import api

    found = api.predict(run, images, k=k)
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for one in found:
        print(f"{one['image']}: {one['class']} ({one['votes']} of {len(one['neighbours'])} neighbours)")
        for n in one["neighbours"]:
            print(f"    {n['similarity']:+.4f}  {n['class']}  {n['id']}")


@app.command()
def verify(run: RunFolder, a: Path, b: Path, as_json: Json = False) -> None:
    """Say whether two pictures are of the same class, at the threshold chosen on validation pairs."""
    from likewise import api

    found = api.verify(run, a, b)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    verdict = "same" if found["same"] else "different"
    print(f"{verdict}: similarity {found['similarity']:+.4f}, threshold {found['threshold']:+.4f}")

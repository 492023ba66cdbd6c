"""embed, predict, verify: a run is used as it is."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from likewise.cli import app
from likewise.cli.train import Json, RunFolder

Pictures = Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="pictures, or folders of them")]


@app.command()
def embed(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL.onnx", help="a run folder, or a file that export wrote")],
    images: Pictures,
    output: Annotated[Path, typer.Option("-o", "--output", help="Parquet file to write")] = Path("embeddings.parquet"),
) -> None:
    """Embed pictures and keep the vectors as Parquet; without torch from a MODEL.onnx, or a run that was exported."""
    from likewise.export.session import embed_files, exported

    onnx = model if model.suffix == ".onnx" else exported(model)
    if onnx is not None:
        count, length = embed_files(onnx, images, output)
    else:
        from likewise import api

        found = api.embed(model, images)
        found.save(output)
        count, length = found.vectors.shape
    print(f"{count} pictures, {length} numbers each: {output}")


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
    """Say whether two pictures are of the same class, at the threshold chosen on validation pairs, and how probably."""
    from likewise import api

    found = api.verify(run, a, b)
    print(json.dumps(found, indent=1) if as_json else verdict(found))


def verdict(found: dict[str, Any]) -> str:
    """`same, probability 0.93: similarity +0.8123, threshold +0.5610 (for accuracy)`; of being the same, always."""
    said = "same" if found["same"] else "different"
    if (p := found["probability"]) is not None:
        said += f", probability {'' if found['same'] else 'of same '}"
        said += "above 0.99" if p > 0.99 else "below 0.01" if p < 0.01 else f"{p:.2f}"
    return f"{said}: similarity {found['similarity']:+.4f}, threshold {found['threshold']:+.4f} (for {found['target']})"

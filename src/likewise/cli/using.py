"""embed, predict, verify: a run is used as it is."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from likewise.cli.app import Json, RunFolder, app

ImagePaths = Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="images, or folders of them")]
Encodings = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="name images by what `embed RUN` wrote, not by all training images"),
]


@app.command()
def embed(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL.onnx", help="a run folder, or a file that export wrote")],
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGES]...", help="images, or folders of them; none: the run's training images"),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Parquet file to write")] = Path("embeddings.parquet"),
    most_per_class: Annotated[int, typer.Option(help="of the training images, so many a class; 0 is all")] = 0,
    centres: Annotated[bool, typer.Option("--centres", help="of the training images, the mean of each class")] = False,
) -> None:
    """Embed images and keep the vectors as Parquet; without torch from a MODEL.onnx, or a run that was exported.

    Without images it keeps the run's own training images with their classes, for predict and evaluate --encodings.
    """
    if images and (most_per_class or centres):
        raise ValueError(
            "--most-per-class and --centres are of the run's own training images; give no images with them"
        )
    if images:
        count, length = embed_images(model, images, output)
    else:
        count, length = keep_encodings(model, output, most_per_class, centres)
    kind = "images" if images else "class centres" if centres else "training images"
    print(f"{count} {kind}, {length} numbers each: {output}")


def embed_images(model: Path, images: list[Path], output: Path) -> tuple[int, int]:
    """How many, and how long each is."""
    from likewise.export.session import embed_files, exported

    onnx = model if model.suffix == ".onnx" else exported(model)
    if onnx is not None:
        return embed_files(onnx, images, output)
    from likewise import api

    found = api.embed(model, images)
    found.save(output)
    return len(found), found.vectors.shape[1]


def keep_encodings(model: Path, output: Path, most_per_class: int, centres: bool) -> tuple[int, int]:
    """The same of a run's own training images."""
    from likewise import api

    if model.suffix == ".onnx":
        raise ValueError(f"{model} has no images of its own; give images, or the run that it came from")
    if output.resolve() == (model / "embeddings.parquet").resolve():
        raise ValueError(f"{output} is the run's own file, which keeps all its images; give another -o FILE")
    found = api.encodings(model, most_per_class=most_per_class, centres=centres)
    found.save(output)
    return len(found), found.vectors.shape[1]


@app.command()
def predict(
    run: RunFolder,
    images: ImagePaths,
    k: Annotated[int, typer.Option(help="neighbours")] = 5,
    encodings: Encodings = None,
    as_json: Json = False,
) -> None:
    """Name the class of each image and show its nearest neighbours among the training images."""
    from likewise import api

    found = api.predict(run, images, k=k, encodings=encodings)
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for one in found:
        print(f"{one['image']}: {one['class']} ({one['votes']} of {len(one['neighbours'])} neighbours)")
        for n in one["neighbours"]:
            print(f"    {n['similarity']:+.4f}  {n['class']}  {n['id']}")


@app.command()
def verify(run: RunFolder, a: Path, b: Path, as_json: Json = False) -> None:
    """Say whether two images are of the same class, at the threshold chosen on validation pairs, and how probably."""
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

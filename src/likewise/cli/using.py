"""embed, predict, verify: a run is used as it is."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from likewise.cli.app import Json, RunFolder, app

Pictures = Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="pictures, or folders of them")]
Encodings = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="name pictures by what `embed RUN` wrote, not by all training pictures"),
]


@app.command()
def embed(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL.onnx", help="a run folder, or a file that export wrote")],
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGES]...", help="pictures, or folders of them; none: the run's training pictures"),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Parquet file to write")] = Path("embeddings.parquet"),
    most_per_class: Annotated[int, typer.Option(help="of the training pictures, so many a class; 0 is all")] = 0,
    centres: Annotated[
        bool, typer.Option("--centres", help="of the training pictures, the mean of each class")
    ] = False,
) -> None:
    """Embed pictures and keep the vectors as Parquet; without torch from a MODEL.onnx, or a run that was exported.

    Without pictures it keeps the run's own training pictures with their classes, for predict and evaluate --encodings.
    """
    if images and (most_per_class or centres):
        raise ValueError(
            "--most-per-class and --centres are of the run's own training pictures; give no pictures with them"
        )
    if images:
        count, length = embed_pictures(model, images, output)
    else:
        count, length = keep_encodings(model, output, most_per_class, centres)
    kind = "pictures" if images else "class centres" if centres else "training pictures"
    print(f"{count} {kind}, {length} numbers each: {output}")


def embed_pictures(model: Path, images: list[Path], output: Path) -> tuple[int, int]:
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
    """The same of a run's own training pictures."""
    from likewise import api

    if model.suffix == ".onnx":
        raise ValueError(f"{model} has no pictures of its own; give pictures, or the run that it came from")
    if output.resolve() == (model / "embeddings.parquet").resolve():
        raise ValueError(f"{output} is the run's own file, which keeps all its pictures; give another -o FILE")
    found = api.encodings(model, most_per_class=most_per_class, centres=centres)
    found.save(output)
    return len(found), found.vectors.shape[1]


@app.command()
def predict(
    run: RunFolder,
    images: Pictures,
    k: Annotated[int, typer.Option(help="neighbours")] = 5,
    encodings: Encodings = None,
    far: Annotated[
        float | None,
        typer.Option(help="answer unknown below the threshold that names at most this share of unknown images"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Name the class of each image, or answer unknown with --far, and show its nearest training images."""
    from likewise import api

    found = api.predict(run, images, k=k, encodings=encodings, far=far)
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for one in found:
        print(f"{one['image']}: {named(one)}")
        for n in one["neighbours"]:
            print(f"    {n['similarity']:+.4f}  {n['class']}  {n['id']}")


def named(one: dict[str, Any]) -> str:
    """`7 (4 of 5 neighbours)`, or `unknown (nearest class 7, ...)`."""
    votes = f"{one['votes']} of {len(one['neighbours'])} neighbours"
    if one["class"] is None:
        return f"unknown (nearest class {one['nearest_class']}, {votes}; {one['why']})"
    if one.get("probability") is None:
        return f"{one['class']} ({votes})"
    return f"{one['class']} ({votes}, probability {one['probability']:.2f})"


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

"""embed, predict, verify: use a trained run."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likewise.cli.app import Json, RunFolder, app, interruptible
from likewise.cli.terminal import plain, wrapped
from likewise.safety.bounds import Record

if TYPE_CHECKING:
    from likewise.api import Verification

SHOWN = 20  # files left out that are named; skipped.csv has all

ImagePaths = Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="images, or folders of them")]
Encodings = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="compare with the file that `embed RUN` wrote, not with all training images"),
]


@app.command()
def embed(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL.onnx", help="a run folder, or an exported model")],
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGES]...", help="images, or folders of them; default: the run's training images"),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Parquet file to write, or with --workers a folder that keeps parts"),
    ] = Path("embeddings.parquet"),
    most_per_class: Annotated[int, typer.Option(help="training images per class; 0 means all")] = 0,
    centres: Annotated[bool, typer.Option("--centres", help="the mean of each class of the training images")] = False,
    workers: Annotated[
        int,
        typer.Option(
            help="embed in parts with this many single-threaded processes; an interrupted call can be resumed"
        ),
    ] = 0,
    engine: Annotated[
        str, typer.Option(metavar="processes|ray", help="what runs them; ray takes every core without --workers")
    ] = "processes",
    by_folder: Annotated[
        bool, typer.Option("--by-folder", help="with --workers: the class of an image is the folder it lies in")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="replace an existing file")] = False,
) -> None:
    """Embed images and save the vectors as Parquet; runs without torch for a MODEL.onnx or an exported run.

    Without images, embeds the run's training images with their classes, for predict and evaluate --encodings.
    """
    if images and (most_per_class or centres):
        raise ValueError(
            "--most-per-class and --centres select from the run's own training images; give no images with them"
        )
    in_parts = bool(workers) or engine != "processes"
    if workers < 0 or (in_parts and not images) or (by_folder and not in_parts):
        raise ValueError("--workers is 1 or more with images or folders of them, and --by-folder goes with it")
    if output.suffix.lower() != ".parquet" and not in_parts:
        raise ValueError(f"embed writes Parquet, and {output} does not end in .parquet; give -o {output.stem}.parquet")
    if output.exists() and not (in_parts and output.is_dir()) and not force and not is_own_file(model, output):
        raise ValueError(f"{output} exists; give another -o FILE, or --force to replace it")
    if images and in_parts:
        embed_in_parts(model, images, output, workers, engine, by_folder)
        return
    if images:
        count, length = embed_images(model, images, output)
    else:
        count, length = save_encodings(model, output, most_per_class, centres)
    kind = "images" if images else "class centres" if centres else "training images"
    print(f"{count} {kind}, {length} numbers each: {output}")


def embed_images(model: Path, images: list[Path], output: Path) -> tuple[int, int]:
    """Embed images into `output`; returns their number and the vector length."""
    from likewise.export.session import embed_files

    onnx = onnx_of(model)
    if onnx is not None:
        return embed_files(onnx, images, output)
    from likewise import api

    embeddings = api.embed(model, images)
    embeddings.save(output)
    return len(embeddings), embeddings.vectors.shape[1]


def onnx_of(model: Path) -> Path | None:
    """The exported model that is given, or that a run has with its current weights."""
    from likewise.export.session import exported

    return model if model.suffix.lower() == ".onnx" else exported(model)


def embed_in_parts(model: Path, images: list[Path], output: Path, workers: int, engine: str, by_folder: bool) -> None:
    """Embed with several processes, and name what could not be read."""
    from likewise.cli.screen import Progress
    from likewise.gallery.corpus import embed_corpus

    with interruptible(), Progress() as bar:

        def progress(done: int, total: int) -> None:
            bar.show("embedding", done, total, f"{done:,} of {total:,}")

        made = embed_corpus(
            onnx_of(model) or model,
            images,
            output,
            workers=workers,
            engine=engine,
            by_folder=by_folder,
            progress=progress,
        )
    for name, why in made.skipped[:SHOWN]:
        print(f"likewise: left out {plain(name)}: {plain(why)}", file=sys.stderr)
    more = f", {len(made.skipped):,} left out" if made.skipped else ""
    again = f" ({made.reused:,} of {made.parts:,} parts were there)" if made.reused else ""
    print(f"{made.images:,} images{more}, {made.dim} numbers each: {made.file}{again}")


def is_own_file(model: Path, output: Path) -> bool:
    """Whether the file is the one that a run keeps all its vectors in."""
    return output.resolve() == (model / "embeddings.parquet").resolve()


def save_encodings(model: Path, output: Path, most_per_class: int, centres: bool) -> tuple[int, int]:
    """Save the run's training embeddings; returns their number and the vector length."""
    from likewise import api

    if model.suffix.lower() == ".onnx":
        raise ValueError(f"{model} has no images of its own; give images, or the run that it came from")
    if is_own_file(model, output):
        raise ValueError(f"{output} is the run's own file, which contains all its images; give another -o FILE")
    encodings = api.encodings(model, most_per_class=most_per_class, centres=centres)
    encodings.save(output)
    return len(encodings), encodings.vectors.shape[1]


@app.command()
def predict(
    run: RunFolder,
    images: ImagePaths,
    k: Annotated[int, typer.Option(help="neighbours")] = 5,
    encodings: Encodings = None,
    far: Annotated[
        float | None,
        typer.Option(help="answer unknown below the threshold that names at most this share of unknown images"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict the class of each image, or unknown with --far, and list its nearest training images.

    For class folders the accuracy too; --json is then an object of predictions and accuracy, else a list.
    """
    from likewise import api
    from likewise.gallery.predict import accuracy

    predictions = api.predict(run, images, k=k, encodings=encodings, far=far)
    share = accuracy(predictions)
    if as_json:
        shown: object = predictions if share is None else {"predictions": predictions, "accuracy": share}
        print(json.dumps(shown, indent=1, ensure_ascii=False))
        return
    for one in predictions:
        print(f"{one['image']}: {named(one)}")
        for n in one["neighbours"]:
            print(f"    {n['similarity']:+.4f}  {n['class']}  {n['id']}")
    if predictions and (note := predictions[0].get("note")):
        print("\n".join(wrapped(note)))
    if share is not None:
        interval = f"95 % interval {share['low']:.4f} – {share['high']:.4f}, exact binomial"
        others = f"; {share['others']:,} images in folders of no known class" if share["others"] else ""
        print(f"accuracy {share['value']:.4f} ({share['right']:,} of {share['n']:,}; {interval}){others}")


def named(one: Record) -> str:
    """`7 (4 of 5 neighbours)`, or `unknown (nearest class 7, ...)`."""
    votes = f"{one['votes']} of {len(one['neighbours'])} neighbours"
    if one["class"] is None:
        return f"unknown (nearest class {one['nearest_class']}, {votes}; {one['why']})"
    if one.get("probability") is None:
        return f"{one['class']} ({votes})"
    return f"{one['class']} ({votes}, probability {one['probability']:.2f})"


@app.command()
def verify(run: RunFolder, a: Path, b: Path, as_json: Json = False) -> None:
    """Verify whether two images show the same class, with the validation threshold; prints the probability."""
    from likewise import api

    result = api.verify(run, a, b)
    print(json.dumps(result, indent=1) if as_json else "\n".join([verdict(result), *wrapped(result["note"])]))


def verdict(result: "Verification") -> str:
    """`same, probability 0.93: similarity +0.8123, threshold +0.5610 (for accuracy)`."""
    text = "same" if result["same"] else "different"
    if (p := result["probability"]) is not None:
        text += f", probability {'' if result['same'] else 'of same '}"
        text += "above 0.99" if p > 0.99 else "below 0.01" if p < 0.01 else f"{p:.2f}"
    return (
        f"{text}: similarity {result['similarity']:+.4f}, threshold {result['threshold']:+.4f} (for {result['target']})"
    )

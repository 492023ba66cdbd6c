"""likewise gallery: enroll, search, identify or "unknown", verify, correct, forget."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likewise.cli.app import App, Json, app
from likewise.cli.terminal import wrapped

if TYPE_CHECKING:
    from likewise.gallery.decide import Answer
    from likewise.gallery.gallery import Gallery

commands = App(help="Enroll images, search them, name new ones or answer unknown.", no_args_is_help=True)
app.add_typer(commands, name="gallery")

File = Annotated[
    str,
    typer.Argument(
        metavar="GALLERY", help="a file such as birds.gallery, or postgresql://USER@HOST/DATABASE?gallery=birds"
    ),
]
Model = Annotated[
    Path | None, typer.Option(metavar="RUN|MODEL.onnx", help="where the gallery's model is, if it has moved")
]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="images, or folders of them")]
Where = Annotated[
    list[str] | None, typer.Option(metavar="CONDITION", help="such as label=heron, year>=2000, 'site in pond,lake'")
]
Far = Annotated[float | None, typer.Option(help="promised false-accept rate; default: that of `gallery calibrate`")]

KIND = "index of a large gallery: hnsw (quickest), int8 (less memory) or ivfpq (least memory)"
NOT_ERASED = "another process was reading, or this user may not erase"


def opened(path: str, model: Path | None = None) -> "Gallery":
    from likewise.gallery.gallery import Gallery

    return Gallery.open(path, model)


def show(result: object, as_json: bool, text: str) -> None:
    print(json.dumps(result, indent=1, ensure_ascii=False) if as_json else text)


@commands.command()
def create(
    gallery: File,
    model: Annotated[Path, typer.Option(metavar="RUN|MODEL.onnx", help="the model that makes its vectors")],
    private: Annotated[bool, typer.Option("--private", help="store neither paths nor thumbnails of images")] = False,
    thumbnails: Annotated[
        bool | None, typer.Option("--thumbnails/--no-thumbnails", help="store a small JPEG of each image")
    ] = None,
    rule: Annotated[str, typer.Option(help="nearest, vote(k=5), best(n=3) or centre")] = "nearest",
    index: Annotated[str, typer.Option(help=KIND)] = "hnsw",
    as_json: Json = False,
) -> None:
    """Create an empty gallery for the vectors of a model."""
    from likewise.gallery.gallery import Gallery

    with Gallery.create(gallery, model, private=private, thumbnails=thumbnails, rule=rule, index=index) as made:
        show(made.info(), as_json, f"{made.store.url}: empty, vectors of length {made.dim}, similarity {made.sim}")


Together = Annotated[str, typer.Option(help="several images of one object: by their mean vector, or the best of any")]


@commands.command()
def search(
    gallery: File,
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGES]...", help="one, or several of one object")
    ] = None,
    id: Annotated[str, typer.Option(help="search for images similar to this enrolled id")] = "",
    k: Annotated[int, typer.Option(help="results")] = 5,
    where: Where = None,
    together: Together = "mean",
    rerank: Annotated[str, typer.Option(help="re-rank the 1,000 nearest: k-reciprocal or query-expansion")] = "",
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Find the nearest enrolled images of an image, of several images of one object, or of an enrolled id."""
    with opened(gallery, model) as open_gallery:
        hits = open_gallery.search(images or None, k, id=id, where=where or (), together=together, rerank=rerank)
    lines = [f"{hit.similarity:+.4f}  {hit.label}  {hit.id}" for hit in hits]
    show([hit._asdict() for hit in hits], as_json, "\n".join(lines) or "nothing is enrolled that meets this")


@commands.command()
def identify(
    gallery: File,
    images: Images,
    far: Far = None,
    where: Where = None,
    together: Annotated[
        str, typer.Option(help="treat the images as one object: mean or best; default: one answer per image")
    ] = "",
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Name the class of each image, or of one object in several images, or answer unknown."""
    from likewise.export.reading import files

    paths = files(images)
    with opened(gallery, model) as open_gallery:
        if together:
            shown = [
                (
                    ", ".join(map(str, paths)),
                    open_gallery.identify(paths, far=far, where=where or (), together=together),
                )
            ]
        else:
            found_each = open_gallery.identify_all(paths, far=far, where=where or ())
            shown = [(str(path), answer) for path, answer in zip(paths, found_each, strict=True)]
    answers = [{"image": name, **asdict(answer)} for name, answer in shown]
    show(answers, as_json, "\n".join(f"{name}: {named(answer)}" for name, answer in shown))


def named(answer: "Answer") -> str:
    """`heron, probability 0.93: heron reaches the threshold ...`."""
    chance = "" if answer.probability is None else f", probability {answer.probability:.2f}"
    return f"{answer.label}{chance}: {answer.why}" if answer.label else f"unknown: {answer.why}"


@commands.command()
def verify(
    gallery: File,
    image: Path,
    label: Annotated[str, typer.Argument(metavar="LABEL")],
    far: Far = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Decide whether an image shows a class."""
    with opened(gallery, model) as open_gallery:
        result = open_gallery.verify(image, label, far=far)
    verdict = "the same" if result["same"] else "not the same"
    chance = "" if result["probability"] is None else f", probability of the same {result['probability']:.2f}"
    text = f"{verdict}{chance}: similarity {result['similarity']:+.4f}, threshold {result['threshold']:+.4f}"
    lines = [f"{text} for FAR {result['far']:g}", *wrapped(str(result["note"]))]
    show(result, as_json, "\n".join(lines))


@commands.command()
def reject(
    gallery: File,
    image: Path,
    label: Annotated[str, typer.Option(help="the class that it is not")] = "",
    id: Annotated[str, typer.Option(help="the enrolled image that it is not")] = "",
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Mark "not this one": the image and its near copies are not given that class, or that id, again."""
    with opened(gallery, model) as open_gallery:
        open_gallery.reject(image, label=label, id=id)
    show({"rejected": label or id}, as_json, f"{image} is not {label or id}")


Ids = Annotated[list[str], typer.Argument(metavar="IDS...")]


@commands.command()
def remove(gallery: File, ids: Ids, as_json: Json = False) -> None:
    """Remove enrolled images by id; `undo` brings them back."""
    changed(gallery, "remove", as_json, "removed", ids)


@commands.command()
def forget(gallery: File, label: str, as_json: Json = False) -> None:
    """Erase a class for good: its rows, its name in the log, the undo history, free pages and a file's WAL."""
    with opened(gallery) as open_gallery:
        result = open_gallery.forget(label)
    rest = "" if result["erased"] else f"; {NOT_ERASED}: run `likewise gallery vacuum` to erase old pages"
    rest += f"; {result['beyond']}" if result["beyond"] else ""
    show(result, as_json, f"{result['removed']} forgotten{rest}")


@commands.command()
def merge(gallery: File, source: str, target: str, as_json: Json = False) -> None:
    """Move all of a class into another."""
    changed(gallery, "merge", as_json, "moved", source, target)


@commands.command()
def rename(gallery: File, old: str, new: str, as_json: Json = False) -> None:
    """Give a class another name."""
    changed(gallery, "rename", as_json, "moved", old, new)


@commands.command()
def split(gallery: File, label: str, ids: Ids, as_json: Json = False) -> None:
    """Move enrolled images to a class, new or not."""
    changed(gallery, "split", as_json, "moved", ids, label)


def changed(gallery: str, verb: str, as_json: bool, done: str, *args: str | Sequence[str]) -> None:
    with opened(gallery) as open_gallery:
        count = getattr(open_gallery, verb)(*args)
    show({done: count}, as_json, f"{count} {done}")


@commands.command()
def undo(gallery: File, as_json: Json = False) -> None:
    """Undo the last enrollment or correction."""
    with opened(gallery) as open_gallery:
        verb = open_gallery.undo()
    show({"undone": verb}, as_json, f"undone: {verb}")


@commands.command()
def vacuum(gallery: File, as_json: Json = False) -> None:
    """Drop the undo history and erase what was removed from the file."""
    with opened(gallery) as open_gallery:
        erased = open_gallery.vacuum()
    show({"erased": erased}, as_json, "erased" if erased else f"{NOT_ERASED}: try again later")


@commands.command()
def calibrate(
    gallery: File,
    far: Annotated[float, typer.Option(help="promised false-accept rate")] = 0.01,
    rule: Annotated[str, typer.Option(help="nearest, vote(k=5), best(n=3) or centre; none: the gallery's")] = "",
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Find the threshold for a promised false-accept rate with classes that the model was not trained on; store it.

    They are classes of the gallery, each left out in turn, validation classes of the model's run, or those of
    `likewise calibrate RUN`. Without any, the threshold is a cautious one and promises nothing.
    """
    with opened(gallery, model) as open_gallery:
        result = open_gallery.calibrate(far, rule)
    named_rightly = "" if result.detected is None else f"; {result.detected:.1%} of enrolled classes named right"
    seen = (
        f"{result.accepted} of {result.trials:,} trials of {result.classes} classes accepted, 95 % interval "
        f"{result.low:.4f} to {result.high:.4f}"
    )
    promise = f"for FAR {far:g}: {seen}" if result.promised else f"promises no FAR of {far:g}"
    text = f"threshold {result.threshold:.4f} {promise}{named_rightly}"
    show(result.as_json(), as_json, "\n".join([*wrapped(text), *wrapped(result.note)]))


@commands.command()
def export(gallery: File, file: Path, as_json: Json = False) -> None:
    """Write all enrolled images' vectors, labels and metadata as Parquet, while the gallery is in use."""
    from likewise.gallery.transfer import export as write

    with opened(gallery) as open_gallery:
        count = write(open_gallery, file)
    show({"exported": count, "file": str(file)}, as_json, f"{count} exported: {file}")


@commands.command(name="import")
def import_(gallery: File, file: Path, as_json: Json = False) -> None:
    """Enroll what `gallery export` wrote."""
    from likewise.gallery.transfer import import_ as read

    with opened(gallery) as open_gallery:
        count = read(open_gallery, file)
        open_gallery.ready()
    show({"imported": count}, as_json, f"{count} imported")


@commands.command()
def info(gallery: File, as_json: Json = False) -> None:
    """Show what a gallery holds, its model, its threshold, and how complete and fast its searches are."""
    with opened(gallery) as open_gallery:
        result = open_gallery.info()
    shown = [f"{key}: {value}" for key, value in result.items() if key not in ("audit", "promise")]
    promise = result["promise"]
    if isinstance(promise, dict):
        kind = "for" if promise.get("promised", True) else "promises no"
        shown.append(f"threshold: {promise['threshold']:.4f} {kind} FAR {promise['far']:g}")
        shown += wrapped(promise.get("note"))
    show(result, as_json, "\n".join(shown))


@commands.command()
def index(
    gallery: File,
    kind: Annotated[str, typer.Option(help=f"{KIND}; none: as it is")] = "",
    as_json: Json = False,
) -> None:
    """Build the index of a large gallery, or another kind of it, and show how complete and fast its searches are."""
    from likewise.gallery.report import describe

    with opened(gallery) as open_gallery:
        if kind:
            open_gallery.reindex(kind)
        result = describe(open_gallery.ready())
    show(result, as_json, "\n".join(f"{key}: {value}" for key, value in result.items()))


@commands.command()
def check(gallery: File, as_json: Json = False) -> None:
    """Check every checksum of a gallery, and its index, which is made anew where it has to be; exit code 1: damaged."""
    with opened(gallery) as open_gallery:
        result = open_gallery.check()
    sound = f"index: {result.get('index')}\n{result['items']} items, all sound"
    show(result, as_json, "\n".join(result["problems"]) or sound)
    if not result["sound"]:
        raise typer.Exit(1)

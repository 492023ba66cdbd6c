"""likewise gallery enroll: images, folders, tables of images, and vectors."""

from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import Json, interruptible
from likewise.cli.gallery import File, Model, commands, opened, show

Column = Annotated[str, typer.Option(help="the table's column; default: found by common names")]


@commands.command()
def enroll(
    gallery: File,
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGES...", help="images, folders of them, or one CSV, TSV, Parquet or .npz file"),
    ],
    label: Annotated[
        str, typer.Option(help="their class; default: the table's, or the name of the image's folder")
    ] = "",
    gate: Annotated[str, typer.Option(help="doubtful images: off, warn, or strict (not enrolled)")] = "warn",
    image_column: Column = "",
    label_column: Column = "",
    id_column: Column = "",
    group_column: Column = "",
    made_by: Annotated[
        Path | None, typer.Option(metavar="RUN|MODEL.onnx", help="the model that made the vectors of a file")
    ] = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Enroll images; the class is --label, the table's, or the folder that each lies in.

    A repeated call enrolls nothing twice. Other columns of a table become metadata.
    """
    from likewise.cli.screen import Progress
    from likewise.export.reading import files
    from likewise.gallery.listing import is_listing

    lists = [path for path in images if is_listing(path)]
    if lists and len(images) > 1:
        raise ValueError(f"{lists[0]} is a list: give it alone, and images in another call")
    columns = {"image": image_column, "label": label_column, "id": id_column, "group": group_column}
    if not lists and (any(columns.values()) or made_by):
        raise ValueError("columns and --made-by apply to a CSV, TSV, Parquet or .npz file, and none is given")
    paths = [] if lists else files(images)
    with opened(gallery, model) as open_gallery, interruptible(), Progress() as bar:

        def progress(done: int, total: int) -> None:
            bar.show("enrolling", done, total, f"{done:,} of {total:,}")

        if lists:
            result = open_gallery.enroll_listed(
                lists[0], label=label, made_by=made_by, gate=gate, progress=progress, columns=columns
            )
        else:
            labels = label or [path.resolve().parent.name for path in paths]
            result = open_gallery.enroll(paths, labels, gate=gate, progress=progress)
    findings = [finding._asdict() for finding in result.findings]
    lines = [f"{len(result.added)} enrolled, {len(result.unchanged)} enrolled before"]
    lines += [f"{'enrolled, but' if f.enrolled else 'not enrolled'}: {f.source}: {f.reason}" for f in result.findings]
    show({"added": result.added, "unchanged": result.unchanged, "findings": findings}, as_json, "\n".join(lines))

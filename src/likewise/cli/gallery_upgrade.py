"""likewise gallery upgrade: embed a gallery's images with another model, and switch at once."""

from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import Json, interruptible
from likewise.cli.gallery import File, commands, opened, show


@commands.command()
def upgrade(
    gallery: File,
    model: Annotated[Path, typer.Option(metavar="RUN|MODEL.onnx", help="the model to change to")],
    images: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="folder with images that are no longer at their stored paths; repeatable"),
    ] = None,
    drop_missing: Annotated[
        Path | None,
        typer.Option(metavar="FILE.parquet", help="write items without their image here, and leave them out"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Change to another model: images are embedded again, then all vectors change at once. Goes on when repeated."""
    from likewise.cli.screen import Progress

    with opened(gallery) as open_gallery, interruptible(), Progress() as bar:
        result = open_gallery.upgrade(
            model,
            images=images or (),
            drop_missing=drop_missing,
            progress=lambda stage, done, total: bar.show(stage, done, total, f"{done:,} of {total:,}"),
        )
    text = f"{result.items:,} images embedded by the model {result.fingerprint}"
    if not result.changed:
        text = f"{gallery} has the model {result.fingerprint} already"
    elif result.dropped:
        text += f"; {len(result.dropped):,} without their image are in {drop_missing}"
    if result.changed:
        text += "; thresholds and the undo history were of the old model: run `likewise gallery calibrate`"
    show(result._asdict(), as_json, text)

"""likewise gallery suggest: unknown images in clusters, proposed as new classes."""

from typing import Annotated

import typer

from likewise.cli.app import Json
from likewise.cli.gallery import Far, File, Images, Model, commands, opened, show


@commands.command()
def suggest(
    gallery: File,
    images: Images,
    far: Far = None,
    smallest: Annotated[int, typer.Option(help="minimum number of images per cluster")] = 2,
    enroll: Annotated[bool, typer.Option("--enroll", help="enroll them under the proposed names")] = False,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Propose new classes: clusters of images that are unknown to the gallery."""
    from likewise.export.reading import files

    with opened(gallery, model) as open_gallery:
        suggested = open_gallery.suggest(files(images), far=far, smallest=smallest, enroll=enroll)
    lines = [
        f"{one.name}: {one.size} images, cohesion {one.cohesion:.3f}, such as {one.example}"
        for one in suggested.clusters
    ]
    rest = f"{len(suggested.known)} known, {len(suggested.single)} unknown in smaller clusters"
    lines.append(f"{len(suggested.clusters)} classes proposed, pairs of similarity {suggested.cut:.4f} or more; {rest}")
    lines += [f"not used: {finding.source}: {finding.reason}" for finding in suggested.unreadable]
    if enroll:
        lines.append(f"{suggested.enrolled} enrolled; `likewise gallery rename GALLERY suggested-001 NAME` names them")
    record = suggested._asdict() | {
        "clusters": [one._asdict() for one in suggested.clusters],
        "unreadable": [finding._asdict() for finding in suggested.unreadable],
    }
    show(record, as_json, "\n".join(lines))

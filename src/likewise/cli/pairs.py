"""pairs: make a file of pairs from a table, a folder or a run."""

import json
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import Json, app

COLUMN = "of a table: the column of "


@app.command()
def pairs(
    what: Annotated[
        Path, typer.Argument(metavar="TABLE|FOLDER|RUN", help="a .csv, .tsv or .parquet, class folders, or a run")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help=".csv, .txt or .parquet to write")],
    role: Annotated[
        str, typer.Option(metavar="COLUMN", help=COLUMN + "roles: genuine, or forgery of the row's class")
    ] = "",
    group: Annotated[
        str, typer.Option("--group", "--group-column", metavar="COLUMN", help=COLUMN + "groups: medium, camera, writer")
    ] = "",
    image_column: Annotated[str, typer.Option(metavar="COLUMN", help=COLUMN + "image paths")] = "",
    label_column: Annotated[str, typer.Option(metavar="COLUMN", help=COLUMN + "classes")] = "",
    split_column: Annotated[str, typer.Option(metavar="COLUMN", help=COLUMN + "parts, for --part")] = "",
    part: Annotated[
        str, typer.Option(metavar="PART", help="train, val or test; default: all, of a run its scored part")
    ] = "",
    within: Annotated[bool, typer.Option("--within", help="only pairs within one group")] = False,
    across: Annotated[bool, typer.Option("--across", help="only pairs of two groups")] = False,
    per_class: Annotated[int, typer.Option(metavar="N", help="at most N pairs of each role for every class")] = 100,
    seed: Annotated[int, typer.Option(help="other pairs for another seed")] = 0,
    force: Annotated[bool, typer.Option("--force", help="replace an existing file")] = False,
    as_json: Json = False,
) -> None:
    """Make a file of genuine, random impostor and skilled forgery pairs, for `evaluate --pairs`."""
    if within and across:
        raise ValueError("--within and --across exclude each other; give one of them, or none for all pairs")
    if output.suffix.lower() not in (".csv", ".txt", ".parquet"):
        raise ValueError(f"pairs are written as .csv, .txt or .parquet, and {output} ends in none of these")
    if output.exists() and not force:
        raise ValueError(f"{output} exists; give another -o FILE, or --force to replace it")
    from likewise import api

    columns = {"image": image_column, "label": label_column, "split": split_column, "group": group, "role": role}
    groups = "within" if within else "across" if across else "any"
    made = api.make_pairs(what, output, groups=groups, part=part, per_class=per_class, seed=seed, **columns)
    if as_json:
        print(json.dumps(made, indent=1, ensure_ascii=False))
        return
    counts = ", ".join(f"{n:,} {name}" for name, n in made["roles"].items())
    print(f"{counts} pairs of {made['images']:,} images of {made['classes']:,} classes: {output}")
    if made["skipped"]:
        first = made["skipped"][0]
        print(f"left out: {len(made['skipped']):,}, such as {first['id']}: {first['why']}")
    images = f" --images {made['folder']}" if made["folder"] and Path(made["folder"]) != output.parent else ""
    print(f"score them: likewise evaluate RUN --pairs {output}{images} --threshold-at far=0.05")

"""export: write a run's model for inference without torch."""

import json
from typing import Annotated

import typer

from likewise.cli.app import Json, RunFolder, app


@app.command()
def export(
    run: RunFolder,
    to: Annotated[str, typer.Option(help="format: onnx")] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="also write an 8-bit model, with scores before and after")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a run's model with its preprocessing, checked on real images, its card and checksums to RUN/export/."""
    from likewise.export.making import export as make

    made = make(run, to=to, int8=int8)
    if as_json:
        print(json.dumps(made.to_dict(), indent=1))
        return
    print(f"{made.folder}: largest difference from the run's model {made.difference:.1e} on {made.compared} images")
    for name, (before, after) in made.int8.items():
        spread = f"({after['low']:.4f} – {after['high']:.4f})"
        print(f"{name}: {before['value']:.4f} in floats, {after['value']:.4f} {spread} in int8")

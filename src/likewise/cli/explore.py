"""explore: the pages of a run or a comparison in the browser."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import app


@app.command()
def explore(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, or the folder of a comparison")],
    run2: Annotated[
        Path | None, typer.Argument(metavar="[RUN2]", help="a second run: which queries flipped from RUN to RUN2")
    ] = None,
    epochs: Annotated[
        str,
        typer.Option(metavar="A,B", help="which queries flipped between two snapshots of RUN; 0 is before training"),
    ] = "",
    file: Annotated[
        Path | None, typer.Option("--file", metavar="PATH", help="write all pages into one file instead")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on 127.0.0.1; 0 is any that is free")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="open the browser")] = True,
) -> None:
    """Show the pages of a run: report, map, audit and doctor; those that are missing are written first."""
    from likewise.atomic import write_text
    from likewise.viz.explorer import one_file, server
    from likewise.viz.workspace import complete, write_flips_of

    pair = two_epochs(epochs) if epochs else None
    if pair and run2:
        raise ValueError("--epochs compares two epochs of one run; give one RUN with it, or two runs without it")
    made = complete(run)
    if run2 is not None:
        made += [f"{run2}: {name}" for name in complete(run2)]
    if run2 is not None or pair is not None:
        made.append(str(write_flips_of(run, run2, pair)))
    if made:
        print(f"written: {', '.join(made)}", file=sys.stderr, flush=True)
    folder, other = (run, None) if run2 is None else (run2, run)
    if file is not None:
        write_text(file, one_file(folder, other, flipped=pair is not None))
        print(file)
        return
    with server(folder, port, other=other, flipped=pair is not None) as serving:
        address = f"http://{serving.server_address[0]!s}:{serving.server_address[1]}/"
        print(f"{address}\nserving {run}{f' and {run2}' if run2 else ''} on this machine; Ctrl-C ends it", flush=True)
        if browser:
            typer.launch(address)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            print("", file=sys.stderr)


def two_epochs(text: str) -> tuple[int, int]:
    """`1,20` as numbers. Errors: ValueError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise ValueError(f"--epochs takes two epochs, such as 1,20, where 0 is before training; got {text!r}")
    return int(parts[0]), int(parts[1])

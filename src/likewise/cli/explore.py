"""explore: the pages of a run or a comparison in the browser."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import app


@app.command()
def explore(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, or the folder of a comparison")],
    file: Annotated[
        Path | None, typer.Option("--file", metavar="PATH", help="write all pages into one file instead")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on 127.0.0.1; 0 is any that is free")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="open the browser")] = True,
) -> None:
    """Show the pages of a run: report, map, audit and doctor; those that are missing are written first."""
    from likewise.atomic import write_text
    from likewise.viz.explorer import one_file, server
    from likewise.viz.workspace import complete

    made = complete(run)
    if made:
        print(f"written: {', '.join(made)}", file=sys.stderr, flush=True)
    if file is not None:
        write_text(file, one_file(run))
        print(file)
        return
    with server(run, port) as serving:
        address = f"http://{serving.server_address[0]!s}:{serving.server_address[1]}/"
        print(f"{address}\nserving {run} on this machine; Ctrl-C ends it", flush=True)
        if browser:
            typer.launch(address)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            print("", file=sys.stderr)

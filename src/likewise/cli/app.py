"""The command line application, and options and error handling shared by its commands."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Json", "RunFolder", "app", "interruptible", "stop"]

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, for example runs/digits")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]

app = typer.Typer(
    help="Likewise: train, evaluate, inspect and use similarity embeddings.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@contextmanager
def interruptible() -> Iterator[None]:
    """On Ctrl-C, end the command with a message and exit code 1."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        stop(str(stopped) or "interrupted", 1)


def stop(sentence: str, code: int) -> None:
    """Print one sentence to stderr and exit with `code`."""
    print(f"likewise: {sentence}", file=sys.stderr)
    sys.exit(code)

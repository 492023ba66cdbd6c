"""The application that every command adds itself to, and what all commands share."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Json", "RunFolder", "app", "interruptible", "stop"]

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, such as runs/digits")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]

app = typer.Typer(
    help="Likewise learns what is alike: train an embedding, measure it honestly, look at it, use it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C inside ends the command with what the work says of it, and exit code 1."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        stop(str(stopped) or "interrupted", 1)


def stop(sentence: str, code: int) -> None:
    """One sentence on stderr, and the exit code."""
    print(f"likewise: {sentence}", file=sys.stderr)
    sys.exit(code)

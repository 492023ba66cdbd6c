"""The command `likewise`. Nothing heavy is imported until a command runs, so that help answers at once."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from likewise.memory import keep_memory

__all__ = ["app", "interruptible", "main"]

SPINS = "10000"  # turns for which a thread of OpenMP (libgomp) that waits for others keeps its core

app = typer.Typer(
    help="Likewise learns what is alike: train an embedding, measure it honestly, look at it, use it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 failed or interrupted, 2 the call was wrong."""
    if "OMP_WAIT_POLICY" not in os.environ:
        # by itself 30 times as many: where others want the cores too, a training then mostly waits for its own threads
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    keep_memory()
    # each adds its commands to `app`
    from likewise.cli import audit, compare, doctor, export, listing, rank, reproduce, train, translate, tune, using  # noqa: F401

    try:
        app()
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        stop(str(error), getattr(error, "exit_code", 2))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


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

"""The command `likewise`. Nothing heavy is imported until a command runs, so that help answers at once."""

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from likewise.cli.failures import explained
from likewise.cli.terminal import plain, plain_output
from likewise.memory import keep_memory

__all__ = ["App", "app", "interruptible", "main"]

SPINS = "10000"  # turns for which a thread of OpenMP (libgomp) that waits for others keeps its core


TRUST = Annotated[
    bool,
    typer.Option(
        "--trust-code", help="run code outside likewise that the model, run or recipe names (module:function)"
    ),
]


def safely(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the option --trust-code, its output passed through `terminal.plain`."""

    @functools.wraps(command)
    def call(*args: Any, trust_code: bool = False, **given: Any) -> Any:
        from likewise.spec import trusting

        with plain_output(), trusting(trust_code):
            return command(*args, **given)

    signature = inspect.signature(command)
    option = inspect.Parameter("trust_code", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=TRUST)
    call.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    call.__annotations__ = {**command.__annotations__, "trust_code": TRUST}
    return call


class App(typer.Typer):
    """Whatever command is added to it is called `safely`."""

    def command(self, *args: Any, **settings: Any) -> Any:
        register = super().command(*args, **settings)

        def add(command: Callable[..., Any]) -> Callable[..., Any]:
            register(safely(command))
            return command

        return add


app = App(
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
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if os.environ.get("LIKEWISE_TRACEBACK"):
            raise
        stop(*explained(error))


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C inside ends the command with what the work says of it, and exit code 1."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        stop(str(stopped) or "interrupted", 1)


def stop(sentence: str, code: int) -> None:
    """One sentence on stderr, and the exit code."""
    print(f"likewise: {plain(sentence)}", file=sys.stderr)
    sys.exit(code)

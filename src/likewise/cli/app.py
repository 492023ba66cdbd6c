"""The command line application, and options and error handling shared by its commands."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar  # Any: the parameters of typer's `command`

import typer

from likewise.cli.ranks import check_shared, quiet
from likewise.cli.terminal import plain, plain_output

__all__ = ["App", "Json", "RunFolder", "app", "interruptible", "stop"]

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, for example runs/digits")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]

TRUST = Annotated[
    bool,
    typer.Option(
        "--trust-code", help="run code outside likewise that the model, run or recipe names (module:function)"
    ),
]


Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., object])


def safely(command: Callable[..., Result]) -> Callable[..., Result]:
    """The command with the option --trust-code, its output passed through `terminal.plain`."""

    @functools.wraps(command)
    def call(*args: object, trust_code: bool = False, **given: object) -> Result:
        from likewise.spec import trusting

        check_shared(command.__name__)
        with plain_output(), quiet(), trusting(trust_code):
            return command(*args, **given)

    signature = inspect.signature(command)
    option = inspect.Parameter("trust_code", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=TRUST)
    call.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    call.__annotations__ = {**command.__annotations__, "trust_code": TRUST}
    return call


class App(typer.Typer):
    """A typer application whose commands are all wrapped by `safely`."""

    def command(self, *args: Any, **settings: Any) -> Callable[[Command], Command]:
        register = super().command(*args, **settings)

        def add(command: Command) -> Command:
            register(safely(command))
            return command

        return add


app = App(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"likewise {version('likewise')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and stop", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Likewise: train, evaluate, inspect and use similarity embeddings."""


@contextmanager
def interruptible() -> Iterator[None]:
    """On Ctrl-C, end the command with a message and exit code 1."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        stop(str(stopped) or "interrupted", 1)


def stop(sentence: str, code: int) -> NoReturn:
    """Print one sentence to stderr and exit with `code`."""
    from likewise.gallery.address import without_password

    print(f"likewise: {plain(without_password(sentence))}", file=sys.stderr)
    sys.exit(code)

"""The command `likewise`. Nothing heavy is imported until a command runs, so that help answers at once."""

import os
import sys
import threading
import warnings
from typing import Any, NoReturn  # Any: click is part of typer, and its errors have no public name

from likewise.cli.app import app, stop
from likewise.cli.failures import CALL, explained
from likewise.cli.ranks import let_rank_0_speak, silent
from likewise.cli.terminal import plain
from likewise.malloc import keep_memory

__all__ = ["main"]

SPINS = "10000"  # iterations for which a waiting OpenMP (libgomp) thread spins before it yields its core


def main() -> None:
    """Run a command. Exit codes: 0 success, 1 failure or interruption, 2 wrong usage."""
    if "OMP_WAIT_POLICY" not in os.environ:
        # the default is 30 times as many; on shared cores, training would mostly wait for its own threads
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    keep_memory()
    warnings.showwarning = one_line  # type: ignore[assignment]
    threading.excepthook = in_thread
    register()

    try:
        code = app(prog_name="likewise", standalone_mode=False)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if silent(error):
            let_rank_0_speak(error)
            sys.exit(exit_code(error))
        if hasattr(error, "format_message"):  # what typer says of the call
            misused(error)
        if os.environ.get("LIKEWISE_TRACEBACK"):
            raise
        stop(*explained(error))
    sys.exit(code if isinstance(code, int) else 0)


def in_thread(failed: threading.ExceptHookArgs) -> None:
    """One sentence for what fails in a thread beside the command, such as a log that cannot be written."""
    if failed.exc_value is not None and failed.exc_type is not SystemExit:
        print(f"likewise: {plain(explained(failed.exc_value)[0])}", file=sys.stderr, flush=True)


def register() -> None:
    """Import the modules of all commands; each adds its own to `app`."""
    from likewise.cli import (  # noqa: F401
        audit,
        calibrate,
        compare,
        doctor,
        explore,
        export,
        gallery,
        gallery_enroll,
        gallery_suggest,
        gallery_upgrade,
        listing,
        pairs,
        rank,
        reproduce,
        saliency,
        serve,
        train,
        translate,
        tune,
        using,
    )


def exit_code(error: Any) -> int:
    """Of an error that another process tells of; two that fail alike end alike."""
    if type(error).__name__ == "RankFailedError":
        error = error.__cause__ or error
    return CALL if hasattr(error, "format_message") else explained(error)[1]


def misused(error: Any) -> NoReturn:
    """One sentence for a wrong option or argument; a command that needs some and got none prints its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(CALL)
    context = error.ctx
    path = context.command_path if context else "likewise"
    field = ""
    if option := getattr(error, "option_name", ""):
        from likewise.cli.fields import as_option

        field = as_option(option, sys.argv[1:]) if path.split()[-1] in ("train", "compare", "tune") else ""
    stop(field or f"{error.format_message().rstrip('.')}; `{path} --help` shows what it takes", CALL)


def one_line(message: Warning | str, category: type[Warning], *rest: object) -> None:
    """Print our own warnings as one sentence; hide those of libraries, which a user cannot act on."""
    if category is FutureWarning:
        print(f"likewise: {plain(str(message))}", file=sys.stderr)

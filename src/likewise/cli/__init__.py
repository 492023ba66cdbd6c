"""The command `likewise`. Nothing heavy is imported until a command runs, so that help answers at once."""

import os
import sys
import warnings

from likewise.cli.app import app, stop
from likewise.cli.failures import explained
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
    # each module registers its commands with `app`
    from likewise.cli import (  # noqa: F401
        audit,
        compare,
        doctor,
        export,
        gallery,
        listing,
        rank,
        reproduce,
        train,
        translate,
        tune,
        using,
    )

    try:
        app()
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if os.environ.get("LIKEWISE_TRACEBACK"):
            raise
        stop(*explained(error))


def one_line(message: Warning | str, category: type[Warning], *rest: object) -> None:
    """Print our own warnings as one sentence; hide those of libraries, which a user cannot act on."""
    if category is FutureWarning:
        print(f"likewise: {plain(str(message))}", file=sys.stderr)

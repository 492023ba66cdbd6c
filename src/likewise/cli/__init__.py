"""The command `likewise`. Nothing heavy is imported until a command runs, so that help answers at once."""

import os
import sys
import warnings

from likewise.cli.app import app, stop
from likewise.cli.failures import explained
from likewise.cli.terminal import plain
from likewise.malloc import keep_memory

__all__ = ["main"]

SPINS = "10000"  # turns for which a thread of OpenMP (libgomp) that waits for others keeps its core


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 failed or interrupted, 2 the call was wrong."""
    if "OMP_WAIT_POLICY" not in os.environ:
        # by itself 30 times as many: where others want the cores too, a training then mostly waits for its own threads
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    keep_memory()
    warnings.showwarning = one_line  # type: ignore[assignment]
    # each adds its commands to `app`
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
    """A warning of ours as one sentence; others stay silent, since a user can do nothing about them."""
    if category is FutureWarning:
        print(f"likewise: {plain(str(message))}", file=sys.stderr)

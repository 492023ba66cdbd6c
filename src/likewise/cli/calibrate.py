"""calibrate: train a run's recipe without some of the classes, so that "unknown" holds its promised rate."""

import json
import sys
from typing import Annotated

import typer

from likewise.cli.app import Json, RunFolder, app, interruptible
from likewise.cli.terminal import wrapped


@app.command()
def calibrate(
    run: RunFolder,
    folds: Annotated[int, typer.Option(help="trainings, 2 or more; 0: 10, or one a class where they are fewer")] = 0,
    far: Annotated[list[float] | None, typer.Option(help="false-accept rate to show; repeatable")] = None,
    k: Annotated[int, typer.Option(help="neighbours, as in predict")] = 5,
    as_json: Json = False,
) -> None:
    """Train a run's recipe again without some classes, so that "unknown" is calibrated with classes not trained on.

    `predict --far` and galleries of the run use it from then on, and dir@far and oscr of metrics.json are of it;
    resumes after an interruption.
    """
    from likewise import api
    from likewise.cli.screen import Progress

    def say(sentence: str) -> None:
        print(f"likewise: {sentence}", file=sys.stderr, flush=True)

    with interruptible(), Progress(api.epochs_of(run)) as progress:
        rows = api.calibrate(run, folds=folds, fars=far or (0.1, 0.05, 0.01), k=k, watch=progress.watch, say=say)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'FAR':>6}  {'threshold':>9}  {'95 % interval':>16}  named right")
    for row in rows:
        right = "-" if row["detected"] is None else f"{row['detected']:.1%}"
        print(f"{row['far']:>6g}  {row['threshold']:>9.4f}  {row['low']:>7.4f} - {row['high']:.4f}  {right:>11}")
    for row in rows:
        print("".join(f"{line}\n" for line in wrapped(str(row["note"]))), end="")
    print(f"tried with {rows[0]['trials']:,} images of {rows[0]['classes']:,} classes, by models trained without them")
    print(f"dir@far and oscr of the run are of these trainings now; likewise report {run} shows them")

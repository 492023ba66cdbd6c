"""train, evaluate, report, map, animate."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import Json, RunFolder, app, interruptible
from likewise.cli.fields import help_text
from likewise.cli.ranks import is_other
from likewise.safety.bounds import human


@app.command(epilog=help_text())
def train(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[RECIPE]", help="a shipped recipe, a .toml, or your own images: a folder, .csv, .npz or .parquet"
        ),
    ] = "",
    settings: Annotated[list[str] | None, typer.Argument(metavar="[FIELD=VALUE]...", help="fields to change")] = None,
    out: Annotated[Path, typer.Option(help="folder for runs")] = Path("runs"),
    name: Annotated[str | None, typer.Option(help="name of the run's folder")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="resume an interrupted run")] = None,
    force: Annotated[bool, typer.Option("--force", help="resume although recipe or data have changed")] = False,
    image_column: Annotated[str, typer.Option(metavar="NAME", help="of a table: the column of image paths")] = "",
    label_column: Annotated[str, typer.Option(metavar="NAME", help="of a table: the column of classes")] = "",
    split_column: Annotated[str, typer.Option(metavar="NAME", help="of a table: train, val, test, or folds")] = "",
    group_column: Annotated[str, typer.Option(metavar="NAME", help="of a table: camera, writer, burst ...")] = "",
    group_from: Annotated[
        str,
        typer.Option(metavar="PATTERN", help="groups in file names: auto, off, or a regex such as '(video[0-9]+)_'"),
    ] = "",
    decisions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV of the audit page: images to keep, relabel or remove")
    ] = None,
    minutes: Annotated[float, typer.Option(metavar="N", help="of your own data: plan a training of N minutes")] = 0.0,
    plan: Annotated[bool, typer.Option("--plan", help="of your own data: print the plan and stop")] = False,
    as_json: Json = False,
) -> None:
    """Train a recipe, evaluate it on held-out images and write its report."""
    columns = {"image": image_column, "label": label_column, "split": split_column, "group": group_column}
    if resume is not None and (what or settings or name is not None or any(columns.values())):
        raise ValueError(
            "--resume continues a run with its own settings; give no recipe, field=value or --name with it"
        )
    if decisions is not None:
        if resume is not None:
            raise ValueError("a run is resumed with the decisions it was started with; give no --decisions with it")
        settings = [*(settings or []), f"decisions={decisions}"]
    if group_from:
        if resume is not None:
            raise ValueError("a run is resumed with the groups it was started with; give no --group-from with it")
        settings = [*(settings or []), f"group_from={group_from}"]
    if (plan or minutes) and resume is not None:
        raise ValueError("--plan and --minutes apply to a new training; leave them out with --resume")
    if resume is None and not what:
        raise ValueError("no recipe given; give one (`likewise list recipes`), a .toml or a folder of images")
    from likewise import api, distributed
    from likewise.cli.screen import Progress, headline, scores_json
    from likewise.recipes.load import is_own, load_recipe, name_of, with_columns
    from likewise.recipes.plan import plan as planned

    with interruptible(), distributed.joined(), Progress() as progress:
        if resume is not None:
            progress.epochs = api.epochs_of(resume)
            run = api.resume(resume, watch=progress.watch, force=force)
        else:
            own = with_columns(what, **columns) if any(columns.values()) else load_recipe(what)
            recipe = own.override(*(settings or []))
            if is_own(what):
                drawn_up = planned(own, settings or [], minutes=minutes)
                if plan:
                    print(json.dumps(drawn_up.to_dict(), indent=1) if as_json else "\n".join(drawn_up.lines()))
                    return
                print("\n".join(drawn_up.lines()), file=sys.stderr, flush=True)
                recipe = drawn_up.recipe
            elif plan or minutes:
                raise ValueError(f"--plan and --minutes are for a folder, table or .npz of your own, not {what!r}")
            progress.epochs = recipe.epochs
            run = api.train(recipe, out=out, name=name_of(what) if name is None else name, watch=progress.watch)
    if not is_other():  # rank 0 has written the scores
        print(scores_json(run) if as_json else headline(run))


@app.command()
def evaluate(
    run: Annotated[
        Path, typer.Argument(metavar="RUN|VECTORS.parquet", help="a run folder, or a file that embed wrote")
    ],
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="score the pairs of a .csv, .parquet or LFW pairs.txt instead")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder of the images named in FILE, if not beside it")
    ] = None,
    encodings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="score classification by the file that `embed RUN` wrote instead"),
    ] = None,
    folds: Annotated[int, typer.Option(help="score pairs in this many folds of held-out classes instead")] = 0,
    threshold_at: Annotated[
        str,
        typer.Option(
            metavar="TARGET", help="choose the threshold again, for accuracy, f1, eer, far=0.001, precision=0.99"
        ),
    ] = "",
    on: Annotated[
        Path | None, typer.Option(metavar="PATH", help="score the labelled images of a folder, table or .npz instead")
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="what --on or a file of vectors is searched in, else the training images"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Evaluate a run again on its test part (same scores as after training), or on your own pairs.

    A Parquet file of vectors is evaluated as it is read, so that it may be larger than memory.
    """
    if run.suffix.lower() == ".parquet":
        if pairs or threshold_at or folds or encodings or on or images:
            raise ValueError("a file of vectors takes --gallery FILE.parquet and --json; give the other options a run")
        print_vectors(run, gallery, as_json)
        return
    if sum(map(bool, (pairs or threshold_at, folds, encodings, on))) > 1:
        raise ValueError(
            "give one of --on, --pairs, --folds and --threshold-at at a time, and --encodings by itself: "
            "a file of pairs has its own folds"
        )
    if gallery and not on:
        raise ValueError("--gallery is what the images of --on are searched in; give both")
    if images and not pairs:
        raise ValueError("--images is the folder of the images in --pairs; give both")
    from likewise import api
    from likewise.cli.screen import encodings_text, headline, images_text, pairs_text, scores_json

    if on:
        result = api.evaluate_on(run, on, gallery=gallery)
        print(json.dumps(result, indent=1) if as_json else images_text(result))
        return
    if encodings:
        scores = api.evaluate_encodings(run, encodings)
        print(json.dumps(scores, indent=1) if as_json else encodings_text(scores))
        return
    if pairs or folds:
        scores = api.evaluate_pairs(run, pairs, images=images, folds=folds, threshold_at=threshold_at)
        print(json.dumps(scores, indent=1) if as_json else pairs_text(scores))
        return
    evaluated = api.evaluate(run, threshold_at=threshold_at)
    print(scores_json(evaluated) if as_json else headline(evaluated))


def print_vectors(file: Path, references: Path | None, as_json: bool) -> None:
    """Scores of a file of vectors."""
    from likewise.cli.screen import Progress
    from likewise.evaluate.streamed import evaluate_files

    with interruptible(), Progress() as bar:
        result = evaluate_files(
            file, references, progress=lambda done, total: bar.show("searching", done, total, f"{done:,} of {total:,}")
        )
    if as_json:
        print(json.dumps(result.to_dict(), indent=1))
        return
    print(
        f"{result.queries:,} queries, {result.references:,} references, {result.without_positives:,} without positives"
    )
    print("\n".join(f"{name:12} {value:.4f}" for name, value in result.scores.items()))


@app.command()
def report(
    run: RunFolder, show: Annotated[bool, typer.Option("--open", help="open it in the browser")] = False
) -> None:
    """Write report.html again."""
    from likewise import api

    path = api.report(run)
    print(path)
    if show:
        typer.launch(path.resolve().as_uri())


@app.command("map")
def draw_map(
    run: RunFolder,
    method: Annotated[str, typer.Option(metavar="tsne|opentsne|umap|pca", help="projection method")] = "tsne",
    show: Annotated[bool, typer.Option("--open", help="open it in the browser")] = False,
    to: Annotated[
        str, typer.Option(metavar="atlas|projector|fiftyone", help="write it for another viewer instead, into -o")
    ] = "",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="with --to: a new folder")
    ] = None,
) -> None:
    """Draw the embedding before and after training, as an interactive page (map.html) and as PNG.

    With --to, write it for embedding-atlas, TensorBoard's projector or FiftyOne, and print how to open it there.
    """
    if bool(to) != (output is not None) or (to and show):
        raise ValueError("--to atlas, projector or fiftyone goes with -o FOLDER, which it writes, and without --open")
    from likewise import api

    if to and output is not None:
        from likewise.experiment.run import Run
        from likewise.viz.viewers import write_for
        from likewise.viz.workspace import available

        opened = Run.open(run)
        written = write_for(to, opened, available(opened), output, method=method)
        count = f"all {written.of:,}" if written.images == written.of else f"{written.images:,} of {written.of:,}"
        print(f"{written.folder}: {count} images, {human(written.bytes)}; open it with:")
        print("\n".join(f"    {command}" for command in written.commands))
        return
    path = api.draw_map(run, method=method)
    print(path)
    if show:
        typer.launch(path.resolve().as_uri())


@app.command()
def animate(
    run: RunFolder,
    mp4: Annotated[bool, typer.Option("--mp4", help="a video instead of a GIF")] = False,
    between: Annotated[int, typer.Option(help="interpolated frames between two snapshots")] = 0,
) -> None:
    """Animate the embedding over training epochs, from the run's snapshots."""
    from likewise.viz.animation import animate as draw

    print(draw(run, mp4=mp4, between=between))

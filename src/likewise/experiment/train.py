"""A recipe becomes a run: train, keep, evaluate; go on with an interrupted one; use a finished one as it is."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from likewise import distributed, spec
from likewise.data.images import Images
from likewise.data.options import on_stderr
from likewise.embeddings import embed_shared
from likewise.experiment.build import Parts, build, load_images, resolve_defaults
from likewise.experiment.folder import new_run, sweep
from likewise.experiment.inputs import begun_before, check_inputs, write_inputs
from likewise.experiment.lock import locked
from likewise.experiment.near_copies import look
from likewise.experiment.precision import settle
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run, folder_in
from likewise.experiment.score import evaluate_run
from likewise.experiment.trial import Extra, check_plateau, stage, trial
from likewise.safety.spreadsheets import csv_text
from likewise.training.watch import Watch

__all__ = ["check_same_recipe", "obtain", "resume", "train"]


def train(
    recipe: Recipe,
    *,
    out: str | os.PathLike = "runs",
    name: str | None = None,
    watch: Watch | None = None,
    extra: Extra | None = None,
) -> tuple[Run, Images]:
    """Train a recipe into a new run folder and evaluate it. `watch` sees every record as it is logged.

    Where torchrun has started the processes anew, the run that they had begun goes on.
    """
    if name is not None:
        folder_in(out, name)
    if distributed.restarts():
        resolved = resolve_defaults(recipe)
        before = begun(Path(out), default_name(resolved) if name is None else name, resolved)
        if before is not None:
            return resume(before, watch=watch, extra=extra)
    parts = prepared(recipe, watch)
    with new_run(Path(out), default_name(parts.recipe) if name is None else name) as run:
        return first_time(run, parts, watch, extra)


def begun(out: Path, name: str, recipe: Recipe) -> Path | None:
    """The run that torchrun's processes had begun before it started them anew; None for none."""
    before = begun_before(out / name, recipe) if distributed.is_main() else None
    if before is not None:
        on_stderr(f"torchrun has started anew; going on with {before.path}")
    return distributed.from_main(None if before is None else before.path)


def prepared(recipe: Recipe, watch: Watch | None) -> Parts:
    """The parts of a recipe, so that what is wrong with it is said before a folder is made."""
    recipe = resolve_defaults(recipe)
    parts = build(recipe, read_images(recipe, watch))
    check_plateau(parts)
    settle(parts, on_stderr)
    if distributed.is_main():
        look(parts.images, recipe.split, on_stderr, seed=recipe.split_seed)
    return parts


def read_images(recipe: Recipe, watch: Watch | None) -> Images:
    """The images of a recipe; of several processes the first fills the cache of decoded images for the others."""
    with distributed.main_first():
        return load_images(recipe, stage(watch, "reading images"))


def first_time(run: Run, parts: Parts, watch: Watch | None, extra: Extra | None) -> tuple[Run, Images]:
    """Train a new run. Its recipe is written last: a folder with it can be resumed, one without has not begun."""
    if distributed.is_main():
        write_inputs(run, parts.recipe, parts.images)
        write_skipped(run, parts.images)
        run.write("recipe.toml", parts.recipe.to_toml())
    return train_and_evaluate(run, parts, watch, extra)


def resume(
    path: str | os.PathLike, *, watch: Watch | None = None, extra: Extra | None = None, force: bool = False
) -> tuple[Run, Images]:
    """Go on with a run from its last checkpoint; it ends in the same weights as if it had never stopped.

    Errors: ValueError when recipe or data are not those it was started with, unless `force`; or another process has it.
    """
    run = Run.open(path)
    with locked(run.path) if distributed.is_main() else nullcontext():
        if distributed.is_main():
            sweep(run.path)
        distributed.barrier()
        recipe = run.recipe
        parts = build(recipe, read_images(recipe, watch))
        if not force:
            check_inputs(run, recipe, parts.images)
        return train_and_evaluate(run, parts, watch, extra)


def train_and_evaluate(run: Run, parts: Parts, watch: Watch | None, extra: Extra | None) -> tuple[Run, Images]:
    """Train what is left, keep the model, evaluate."""
    parts = trial(parts, run=run, watch=watch, extra=extra)
    stage(watch, "scoring")(0, 0)
    found = embed_shared(parts.state.final, parts.images)
    if distributed.is_main():
        evaluate_run(run, model=parts.state.final, images=parts.images, state=parts.state, found=found)
    return run, parts.images


def obtain(
    path: Path,
    recipe: Recipe,
    *,
    watch: Watch | None = None,
    extra: Extra | None = None,
    announce: Callable[[str], None] = lambda sentence: None,
) -> Run:
    """The run of a recipe at `path`: used as it is where it is finished, resumed where it is not, else trained.

    announce: gets "" when a training starts and "going on" when one is resumed.
    """
    if (path / "metrics.json").exists():
        return Run(path)
    if (path / "recipe.toml").exists():
        announce("going on")
        return resume(path, watch=watch, extra=extra)[0]
    announce("")
    parts = prepared(recipe, watch)
    with new_run(path.parent, path.name, exactly=True) as run:
        return first_time(run, parts, watch, extra)[0]


def check_same_recipe(path: Path, recipe: Recipe) -> None:
    """Errors: ValueError where the folder holds a run of another recipe."""
    if not (path / "recipe.toml").exists():
        return
    earlier = Recipe.load(path / "recipe.toml")
    for field, wanted in recipe.to_dict().items():
        if (had := getattr(earlier, field)) != wanted and (field, wanted) != ("amp", "auto"):
            raise ValueError(
                f"{path} was trained with {field}={had}, and {field}={wanted} is asked for now; "
                f"give the comparison another --name, or delete {path}"
            )


def default_name(recipe: Recipe) -> str:
    """`fashion-mnist` for a source, the folder's own name for a folder."""
    name = Path(recipe.data).resolve().stem if os.path.exists(recipe.data) else spec.parse(recipe.data)[0]
    return name.replace("_", "-") or "run"


def write_skipped(run: Run, images: Images) -> None:
    """skipped.csv: the images that were left out, and why."""
    if images.skipped:
        run.write("skipped.csv", csv_text([("id", "why"), *images.skipped]))

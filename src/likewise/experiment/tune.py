"""A recipe's fields searched on validation: Optuna proposes, validation decides, the test part is never read."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, nan
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import torch

from likewise.atomic import replacing
from likewise.data.images import SPLITS, Images
from likewise.data.split import by_class
from likewise.experiment.build import Parts, build, load_images, resolve_defaults
from likewise.experiment.compare import LOWER_IS_BETTER, parse_over
from likewise.experiment.recipe import NAMED, Recipe, known, setting
from likewise.experiment.run import Run
from likewise.experiment.trial import trial, validation_score
from likewise.extras import install_line
from likewise.geometry import DivergedError
from likewise.safety.bounds import Fields
from likewise.safety.spreadsheets import csv_text
from likewise.spec import SpecError, from_file
from likewise.training.loop import Callback, State, at_epoch_end
from likewise.training.watch import Watch

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

__all__ = ["Attempt", "Span", "Tuned", "parse_space", "tune"]

# A trial is given up when it is worse than the median of the earlier ones, once so many have ended.
FULL_TRIALS = 5
# Searching these would change what decides.
SETTLED = ("data", "split", "val", "seed", "split_seed", "min_per_class", "max_per_class", "max_classes", "monitor")
DECADE = 10.0  # a span of numbers that reaches so many times its lower end is searched by its logarithm


DIVERGED = "diverged"


@dataclass(frozen=True)
class Span:
    """All numbers from low to high, whole ones only where the field takes such."""

    low: float
    high: float
    whole: bool

    @property
    def log(self) -> bool:
        return self.low > 0 and self.high / self.low >= DECADE


Space = Mapping[str, "Sequence[str] | Span"]


class Attempt(NamedTuple):
    """One trial, however it ended: `complete`, `pruned` (with its last score), `fail` or `running`."""

    number: int
    state: str
    value: float | None
    seconds: float | None
    settings: dict[str, object]


@dataclass(frozen=True)
class Tuned:
    """What a search found; `trials` are those that ended, the best first."""

    folder: Path
    best: Recipe
    monitor: str
    trials: tuple[dict[str, object], ...]  # number, value, state, seconds and the fields that were searched
    apart: bool  # whether validation was on classes that training left out
    gone: int  # trials given up because they fell behind
    attempts: tuple[Attempt, ...] = ()  # every trial, in the order in which they began


def parse_space(texts: Iterable[str], recipe: Recipe) -> dict[str, Sequence[str] | Span]:
    """`['lr=1e-4..1e-2', 'loss=softmax,supcon']` -> a Span and a list, each value tried on the recipe.

    Errors: SpecError for an unknown field, a value it does not take, or a span that is none.
    """
    space: dict[str, Sequence[str] | Span] = {}
    for name, values in parse_over(texts).items():
        if known(name) in SETTLED:
            raise SpecError(f"{name} says what the score is measured on or by, so it cannot be searched")
        low, dots, high = values[0].partition("..")
        if dots and len(values) == 1:
            space[name] = span(name, low, high, recipe)
        else:
            space[name] = values
            for value in values:
                recipe.override(f"{name}={value}")
    if not space:
        raise SpecError("tune what? Give --over lr=1e-4..1e-2, or --over loss=softmax,supcon, as often as needed")
    return space


def span(name: str, low: str, high: str, recipe: Recipe) -> Span:
    ends = [setting(f"{name}={end}")[1] for end in (low, high)]
    if not all(type(end) in (int, float) for end in ends):
        raise SpecError(f"{name} is not a number, so it has no range {low}..{high}; list its values: {name}=a,b,c")
    for end in ends:
        recipe.replace(**{name: end})
    if not ends[0] < ends[1]:
        raise SpecError(f"a range goes from low to high, got {name}={low}..{high}")
    return Span(ends[0], ends[1], whole=type(ends[0]) is int)


def tune(
    recipe: Recipe,
    space: Space,
    *,
    folder: str | os.PathLike,
    trials: int = 20,
    seconds: float = 0.0,
    apart: bool | None = None,
    watch: Watch | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Tuned:
    """Search until so many trials are done, or go on where an earlier call stopped; the best recipe is best.toml.

    space: what `parse_space` gives. seconds: no further trial begins after so many; 0 is no limit. apart: validate on
    classes that training leaves out (True), on other images of the same (False), or as the recipe's own split does
    (None). What decides is `recipe.monitor` after the last epoch. Errors: ValueError for a folder of another search, or
    without validation images; ModuleNotFoundError without Optuna.
    """
    optuna, folder = required(), Path(folder)
    recipe = recipe.replace(patience=0, eval_every_epochs=recipe.eval_every_epochs or 1)
    same_search(folder, recipe, space, apart)
    load = lru_cache(1)(lambda size, channels: for_search(recipe.replace(size=size, channels=channels), apart))
    images = load(recipe.size, recipe.channels)
    study = opened(optuna, folder, recipe)

    def run(attempt: "Trial") -> float:
        chosen = recipe.override(*(f"{name}={value}" for name, value in drawn(attempt, space).items()))
        say(f"trial {attempt.number}: " + ", ".join(f"{name}={value}" for name, value in attempt.params.items()))
        try:
            return score(optuna, attempt, resolve_defaults(chosen), load(chosen.size, chosen.channels), watch)
        except DivergedError:
            attempt.set_user_attr(DIVERGED, True)
            return nan
        except KeyboardInterrupt:
            study.enqueue_trial(attempt.params)
            raise

    again(optuna, study)
    left = trials - sum(t.state.name in ("COMPLETE", "PRUNED") or DIVERGED in t.user_attrs for t in study.trials)
    if left > 0:
        study.optimize(run, n_trials=left, timeout=seconds or None, callbacks=[lambda s, t: keep(folder, s, space)])
    return result(optuna, folder, study, recipe, images)


def required() -> ModuleType:
    """Optuna, quiet. Errors: ModuleNotFoundError with the line that installs it."""
    try:
        import optuna
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"tune needs Optuna; install it with: {install_line('tune')}") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def same_search(folder: Path, recipe: Recipe, space: Space, apart: bool | None) -> None:
    """Write down what is searched, or check that it is what was. Errors: ValueError."""
    record = {"recipe": recipe.to_dict(), "apart": apart, "space": {k: described(v) for k, v in space.items()}}
    text, path = json.dumps(record, indent=1), folder / "search.json"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise ValueError(f"{folder} holds a different search; repeat its settings to resume it, or give another --name")
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def described(values: Sequence[str] | Span) -> list[str] | list[float]:
    return [values.low, values.high] if isinstance(values, Span) else list(values)


def for_search(recipe: Recipe, apart: bool | None) -> Images:
    """The images without the test part. Errors: ValueError where none is left to validate on."""
    images = load_images(recipe)
    images = images.take(torch.nonzero(images.split != SPLITS.index("test")).flatten())
    if apart and not images.open:
        images = by_class(images, val=recipe.val or 0.1, test=0.0, seed=recipe.split_seed)
    if apart is False and images.open:
        raise ValueError(f"{images.name} is tested on new classes and validates on such; leave --same-classes out")
    if not len(images.part("val")):
        raise ValueError(f"{images.name} has no validation images, which decide; give val=0.1")
    return images


def opened(optuna: ModuleType, folder: Path, recipe: Recipe) -> "Study":
    """The study in `folder`, new or gone on with."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    study = optuna.create_study(
        study_name=folder.name,
        storage=JournalStorage(JournalFileBackend(str(folder / "study.log"))),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=FULL_TRIALS),
        direction="minimize" if recipe.monitor in LOWER_IS_BETTER else "maximize",
        load_if_exists=True,
    )
    # going on with the same seed would draw again what was drawn at first
    study.sampler = optuna.samplers.TPESampler(seed=recipe.seed + len(study.trials))
    return study


def again(optuna: ModuleType, study: "Study") -> None:
    """Trials that a kill cut short are first in line."""
    running = optuna.trial.TrialState.RUNNING
    for cut_short in study.get_trials(states=(running,)):
        study.tell(cut_short.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(cut_short.params)


def drawn(trial: "Trial", space: Space) -> dict[str, object]:
    def one(name: str, values: Sequence[str] | Span) -> str | int | float:
        if not isinstance(values, Span):
            return trial.suggest_categorical(name, values)
        if values.whole:
            return trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
        return trial.suggest_float(name, values.low, values.high, log=values.log)

    return {name: one(name, values) for name, values in space.items()}


def score(optuna: ModuleType, attempt: "Trial", recipe: Recipe, images: Images, watch: Watch | None) -> float:
    """The validation score of the final model; a trial that falls behind the median ends early."""

    def prune(run: Run | None, parts: Parts) -> list[Callback]:
        def call(state: State) -> None:
            if state.progress < 1:
                attempt.report(decisive(state.scores, recipe.monitor), state.epochs_done)
                if attempt.should_prune():
                    raise optuna.TrialPruned

        return [at_epoch_end(recipe.eval_every_epochs, call)]

    parts = trial(build(recipe, images), watch=watch, extra=prune)
    value = decisive(validation_score(recipe, images)(parts.state.final), recipe.monitor)
    attempt.report(value, parts.state.epochs_done)
    attempt.set_user_attr("seconds", round(parts.state.seconds, 1))
    return value


def decisive(scores: Mapping[str, Fields], monitor: str) -> float:
    if monitor not in scores:
        raise ValueError(f"monitor={monitor!r} is not a validation score here; there are {', '.join(scores)}")
    return scores[monitor]["value"]


def keep(folder: Path, study: "Study", space: Space) -> None:
    """trials.csv, after every trial."""
    rows = [[t.number, t.state.name.lower(), t.value, *(t.params.get(name) for name in space)] for t in study.trials]
    with replacing(folder / "trials.csv") as temporary:
        temporary.write_text(csv_text([("trial", "state", "value", *space), *rows]), encoding="utf-8")


def result(optuna: ModuleType, folder: Path, study: "Study", recipe: Recipe, images: Images) -> Tuned:
    """Errors: ValueError when no trial ended."""
    state = optuna.trial.TrialState
    ended = study.get_trials(states=(state.COMPLETE,))
    if not ended:
        raise ValueError(f"no trial of {folder} ended in the time given; give more --seconds, or fewer epochs")
    ended.sort(key=lambda t: t.value or 0.0, reverse=study.direction == optuna.study.StudyDirection.MAXIMIZE)
    for name, value in ended[0].params.items():
        if name in NAMED and value:
            from_file(NAMED[name], value, folder)
    best = recipe.override(*(f"{name}={value}" for name, value in ended[0].params.items()))
    with replacing(folder / "best.toml") as temporary:
        temporary.write_text(best.to_toml(), encoding="utf-8")
    listed = tuple(
        {"trial": t.number, "value": t.value, "seconds": t.user_attrs.get("seconds")} | t.params for t in ended
    )
    gone, attempts = len(study.get_trials(states=(state.PRUNED,))), tuple(map(attempted, study.trials))
    return Tuned(folder, best, recipe.monitor, listed, images.open, gone, attempts)


def attempted(trial: "FrozenTrial") -> Attempt:
    value = trial.value if trial.value is not None and isfinite(trial.value) else None
    return Attempt(trial.number, trial.state.name.lower(), value, trial.user_attrs.get("seconds"), dict(trial.params))

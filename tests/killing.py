"""Trainings that are killed and resumed, each in a process forked from one that has imported everything.

What must come of them: the weights and scores of the training that nobody killed, and no other file than it leaves.
"""

import gc
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from faults import Faults
from likewise import distributed
from likewise.experiment import trial
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.experiment.score import evaluate_run
from likewise.experiment.train import resume, train
from likewise.viz.pages.report import write_report

__all__ = ["SETTINGS", "SMALL", "Chain", "at_every_operation", "chain", "forked", "in_fork", "warm"]

SMALL = Recipe(
    data="digits", size=16, max_per_class=10, val=0.2, epochs=2, sampler="pk(classes=5, images=3)", network="mlp",
    dim=8, device="cpu", seed=3,
)  # fmt: skip

# setting: what is changed of SMALL
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "patience": {"patience": 1, "epochs": 8, "lr": 0.1, "optimizer": "sgd"},
    "patience and average": {"patience": 1, "epochs": 6, "lr": 0.3, "ema": 0.9},
    "pretraining": {"pretrain_epochs": 1},
    "pretraining and patience": {"pretrain_epochs": 2, "patience": 1, "epochs": 5},
    "moving average": {"ema": 0.95},
    "memory": {"memory": 64},
    "hard classes": {"sampler": "hard_classes(classes=4, images=3)", "epochs": 3},
    "hard negatives": {"sampler": "hard_negatives(batch=24, images=2)", "epochs": 3},
    "whiten": {"whiten": 0.1},
    "batch norm": {"network": "small_resnet(width=4)", "sampler": "shuffled(batch=16)"},
    "accumulate": {"accumulate": 3},
    "adapter": {"adapter": "lora(rank=2)", "ema": 0.95, "accumulate": 2},
    "accumulate and memory": {"accumulate": 2, "memory": 48},
    "plateau": {"schedule": "plateau(patience=1)", "epochs": 4, "optimizer": "sgd", "lr": 0.3},
    "relation": {"relation": "level(depth=0)"},
    "balanced": {"balanced": True, "sampler": "shuffled(batch=24)"},
    "tile": {"tile": 4, "loss": "ntxent"},
    "augment": {"augment": "strong", "network": "small"},
    "rotations": {"rotations": 4, "mirror": True},
    "proxies": {"loss": "cosface(scale=16.0, margin=0.2)", "proxy_lr": 10.0},
    "several proxies": {"loss": "soft_triple(centres=2)", "optimizer": "radam"},
    "miner and clip": {"loss": "triplet", "miner": "distance_weighted", "clip": 1.0, "optimizer": "rmsprop"},
    "pairs": {"loss": "contrastive(margin=1.0)", "sampler": "pairs(batch=24)", "dim": 2},
    "dropout and thaw": {"head": "projection(hidden=16)", "frozen_epochs": 1, "unfreeze_epochs": 1, "epochs": 3},
    "classes not seen": {"split": "by_class(test=0.3)", "snapshot_epochs": "0,1,2", "loss": "multi_similarity"},
}


class Lost(AssertionError):  # noqa: N818 (what it is)
    """A training that fails where nobody killed it."""


def in_fork(work: Callable[[], Any], *, kill_after: float | None = None) -> int:
    """The exit code of a process that does the work: 0 done, 1 error, 137 killed; what it prints is dropped."""
    child = forked(work)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 137 if code < 0 else code


def forked(work: Callable[[], Any], errors: str = os.devnull) -> int:
    """The number of a new process that does the work and ends with 0, or 1 after an error; stderr goes to a file."""
    sys.stdout.flush(), sys.stderr.flush()
    if child := os.fork():
        return child
    code = 1
    try:
        gc.freeze()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not os.environ.get("KILLING_SHOWS"):
            os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def warm() -> None:
    """Train once in this process, so that what is forked from it has everything imported and tried."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        start(SMALL, Path(folder), report=True)


def start(recipe: Recipe, out: Path, *, save_every: float = -1, report: bool = False) -> None:
    """Train into `out/run`, with a checkpoint every so many seconds; below 0, after every step."""
    finished(*often(save_every, lambda: train(recipe, out=out, name="run")), report)


def go_on(recipe: Recipe, out: Path, *, save_every: float = -1, report: bool = False) -> None:
    """Resume `out/run`, or start it where it has not begun, as whoever calls it would."""
    if not distributed.from_main((out / "run" / "recipe.toml").exists()):
        return start(recipe, out, save_every=save_every, report=report)
    return finished(*often(save_every, lambda: resume(out / "run")), report)


def finished(run: Any, images: Any, report: bool) -> None:
    if report:
        write_report(run.path, images)


def often(seconds: float, work: Callable[[], Any]) -> Any:
    log, checkpoint = trial.log, trial.checkpoint
    trial.log = lambda write: log(write, seconds=-1)
    trial.checkpoint = lambda run: checkpoint(run, seconds=seconds)
    try:
        return work()
    finally:
        trial.log, trial.checkpoint = log, checkpoint


def result(out: Path) -> dict[str, Any]:
    """What a training has come to: weights, scores, threshold, the steps of its log, and the names of its files."""
    run = out / "run"
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    with safe_open(run / "model" / "model.safetensors", "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "weights": weights,
        # the verdict names the folder of the run in what to type next
        "scores": {k: v for k, v in metrics.items() if k not in ("seconds", "images_per_s", "verdict")},
        "log": sorted((r["kind"], r["step"]) for r in log),
        "losses": sorted((r["step"], r["loss"]) for r in log if r["kind"] == "train"),
        "files": sorted({name for path in out.rglob("*") if (name := file_name(path, out))}),
    }


def file_name(path: Path, out: Path) -> str:
    """Its name below `out`; each process writes a file of TensorBoard events of its own."""
    name = path.relative_to(out).as_posix()
    return name.partition("/events.out")[0]


def difference(whole: dict[str, Any], found: dict[str, Any], where: str) -> list[str]:
    """What a training has lost, left or come to otherwise, in one sentence; nothing where it is the same."""
    a, b = whole["weights"], found["weights"]
    wrong = [f"left {sorted(extra)}"] if (extra := set(found["files"]) - set(whole["files"])) else []
    wrong += [f"lost {sorted(lost)}"] if (lost := set(whole["files"]) - set(found["files"])) else []
    wrong += [] if a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) else ["other weights"]
    wrong += [f"other {name}" for name in ("scores", "losses", "log") if whole[name] != found[name]]
    return [f"{where}: {', '.join(wrong)}"] if wrong else []


@dataclass
class Chain:
    """What was seen of one setting."""

    setting: str
    seconds: float  # of the training that nobody killed
    kills: int = 0
    resumed: int = 0  # trainings that came to their end after a kill or more
    longest: int = 0  # kills of one training
    before: int = 0  # kills before there was anything to resume
    while_scoring: int = 0  # kills after the last step
    problems: list[str] = field(default_factory=list)


def chain(setting: str, kills: int, folder: Path, seed: int, run: Callable[..., int] = in_fork) -> Chain:
    """Kill trainings of a setting at random moments, as many times in all, and compare what they come to.

    run: does the work in a process, or several, of which it kills one.
    """
    recipe, rng = SMALL.replace(**SETTINGS[setting]), random.Random(f"{seed} {setting}")
    began = time.perf_counter()
    if run(lambda: start(recipe, folder / "whole")):
        raise Lost(f"{setting}: the training fails without a kill")
    seen = Chain(setting, time.perf_counter() - began)
    whole, number = result(folder / "whole"), 0
    while seen.kills < kills:
        number += 1
        one_training(recipe, folder / str(number), whole, seen, rng, kills, run)
    return seen


def one_training(
    recipe: Recipe, out: Path, whole: dict, seen: Chain, rng: random.Random, kills: int, run: Callable[..., int]
) -> None:
    save_every, own, ended = rng.choice((-1, -1, 0.05, 10.0)), 0, False
    while not ended:
        more = seen.kills < kills and (own == 0 or rng.random() < 0.6)
        moment = rng.uniform(0, 1.1 * seen.seconds) if more else None
        code = run(lambda: go_on(recipe, out, save_every=save_every), kill_after=moment)
        if code == 1:
            seen.problems.append(f"{seen.setting}: cannot be resumed after {own} kills: {out}")
            return
        ended = code == 0
        if not ended:
            own, seen.kills = own + 1, seen.kills + 1
            seen.before += not (out / "run" / "checkpoints" / "last.safetensors").exists()
            seen.while_scoring += (out / "run" / "model" / "model.safetensors").exists()
    if own:
        seen.resumed, seen.longest = seen.resumed + 1, max(seen.longest, own)
    seen.problems += difference(whole, result(out), f"{seen.setting}, {own} kills ({out})")


@dataclass(frozen=True)
class Work:
    """What is killed at every file operation: what it begins with, what it does, and what is done after the kill."""

    prepare: Callable[[Path], None]
    do: Callable[[Path], Any]
    mend: Callable[[Path], Any]


def works(recipe: Recipe, folder: Path) -> dict[str, Work]:
    """Training, resuming a training that was killed at its middle, evaluating, and writing the report."""
    whole, cut = folder / "whole", folder / "cut"
    with Faults(cut).active() as counted:
        start(recipe, cut)
    shutil.rmtree(cut)
    if in_fork(lambda: at_operation(len(counted.operations) // 2, cut, lambda: start(recipe, cut))) != 137:
        raise Lost("the training that is to be resumed was not killed")
    if in_fork(lambda: start(recipe, whole, report=True)):
        raise Lost("the training fails without a kill")

    def copy(source: Path) -> Callable[[Path], None]:
        return lambda out: shutil.copytree(source, out, dirs_exist_ok=True)

    def again(work: Callable[[Run], Any]) -> Callable[[Path], None]:
        return lambda out: work(Run(out / "run"))

    def report(run: Run) -> Path:
        return write_report(run.path)

    return {
        "training": Work(lambda out: None, lambda out: start(recipe, out), lambda out: go_on(recipe, out)),
        "resuming": Work(copy(cut), lambda out: go_on(recipe, out), lambda out: go_on(recipe, out)),
        "evaluating": Work(copy(whole), again(evaluate_run), again(evaluate_run)),
        "reporting": Work(copy(whole), again(report), again(report)),
    }


def at_operation(n: int, folder: Path, work: Callable[[], Any]) -> None:
    with Faults(folder, n).active():
        work()


def at_every_operation(name: str, recipe: Recipe, folder: Path, *, every: int = 1) -> tuple[int, list[str]]:
    """Kill one of `works` at its n-th file operation, for every n, and go on; (how many kills, problems)."""
    work = works(recipe, folder)[name]
    out, whole, problems = folder / "done", {}, []
    work.prepare(out)
    if in_fork(lambda: work.do(out)):
        raise Lost(f"{name} fails without a kill")
    whole, n = result(out), 1
    while True:
        out = folder / str(n)
        out.mkdir()
        work.prepare(out)
        code = in_fork(lambda: at_operation(n, out, lambda: work.do(out)))  # noqa: B023 (called at once)
        if code == 0:
            return (n - 1) // every, problems
        where = f"{name}, operation {n} ({out})"
        if code == 1 or in_fork(lambda: work.mend(out)):  # noqa: B023
            problems.append(f"{where}: cannot go on")
        else:
            problems += difference(whole, result(out), where)
        n += every

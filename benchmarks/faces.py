"""Faces of people never seen in training: the recipe `faces` ten times, each time without a tenth of the people.

    python benchmarks/faces.py                       # ten trainings; goes on where it was stopped

Every one of the 40 people is a test person once. The similarities of all ten models are pooled, each model's of its own
four test people: 1,800 pairs of one person and 6,000 of two, with one threshold for all of them where one is needed.
Intervals are the bootstrap over people. The threshold of a model is that of its own validation people, who are neither
trained on nor tested.
"""

import argparse
from pathlib import Path

import machine
import torch
from torch import Tensor

from likewise import spec
from likewise.evaluate import Embeddings, too_few
from likewise.evaluate.verification import folded, verify
from likewise.experiment import train as launch
from likewise.experiment.run import Run
from likewise.experiment.thresholds import kept_pairs
from likewise.metrics.intervals import Score
from likewise.metrics.sampled_pairs import Pairs, similarities
from likewise.recipes import faces

FOLDS = 10


def trained(at: int, out: Path) -> Run:
    """The run of a fold: as it is where it is finished, gone on with where it is not."""
    path = out / f"fold-{at}"
    if (path / "metrics.json").exists():
        return Run.open(path)
    if (path / "checkpoints" / "last.safetensors").exists():
        return launch.resume(path)[0]
    recipe = faces().replace(split=f"likewise.recipes.faces:tenth(at={at})")
    return launch.train(recipe, out=out, name=f"fold-{at}")[0]


def measured(run: Run) -> tuple[Pairs, Tensor, Tensor]:
    """Pairs of a run's test people by their labels, their similarities, and how far these are above its threshold."""
    test = Embeddings.load(run.embeddings).part("test")
    pairs = kept_pairs(run, test, "test")
    assert pairs is not None
    score_T = similarities(test.vectors, pairs, sim=spec.bind("sim", run.recipe.sim))
    people = Pairs(test.labels[pairs.first], test.labels[pairs.second], pairs.same)
    return people, score_T, score_T - run.metrics()["threshold"]["value"]


def table(runs: list[Run]) -> str:
    people, scores, above = zip(*map(measured, runs), strict=True)
    fold_T = torch.arange(len(runs)).repeat_interleave(torch.tensor([len(x) for x in scores]))
    pooled = Pairs(*(torch.cat(column) for column in zip(*people, strict=True)))
    each = torch.arange(int(max(pooled.first.max(), pooled.second.max())) + 1)  # a pair is of people: they are drawn
    found = verify(pooled, torch.cat(scores), each)
    own = verify(pooled, torch.cat(above), each, threshold=0.0)
    rows = {name: line(score) for name, score in found.items()}
    rows |= {name: f"— | too few pairs to say | {len(pooled.same):,}" for name in too_few(pooled.same)}
    names = ("pair_accuracy", "pair_precision", "pair_recall", "pair_f1")
    rows |= {f"{name}, each model's own threshold": line(own[name]) for name in names}
    folds = folded(pooled, torch.cat(scores), fold_T)
    rows["accuracy, threshold of the nine other folds"] = f"{line(folds.score)} (standard error {folds.error:.4f})"
    seconds = sum(run.metrics()["seconds"] for run in runs)
    head = "| score | value | 95 % interval | pairs |\n|---|---:|---:|---:|\n"
    return (
        f"{len(runs)} trainings, {seconds:.0f} s in all\n\n"
        + head
        + "\n".join(f"| {name} | {row} |" for name, row in rows.items())
    )


def line(score: Score) -> str:
    return f"{score.value:.4f} | {score.low:.4f} – {score.high:.4f} | {score.n:,}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("runs/faces-folds"))
    options.add_argument("--folds", type=int, default=FOLDS, help="only the first so many, to try it out")
    given = options.parse_args()
    runs = [trained(at, given.out) for at in range(given.folds)]
    machine.write("faces", table(runs), __doc__ or "")


if __name__ == "__main__":
    main()

"""What the methods of a comparison would score without training, gathered from their runs: each baseline once."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from likewise.experiment.gain import note
from likewise.experiment.records import ScoreRecord
from likewise.experiment.run import Run

__all__ = ["Baseline", "baselines_of"]


@dataclass(frozen=True)
class Baseline:
    """Raw pixels, a network at step 0 or frozen published features, and the images that it was scored on."""

    label: str
    scores: dict[str, ScoreRecord]
    note: str

    def to_dict(self) -> dict[str, object]:
        return {"label": self.label, "scores": self.scores, "note": self.note}


def baselines_of(runs: Mapping[str, Run]) -> tuple[Baseline, ...]:
    """The baselines of one run a method, by the method's name; those of several methods carry theirs.

    Methods that share images and network share their baselines, which are listed once.
    """
    by_kind: dict[str, dict[tuple[object, ...], tuple[str, Baseline]]] = defaultdict(dict)
    for method, run in runs.items():
        record = run.metrics().get("without_training")
        if not record:
            continue
        for one in record["baselines"].values():
            values = tuple((name, score["value"]) for name, score in one["scores"].items())
            baseline = Baseline(one["what"], one["scores"], note(record))
            by_kind[one["what"]].setdefault((values, baseline.note), (method, baseline))
    return tuple(
        Baseline(f"{what}, {method}" if len(same) > 1 else what, one.scores, one.note)
        for what, same in by_kind.items()
        for method, one in same.values()
    )

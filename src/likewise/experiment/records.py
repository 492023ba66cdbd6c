"""What a run writes as JSON, with types: metrics.json, the threshold and the calibration."""

from pathlib import Path
from typing import NotRequired, TypedDict, cast

from likewise.experiment.run_files import checked_metrics
from likewise.metrics.intervals import Score

__all__ = [
    "BaselineRecord",
    "CalibrationRecord",
    "DataRecord",
    "GapRecord",
    "Metrics",
    "PairedRecord",
    "RatesRecord",
    "ScoreRecord",
    "SizePoint",
    "SizesRecord",
    "SliceRecord",
    "ThresholdRecord",
    "VerdictRecord",
    "VerificationRecord",
    "WithoutTraining",
    "as_record",
    "read_metrics",
]


class ScoreRecord(TypedDict):
    """A score with its 95 % interval and the number of queries, pairs or trials behind it."""

    value: float
    low: float
    high: float
    n: int


def as_record(score: Score) -> ScoreRecord:
    return ScoreRecord(value=score.value, low=score.low, high=score.high, n=score.n)


class ThresholdRecord(TypedDict):
    """The similarity from which two images count as the same, and what it was chosen for on validation pairs."""

    value: float
    target: str


class CalibrationRecord(TypedDict):
    """A curve from similarity to probability, and the number of validation pairs it was fitted to."""

    kind: str
    x: list[float]
    y: list[float]
    n: NotRequired[int]


class DataRecord(TypedDict):
    """What was trained and scored on: images of each part."""

    name: str
    classes: int
    train: int
    val: int
    test: int
    skipped: int
    keep: NotRequired[int]  # decisions that were applied, by kind
    relabel: NotRequired[int]
    remove: NotRequired[int]


class PairedRecord(TypedDict):
    """A paired difference on the same queries, trained less baseline: 95 % interval and p of the paired test."""

    difference: float
    low: float
    high: float
    p: float
    n: int


class BaselineRecord(TypedDict):
    """One method without training: its scores, and by how much the trained model is above it."""

    what: str
    scores: dict[str, ScoreRecord]
    difference: dict[str, PairedRecord]


class WithoutTraining(TypedDict):
    """Scores without training, and the trained model's on the same queries and references; `main` decides.

    baselines: pixels (values for feature rows), untrained, published. left_out: why one of these is missing.
    """

    main: str
    queries: int
    queries_of: int
    references: int
    references_of: int
    trained: dict[str, ScoreRecord]
    baselines: dict[str, BaselineRecord]
    left_out: dict[str, str]


class RatesRecord(TypedDict):
    """FAR and FRR at a threshold that validation pairs chose, with 95 % intervals."""

    at: str
    threshold: float
    far: ScoreRecord
    frr: ScoreRecord
    validation_far: NotRequired[ScoreRecord]


class SliceRecord(TypedDict):
    """Pairs of one group or role, and their scores; None for what they cannot tell."""

    name: str
    same: int
    different: int
    eer: ScoreRecord | None
    far: ScoreRecord | None
    frr: ScoreRecord | None


class GapRecord(TypedDict):
    """A score of the worst group less that of the best; the interval is simultaneous over all pairs of groups."""

    score: str
    worst: str
    best: str
    difference: float
    low: float
    high: float


class VerificationRecord(TypedDict):
    """Error rates of the test pairs; empty where the validation or the test part has no pairs."""

    error_rates: NotRequired[list[RatesRecord]]
    groups: NotRequired[list[SliceRecord]]
    gaps: NotRequired[list[GapRecord]]
    further_groups: NotRequired[int]


class SizePoint(ScoreRecord):
    """Accuracy of vectors of one size: `dim` numbers as `kind`, in so many `bytes`."""

    dim: int
    kind: str
    bytes: int


class SizesRecord(TypedDict):
    """Accuracy by the bytes of a stored vector; trained: the prefixes that the loss was taken at."""

    score: str
    queries: int
    references: int
    trained: list[int]
    points: list[SizePoint]


class VerdictRecord(TypedDict):
    """The verdict on the run: good, doubtful or bad, why, what to type next, and what else was found."""

    grade: str
    name: str
    reason: str
    commands: list[str]
    further: list[str]


class Metrics(TypedDict):
    """metrics.json. `open` says that the scored classes were not trained on.

    warning: where training did not help: what it was compared with, and what to change.
    """

    verdict: NotRequired[VerdictRecord]
    warning: NotRequired[str]
    run: str
    split: str
    open: bool
    scores: dict[str, ScoreRecord]
    caveats: NotRequired[list[str]]  # what makes a score mean less than it seems to
    verification: NotRequired[VerificationRecord]
    majority: NotRequired[float | None]  # share of the most frequent scored class, in a closed set
    near_copies: NotRequired[list[dict[str, object]]]  # of a sample: part, other, copies, checked, split
    audit: NotRequired[dict[str, object]]  # counts of `likewise audit`: images, held_out (scored), leaked, suspects
    left_out: dict[str, str]
    queries_without_positives: dict[str, int]
    health: dict[str, object]  # one number or a list a name, see evaluate/diagnostics.py
    val: dict[str, ScoreRecord]
    threshold: ThresholdRecord | None
    calibration: CalibrationRecord | None
    data: DataRecord
    without_training: NotRequired[WithoutTraining]
    vector_sizes: NotRequired[SizesRecord]  # of a matryoshka
    loss_at_collapse: NotRequired[float | None]
    seconds: NotRequired[float]
    images_per_s: NotRequired[float]
    steps: NotRequired[int]
    epochs: NotRequired[int]
    stopped: NotRequired[str]
    parameters: NotRequired[int]
    wise: NotRequired[float]  # share of the trained weights in the mean with the first ones


def read_metrics(path: Path) -> Metrics:
    """The scores of a run. Errors: ValueError where the file is no JSON object."""
    return cast(Metrics, checked_metrics(path))

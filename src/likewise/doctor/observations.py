"""Observations of a training, and the symptoms derived from them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from likewise import spec
from likewise.losses.build import family
from likewise.losses.distill import __all__ as DISTILLING
from likewise.losses.spread import __all__ as REGULARIZERS
from likewise.safety.bounds import Record

__all__ = ["AT_COLLAPSE", "PATIENCE", "SEPARATED", "Case", "Observation", "Setup", "inner"]

PATIENCE = 3  # consecutive observations that must show a symptom during training

COLLAPSED = (
    1e-2  # spread below which the embedding counts as collapsed; it is 0.1 to 0.4 before training, then 0.3 to 1
)
POINT = 1e-4  # spread from which no training recovers
RECOVERING = 1.2  # growth of the spread between observations; batch-hard may shrink to 0.006 and still recover
AT_COLLAPSE = 0.98  # share of the loss at collapse; a loss above it is no better than a collapse
GUESSING = 0.58  # AUC of about 60 images; chance level is 0.46 to 0.54
SEPARATED = 0.95
USUAL_LR = {"adamw": 1e-3, "adam": 1e-3, "radam": 1e-3, "sgd": 0.05}
FAR_TOO_HIGH = 10  # times the usual learning rate


@dataclass(frozen=True)
class Observation:
    """Measurements of a training at one step, on a fixed sample of images; None for what was not measured."""

    step: int
    epoch: float
    loss: float
    spread: float  # 1 - |mean|^2 / mean |x|^2 of the embedding: 0 is one point, 1 is balanced around 0
    rank: float  # effective rank of the embedding around its mean
    dead: float  # share of dimensions that are 0 for every image
    loss_at_collapse: float | None = None  # loss of a collapsed embedding
    active: float | None = None  # share of anchors with a non-zero loss
    auc: float | None = None  # pair AUC of training images
    val_auc: float | None = None  # pair AUC of validation images
    growth: float | None = None  # weight norm relative to the start
    related: float | None = None  # label agreement of pixel-space neighbours, in standard errors above chance
    one_class: float = 0.0  # share of batches with a single class
    no_same: float = 0.0  # share of batches without two images of one class

    @classmethod
    def of(cls, record: Record) -> "Observation":
        """From a record of metrics.jsonl."""
        record = {"loss_at_collapse": record.get("chance"), **record}  # an earlier name
        return cls(**{f.name: record[f.name] for f in fields(cls) if f.name in record})

    def at_collapse(self) -> bool:
        """Whether the loss is at its value at collapse; if that is unknown, whether the spread is near 0."""
        return (
            self.spread < POINT if self.loss_at_collapse is None else self.loss >= AT_COLLAPSE * self.loss_at_collapse
        )

    def guessing(self) -> bool:
        """Whether pair AUC on training images is at chance level."""
        return self.auc is not None and self.auc < GUESSING

    def fails_validation(self) -> bool:
        """Whether pair AUC on validation images is at chance level."""
        return self.val_auc is not None and self.val_auc < GUESSING

    def suspicious(self) -> bool:
        """Whether to test if the labels match the images."""
        return self.guessing() or self.fails_validation()


@dataclass(frozen=True)
class Setup:
    """Recipe fields that causes depend on, and the number of training classes."""

    loss: str
    sim: str = "cosine"
    normalize: bool = True
    lr: float = 1e-3
    optimizer: str = "adamw"
    sampler: str = ""
    miner: str = ""
    memory: int = 0
    epochs: int | None = None
    classes: int | None = None

    @classmethod
    def of(cls, recipe: Record, classes: int | None = None) -> "Setup":
        """From the fields of a resolve_defaults recipe."""
        return cls(**{f.name: recipe[f.name] for f in fields(cls) if f.name in recipe}, classes=classes)

    @property
    def usual_lr(self) -> float | None:
        return USUAL_LR.get(spec.parse(self.optimizer)[0])

    @property
    def high_lr(self) -> bool:
        return self.usual_lr is not None and self.lr >= FAR_TOO_HIGH * self.usual_lr

    @property
    def hardest(self) -> bool:
        """Whether the loss uses only the hardest pairs of a batch."""
        return self.miner == "hard" or any(settings.get("pick") == "hard" for _, settings in inner(self.loss))

    @property
    def compares_batch(self) -> bool:
        """Whether the loss uses only pairs within a batch, so that a batch can lack one kind."""
        parts = [name for name, _ in inner(self.loss) if name not in {*REGULARIZERS, *DISTILLING}]
        of_pairs = [name == "siamese_bce" or family(name) in {"pair", "pml"} for name in parts]
        return not self.memory and bool(parts) and all(of_pairs)


def inner(loss: str) -> Iterator[tuple[str, spec.Keywords]]:
    """Name and settings of a loss, or of each of its components."""
    name, settings = spec.parse(loss)
    parts = [part for part in (settings.get("loss"), *settings.get("losses", ())) if isinstance(part, str)]
    if not parts:
        yield name.replace("-", "_"), settings
    for part in parts:
        yield from inner(part)


class Case(NamedTuple):
    """A training to diagnose."""

    setup: Setup
    observations: Sequence[Observation]
    recent: Sequence[Observation]  # the last `patience` observations; empty while there are fewer

    def lasting(self, sign: Callable[[Observation], bool]) -> bool:
        """Whether every recent observation shows the symptom."""
        return bool(self.recent) and all(map(sign, self.recent))

    def collapsed(self) -> bool:
        """Whether the embedding is collapsed in all recent observations, without recovering."""
        if not self.lasting(lambda observation: observation.spread < COLLAPSED and observation.at_collapse()):
            return False
        before, last = self.recent[-2:][0], self.recent[-1]
        return last.spread < POINT or last.spread <= RECOVERING * before.spread

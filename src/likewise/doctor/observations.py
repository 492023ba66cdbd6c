"""What the doctor is told, and the symptoms that can be read off it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from likewise import spec
from likewise.losses.build import family

__all__ = ["AT_COLLAPSE", "PATIENCE", "TOLD_APART", "Case", "Look", "Setup", "inner"]

PATIENCE = 3  # looks in a row that must show a symptom while training goes on

COLLAPSED = 1e-2  # spread below which all pictures count as one point; it is 0.1 to 0.4 before training, then 0.3 to 1
POINT = 1e-4  # spread that nothing recovers from
RECOVERING = 1.2  # growth of the spread from look to look; batch-hard may shrink to 0.006 and still get away
AT_COLLAPSE = 0.98  # of the chance value: a loss above it is no better
GUESSING = 0.58  # AUC of some 60 pictures; by chance it is 0.46 to 0.54
TOLD_APART = 0.95
USUAL_LR = {"adamw": 1e-3, "adam": 1e-3, "radam": 1e-3, "sgd": 0.05}
FAR_TOO_HIGH = 10  # times the usual learning rate


@dataclass(frozen=True)
class Look:
    """What was seen of a training at one moment, on a few pictures that never change; None is what was not measured."""

    step: int
    epoch: float
    loss: float
    spread: float  # 1 - |mean|^2 / mean |x|^2 of the embedding: 0 is one point, 1 is balanced around 0
    rank: float  # effective rank of the embedding around its mean
    dead: float  # share of its numbers that are 0 for every picture
    loss_at_collapse: float | None = None  # the loss of an embedding that knows nothing
    active: float | None = None  # share of anchors that still have a loss
    auc: float | None = None  # training pictures: how often a same pair is more alike than a different one
    val_auc: float | None = None  # the same of validation pictures
    growth: float | None = None  # length of the weights, in that at the start
    related: float | None = None  # neighbours in pixels with one label, in standard errors above chance
    one_class: float = 0.0  # share of batches with pictures of a single class
    no_same: float = 0.0  # share of batches without two pictures of one class

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Look":
        """From a record of metrics.jsonl."""
        record = {"loss_at_collapse": record.get("chance"), **record}  # an earlier name
        return cls(**{f.name: record[f.name] for f in fields(cls) if f.name in record})

    def at_collapse(self) -> bool:
        """The loss is no better than without knowing anything; where that is not known, all is at one point."""
        return (
            self.spread < POINT if self.loss_at_collapse is None else self.loss >= AT_COLLAPSE * self.loss_at_collapse
        )

    def guessing(self) -> bool:
        """Same pairs are no more alike than different ones."""
        return self.auc is not None and self.auc < GUESSING

    def fails_validation(self) -> bool:
        """Neither are those of validation pictures, whatever was learned of the others."""
        return self.val_auc is not None and self.val_auc < GUESSING

    def suspicious(self) -> bool:
        """Whether it is worth asking if the labels belong to the pictures."""
        return self.guessing() or self.fails_validation()


@dataclass(frozen=True)
class Setup:
    """The fields of a recipe that a cause may lie in, and how many classes there are to train on."""

    loss: str
    sim: str = "cosine"
    normalize: bool = True
    lr: float = 1e-3
    optimizer: str = "adamw"
    sampler: str = ""
    miner: str = ""
    memory: int = 0
    classes: int | None = None

    @classmethod
    def of(cls, recipe: Mapping[str, Any], classes: int | None = None) -> "Setup":
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
        """Whether only the hardest pairs of a batch count."""
        return self.miner == "hard" or any(settings.get("pick") == "hard" for _, settings in inner(self.loss))

    @property
    def compares_batch(self) -> bool:
        """Whether the pairs of a batch are all that the loss sees, so that it can lack a kind of them."""
        return not self.memory and all(n == "siamese_bce" or family(n) in {"pair", "pml"} for n, _ in inner(self.loss))


def inner(loss: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and settings of a loss, or of each that it is made of."""
    name, settings = spec.parse(loss)
    parts = [part for part in (settings.get("loss"), *settings.get("losses", ())) if isinstance(part, str)]
    if not parts:
        yield name.replace("-", "_"), settings
    for part in parts:
        yield from inner(part)


class Case(NamedTuple):
    """A training before the doctor."""

    setup: Setup
    looks: Sequence[Look]
    recent: Sequence[Look]  # the last ones, as many as patience asks for; none while there are fewer

    def lasting(self, sign: Callable[[Look], bool]) -> bool:
        """Whether every recent look shows it."""
        return bool(self.recent) and all(map(sign, self.recent))

    def collapsed(self) -> bool:
        """All pictures at one point and the loss no better for it, look after look, and not on the way out again."""
        if not self.lasting(lambda look: look.spread < COLLAPSED and look.at_collapse()):
            return False
        before, last = self.recent[-2:][0], self.recent[-1]
        return last.spread < POINT or last.spread <= RECOVERING * before.spread

"""The verdict on a run: good, doubtful or bad, its strongest reason, and the next two commands. Pure.

`verdict_on` weighs measured facts and reads nothing; `likewise.experiment.verdict` collects them from a run folder.
Report, map, audit, comparison, doctor, terminal and metrics.json all show this one verdict.
"""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["GRADES", "Facts", "Gain", "Leak", "Measured", "Problem", "Reason", "Verdict", "verdict_on"]

GRADES = ("good", "doubtful", "bad")

LEAK_BAD = 0.20  # share of held-out images with a near-copy in training: the scores are mostly of known images
LEAK_DOUBTFUL = 0.05  # and the share from which they are worth a doubt: as in the quick look before a training
GUESSING = 0.55  # pair accuracy, of equally many same and different pairs; chance level is 0.5
GUESSING_AUC = 0.58  # pair AUC, where there is no threshold
WEAK = 0.70  # pair accuracy
WIDE = 0.20  # width of the 95 % interval of the main score
MISCALIBRATED = 0.10  # expected calibration error
MISLABELLED = 0.05  # share of images whose neighbours contradict their label
FATAL = (
    *("not-finite", "one-class-batches", "no-same-pairs", "dead-relu", "lr-too-high", "wrong-labels"),
    *("hard-pairs", "not-learning", "memorised", "lr-zero"),
)  # findings of the doctor that leave nothing of a training


class Measured(NamedTuple):
    """A score by name, with its 95 % interval and the number of queries or pairs."""

    name: str
    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4f} ({self.low:.4f} – {self.high:.4f})"


class Problem(NamedTuple):
    """A finding of the doctor: its name and symptom, and the settings that mend it (`lr=0.001`), if they are known."""

    name: str
    text: str
    settings: tuple[str, ...] = ()


class Gain(NamedTuple):
    """The main score against the strongest baseline without training."""

    text: str  # the comparison with its numbers, one clause
    difference: float
    better: bool  # beyond doubt, by the paired test
    worse: bool
    elsewhere: str = ""  # another main score that is better beyond doubt, with its numbers
    settings: tuple[str, ...] = ()


class Leak(NamedTuple):
    """Held-out images with a near-copy in training; `split` keeps these in one part, empty for a source's own parts."""

    leaked: int
    of: int
    split: str = ""
    sample: bool = False  # whether only a sample of the images was compared

    @property
    def share(self) -> float:
        return self.leaked / max(1, self.of)


@dataclass(frozen=True)
class Facts:
    """What is known of a finished run; None for what was not measured. `run` is its folder as typed in a command."""

    run: str = "RUN"
    score: Measured | None = None
    chance: float | None = None  # of `score`: the share of the most frequent class, in a closed set
    pairs: Measured | None = None  # pair accuracy
    auc: Measured | None = None
    ece: Measured | None = None
    gain: Gain | None = None
    leak: Leak | None = None
    audited: bool = False
    suspects: tuple[int, int] | None = None  # images whose neighbours contradict their label, of all images
    problems: tuple[Problem, ...] = ()
    caveats: tuple[str, ...] = ()

    def again(self, settings: tuple[str, ...], suffix: str = "2") -> str:
        """The command that trains the recipe with other settings."""
        name = f"{self.run.rstrip('/').rpartition('/')[2]}-{suffix}"
        return shlex.join(["likewise", "train", f"{self.run}/recipe.toml", *settings, "--name", name])

    def command(self, verb: str, *more: str) -> str:
        return shlex.join(["likewise", verb, self.run, *more])


class Reason(NamedTuple):
    """One thing that was weighed: what it means for the scores, and the commands that follow from it."""

    grade: str
    name: str
    text: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The grade, its strongest reason with the number, the next two commands, and what else was found."""

    grade: str
    name: str
    reason: str
    commands: tuple[str, str]
    further: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, object]:
        """The content of metrics.json and `--json`."""
        return {
            "grade": self.grade,
            "name": self.name,
            "reason": self.reason,
            "commands": list(self.commands),
            "further": list(self.further),
        }


def verdict_on(facts: Facts) -> Verdict:
    """Weigh the facts: the gravest reason decides, and of equally grave ones the first in the order of CHECKS."""
    reasons = [reason for check in CHECKS for reason in check(facts)]
    reasons.sort(key=lambda reason: -GRADES.index(reason.grade))
    first = reasons[0] if reasons else well(facts)
    usual = [facts.command("explore"), facts.command("export", "--to", "onnx")]
    usual = usual if facts.audited or first.grade == "bad" else [facts.command("audit"), *usual]
    one, two = list(dict.fromkeys([*first.commands, *usual]))[:2]
    further = dict.fromkeys(text for text in [*(r.text for r in reasons), *facts.caveats] if text != first.text)
    return Verdict(first.grade, first.name, first.text, (one, two), tuple(further))


def well(facts: Facts) -> Reason:
    """Nothing speaks against the scores."""
    if facts.score is None and facts.pairs is None:
        return Reason("doubtful", "no-scores", "the run has no scores of held-out images", (facts.command("evaluate"),))
    score = facts.score or facts.pairs
    gain = f"; {facts.gain.text}" if facts.gain and facts.gain.better else ""
    return Reason("good", "trained", f"{score} on held-out images{gain}")


def problems(facts: Facts) -> Iterator[Reason]:
    """What the doctor found: a training that failed, or settings that keep it from its best."""
    for problem in facts.problems:
        again = (facts.again(problem.settings),) if problem.settings else ()
        grade = "bad" if problem.name in FATAL else "doubtful"
        yield Reason(grade, problem.name, problem.text, (*again, facts.command("doctor")))


def guessing(facts: Facts) -> Iterator[Reason]:
    """Scores at chance level."""
    commands: tuple[str, ...] = (facts.command("doctor"), facts.command("audit"))
    if facts.gain and facts.gain.settings:
        commands = (facts.again(facts.gain.settings), *commands)
    pairs, auc, score = facts.pairs, facts.auc, facts.score
    if pairs is not None and (pairs.low <= 0.5 or pairs.value < GUESSING):
        yield Reason("bad", "guessing", f"{pairs} of same and different pairs is guessing (0.5)", commands)
    elif pairs is None and auc is not None and (auc.low <= 0.5 or auc.value < GUESSING_AUC):
        yield Reason("bad", "guessing", f"{auc} is guessing (0.5)", commands)
    if score is not None and facts.chance is not None and score.low <= facts.chance < 1:
        text = f"{score} is no better than always naming the most frequent class ({facts.chance:.4f})"
        yield Reason("bad", "guessing", text, commands)
    if pairs is not None and pairs.low > 0.5 and GUESSING <= pairs.value < WEAK:
        yield Reason("doubtful", "weak-pairs", f"{pairs}: {1 - pairs.value:.0%} of the pairs are wrong", commands)


def leakage(facts: Facts) -> Iterator[Reason]:
    """Near-copies of held-out images in training, by their share."""
    leak = facts.leak
    if leak is None or leak.leaked < 2 or leak.share < LEAK_DOUBTFUL:
        return
    what = "images checked" if leak.sample else "held-out images"
    text = f"{leak.leaked:,} of {leak.of:,} {what} ({leak.share:.1%}) have a near-copy in training"
    bad = leak.share >= LEAK_BAD
    text += ", so the scores are mostly of known images" if bad else ", so the scores are somewhat too good"
    again = (facts.again((f"split={leak.split}",), leak.split.replace("_", "-")),) if leak.split else ()
    look = facts.command("explore" if facts.audited else "audit")
    yield Reason("bad" if bad else "doubtful", "leakage", text, (*again, look))


def without_training(facts: Facts) -> Iterator[Reason]:
    """A baseline without training that is as good, or better."""
    gain = facts.gain
    if gain is None or gain.better or (gain.elsewhere and gain.difference >= 0):
        return
    again = (facts.again(gain.settings),) if gain.settings else ()
    name = "training-harmed" if gain.worse else "training-unproven"
    yield Reason("bad" if gain.worse else "doubtful", name, gain.text, (*again, facts.command("doctor")))


def too_few(facts: Facts) -> Iterator[Reason]:
    score = facts.score
    if score is not None and score.high - score.low > WIDE:
        text = f"{score}: {score.n:,} held-out images leave an interval {score.high - score.low:.2f} wide"
        seeds = shlex.join(["likewise", "compare", f"{facts.run}/recipe.toml", "--seeds", "3"])
        yield Reason("doubtful", "few-images", text, (seeds,))


def labels(facts: Facts) -> Iterator[Reason]:
    if facts.suspects and facts.suspects[0] > 1 and facts.suspects[0] >= MISLABELLED * facts.suspects[1]:
        wrong, of = facts.suspects
        text = f"{wrong:,} of {of:,} labels ({wrong / of:.1%}) are contradicted by the images most like them"
        yield Reason("doubtful", "labels", text, (facts.command("explore"),))


def calibration(facts: Facts) -> Iterator[Reason]:
    if facts.ece is not None and facts.ece.value > MISCALIBRATED and not at_chance(facts):
        text = f"probabilities are off by {100 * facts.ece.value:.0f} points on average ({facts.ece})"
        yield Reason("doubtful", "calibration", text, (facts.again(("val=0.2",), "val"),))


def at_chance(facts: Facts) -> bool:
    return facts.pairs is not None and facts.pairs.value < GUESSING


# In order of strength among reasons of one grade.
CHECKS: tuple[Callable[[Facts], Iterator[Reason]], ...] = (
    problems,
    guessing,
    leakage,
    without_training,
    labels,
    too_few,
    calibration,
)

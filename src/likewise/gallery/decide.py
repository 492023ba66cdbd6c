"""From similarities to an answer: the one place where a class is named, "unknown" is said, or two images are the same.

Numpy only: an exported model identifies without torch in the process. Similarities are larger when closer.

**Probability and decision agree.** A calibration p(s) is fitted with as many right as wrong matches. A threshold t is
the best cut for exactly one share of right matches, logit(prior) = -logit p(t) (Bayes' rule). The probability that an
answer carries is the one at that prior, logit p'(s) = logit p(s) - logit p(t): it is 0.5 at the threshold, at least 0.5
where the answer is accepted and at most 0.5 where it is not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from likewise import spec
from likewise.safety.bounds import Record

__all__ = [
    "RULES", "Answer", "Calibration", "Neighbour", "Rule", "Same", "best", "class_scores", "decide", "find_rule",
    "nearest", "of_pairs", "prior_of", "probability", "same", "vote",
]  # fmt: skip

Calibration = Record  # as `metrics.calibration.kept` writes it: kind, its numbers, and n
FEWEST = 100  # pairs assumed behind a calibration that does not say: keeps probabilities from 0 and 1


class Rule(Protocol):
    """Scores of classes from the candidates of one query, by label."""

    def __call__(self, sim_K: np.ndarray, labels_K: Sequence[str]) -> dict[str, float]: ...


class Neighbour(NamedTuple):
    """A reference that took part in the answer."""

    place: int  # index into the similarities given
    label: str
    similarity: float
    id: str = ""  # of the enrolled image, where a gallery answers


@dataclass(frozen=True)
class Answer:
    """What a query is, or None for unknown."""

    label: str | None
    similarity: float  # of the best class by the rule: this is what the threshold is compared with
    probability: float | None  # that the best class is right, at the threshold's prior
    neighbours: tuple[Neighbour, ...]  # nearest first
    why: str
    best: str | None = None  # the best class, named or not
    runner_up: str | None = None
    margin: float | None = None  # similarity of the best class less that of the runner-up
    threshold: float | None = None


class Same(NamedTuple):
    """Whether two images show the same class."""

    same: bool
    probability: float | None  # of being the same, at the threshold's prior
    prior: float | None  # share of same pairs for which the threshold is the best cut


def nearest(sim_K: np.ndarray, labels_K: Sequence[str]) -> dict[str, float]:
    """Each class scores the similarity of its nearest reference."""
    scores: dict[str, float] = {}
    for place in order(sim_K):
        scores.setdefault(labels_K[place], float(sim_K[place]))
    return scores


def vote(sim_K: np.ndarray, labels_K: Sequence[str], *, k: int = 5) -> dict[str, float]:
    """Votes of the k nearest; a class with more votes comes first, of equal ones the nearer. Scores as `nearest`."""
    _positive("vote", "k", k)
    nearest_k = order(sim_K)[:k]
    votes: dict[str, int] = {}
    for place in nearest_k:
        votes[labels_K[place]] = votes.get(labels_K[place], 0) + 1
    scores = nearest(sim_K[nearest_k], [labels_K[place] for place in nearest_k])
    return dict(sorted(scores.items(), key=lambda item: -votes[item[0]]))


def best(sim_K: np.ndarray, labels_K: Sequence[str], *, n: int = 3) -> dict[str, float]:
    """Each class scores the mean similarity of its n nearest references (of all, where it has fewer)."""
    _positive("best", "n", n)
    of_class: dict[str, list[float]] = {}
    for place in order(sim_K):
        sims = of_class.setdefault(labels_K[place], [])
        if len(sims) < n:
            sims.append(float(sim_K[place]))
    scores = {label: float(np.mean(sims)) for label, sims in of_class.items()}
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def _positive(rule: str, name: str, number: int) -> None:
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{rule} takes {name} as a whole number from 1, got {number!r}")


RULES: dict[str, Rule] = {"nearest": nearest, "vote": vote, "best": best}


def find_rule(text: str) -> Rule:
    """`nearest`, `vote(k=5)` or `best(n=3)`; `centre` is `nearest` among class centres. Errors: ValueError."""
    name, settings = spec.parse(text)
    known = RULES | {"centre": nearest}
    if name not in known:
        raise ValueError(f"no rule named {name!r}{spec.near(name, known)}")
    allowed = spec.keywords(known[name])
    for key in settings:
        if key not in allowed:
            raise ValueError(f"rule {name} takes no {key!r}{spec.near(key, allowed) if allowed else ''}")
    rule: Callable[..., dict[str, float]] = partial(known[name], **settings) if settings else known[name]
    rule(np.zeros(1), ["-"])  # a number that is none is an error of the call, not of the first query
    return rule


def order(sim_K: np.ndarray) -> np.ndarray:
    """Places by falling similarity; of equal ones the first given."""
    return np.argsort(-np.asarray(sim_K), kind="stable")


def class_scores(sim_K: np.ndarray, labels_K: Sequence[str], rule: str | Rule = "nearest") -> dict[str, float]:
    """Classes with their scores, the best class first."""
    return (find_rule(rule) if isinstance(rule, str) else rule)(np.asarray(sim_K), labels_K)


def decide(
    sims: Sequence[float] | np.ndarray,
    labels: Sequence[str],
    rule: str | Rule = "nearest",
    threshold: float | None = None,
    calibration: Calibration | None = None,
    *,
    neighbours: int = 5,
) -> Answer:
    """Name a query from its similarities to references `[K]` and their labels `[K]`, or answer unknown (label None).

    threshold: the least score that names a class; None names the best class whatever its score.
    calibration: from the score of the best class to the probability that it is right.
    neighbours: how many of the references the answer lists. Errors: ValueError for an unknown rule or a NaN.
    """
    sim_K = np.asarray(sims, dtype=np.float64)
    if len(sim_K) != len(labels):
        raise ValueError(f"each similarity has one label; got {len(sim_K)} and {len(labels)}")
    if np.isnan(sim_K).any():
        raise ValueError(f"{int(np.isnan(sim_K).sum())} of {len(sim_K)} similarities are NaN")
    if not len(sim_K):
        return Answer(None, float("-inf"), None, (), "the gallery holds nothing to compare with", threshold=threshold)
    scores = list(class_scores(sim_K, labels, rule).items())
    label, score = scores[0]
    near = tuple(Neighbour(int(i), labels[i], float(sim_K[i])) for i in order(sim_K)[:neighbours])
    runner_up, second = scores[1] if len(scores) > 1 else (None, None)
    accepted = threshold is None or score >= threshold
    return Answer(
        label=label if accepted else None,
        similarity=score,
        probability=probability(score, calibration, threshold),
        neighbours=near,
        why=reason(label, score, threshold, runner_up),
        best=label,
        runner_up=runner_up,
        margin=None if second is None else score - second,
        threshold=threshold,
    )


def reason(label: str, score: float, threshold: float | None, runner_up: str | None) -> str:
    """One sentence on why the answer is what it is."""
    second = f"; the runner-up is {runner_up}" if runner_up is not None else ""
    if threshold is None:
        return f"{label} is the best class, and no threshold is set{second}"
    if score >= threshold:
        return f"{label} reaches the threshold: {score:.4f} >= {threshold:.4f}{second}"
    return f"the best class, {label}, stays below the threshold: {score:.4f} < {threshold:.4f}{second}"


def same(similarity: float, threshold: float, calibration: Calibration | None = None) -> Same:
    """Whether a pair of this similarity is the same at a threshold, and how probably."""
    return Same(
        similarity >= threshold,
        probability(similarity, calibration, threshold),
        prior_of(threshold, calibration),
    )


def of_pairs(info: Record) -> str:
    """A note where a model's threshold for two images was chosen on classes that it was trained on; else empty.

    info: the extras of the model, as `experiment.score` keeps them.
    """
    if info.get("closed") is not True:
        return ""
    return (
        "the threshold was chosen on classes that the model was trained on; two images of other classes are taken for "
        "the same more often"
    )


def probability(similarity: float, calibration: Calibration | None, threshold: float | None = None) -> float | None:
    """The calibrated probability of a similarity: at the threshold's prior, or at even odds where there is none."""
    if not calibration:
        return None
    shift = 0.0 if threshold is None else _logit(threshold, calibration)
    return float(_sigmoid(_logit(similarity, calibration) - shift))


def prior_of(threshold: float, calibration: Calibration | None) -> float | None:
    """The share of right matches for which a threshold is the best cut."""
    return None if not calibration else float(_sigmoid(-_logit(threshold, calibration)))


def _logit(similarity: float, calibration: Calibration) -> float:
    """Log odds at even prior, as far from 0 and 1 as the number of pairs behind the calibration can tell."""
    edge = 1 / (max(int(calibration.get("n") or FEWEST), FEWEST) + 2)
    if calibration["kind"] == "platt":
        limit = float(np.log((1 - edge) / edge))
        return float(np.clip(max(calibration["slope"], 0) * similarity + calibration["offset"], -limit, limit))
    p = float(np.clip(np.interp(similarity, calibration["scores"], calibration["probabilities"]), edge, 1 - edge))
    return float(np.log(p / (1 - p)))


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x))) if x >= 0 else float(np.exp(x) / (1 + np.exp(x)))

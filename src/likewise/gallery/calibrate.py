"""A threshold for a promised false-accept rate, found by leaving classes out; numpy only.

Each item is searched twice. With its whole class left out it is an unknown query: the score of the best other class is
an impostor score. With only itself left out it is a known query: the score of the best class is right or wrong.

The threshold is the conformal one (Vovk et al., 2005; Bates et al., 2023, https://arxiv.org/abs/2104.08279): with n
impostor scores of which k reach it, (k + 1) / (n + 1) <= far, so that a further unknown query is accepted with at most
that probability where it is exchangeable with those. The interval is of the rate that as many further classes will
show: `further`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from likewise.gallery.decide import Rule, class_scores, find_rule
from likewise.gallery.further import design_effect, further_interval, support
from likewise.gallery.index import prepare, similarities, top
from likewise.safety.bounds import Fields

__all__ = ["CANDIDATES", "Promise", "Trials", "calibrate", "centres", "join", "leave_out", "platt", "promise"]

CANDIDATES = 64  # nearest references that a rule looks at
QUERIES = 4000  # items tried; more are sampled
OUTLIER = 3.0  # robust deviations below the median similarity to the centre


@dataclass(frozen=True)
class Promise:
    """A threshold with what it promises."""

    far: float
    threshold: float
    low: float  # 95 % interval of the false-accept rate that further classes will show
    high: float
    accepted: int  # impostor trials that reach it
    trials: int
    classes: int  # classes left out in turn
    detected: float | None  # share of the known trials named rightly at the threshold
    rule: str
    source: str
    calibration: Fields | None  # score -> probability that the best class is right
    effective: float = 0.0  # independent trials that the trials are worth
    note: str = ""  # where the trials do not support the rate, or promise nothing: one sentence
    enrolled: int = 0  # classes of the gallery then; 0: unknown, or no gallery
    promised: bool = True  # False: the trials are of classes that the model was trained on

    def as_json(self) -> Fields:
        return asdict(self)


class Trials(NamedTuple):
    """Scores of the best class for unknown queries [U] and known queries [K]."""

    impostor: np.ndarray
    impostor_class: np.ndarray  # str [U]: true class of each, which was left out
    genuine: np.ndarray
    right: np.ndarray  # bool [K]: is the best class the true one
    genuine_class: np.ndarray  # str [K]: true class of each


def join(parts: Sequence[Trials]) -> Trials:
    """The trials of one or several searches."""
    return Trials(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def leave_out(
    query_QD: np.ndarray,
    query_labels: Sequence[str],
    reference_MD: np.ndarray | None,
    reference_labels: Sequence[str],
    *,
    sim: str,
    rule: str = "nearest",
    seed: int = 0,
) -> Trials:
    """Search every query (at most 4,000, sampled) with its class left out, and as it is.

    reference_MD: None where the queries are the gallery itself; then a query does not find itself.
    """
    same = reference_MD is None
    reference_MD = query_QD if reference_MD is None else reference_MD
    labels_M = np.asarray(reference_labels, dtype=object)
    chosen = np.arange(len(query_QD))
    if len(chosen) > QUERIES:
        chosen = np.sort(np.random.default_rng(seed).choice(len(chosen), QUERIES, replace=False))
    search = _Centres if rule.startswith("centre") else _Items
    searcher = search(prepare(reference_MD, sim), labels_M, sim, find_rule(rule))
    impostor, of_class, genuine, right, of_known = [], [], [], [], []
    for q in chosen.tolist():
        label = query_labels[q]
        known, unknown = searcher.both(query_QD[q : q + 1], label, q if same else None)
        if unknown is not None:
            impostor.append(unknown)
            of_class.append(label)
        if known is not None:
            genuine.append(known[1])
            right.append(known[0] == label)
            of_known.append(label)
    return Trials(
        np.asarray(impostor, np.float64),
        np.asarray(of_class, np.str_),
        np.asarray(genuine, np.float64),
        np.asarray(right, bool),
        np.asarray(of_known, np.str_),
    )


Known = tuple[str, float] | None


class _Items:
    """Rules over single references."""

    def __init__(self, prepared_MD: np.ndarray, labels_M: np.ndarray, sim: str, rule: Rule):
        self.prepared, self.labels, self.sim, self.rule = prepared_MD, labels_M, sim, rule
        self.square = (prepared_MD**2).sum(1)

    def both(self, query_1D: np.ndarray, label: str, itself: int | None) -> tuple[Known, float | None]:
        """The best class with its score, where the query's class is there; and its score without that class."""
        sim_M = similarities(query_1D, self.prepared, self.sim, self.square)[0].copy()
        if itself is not None:
            sim_M[itself] = -np.inf
        own_M = self.labels == label
        present = bool(own_M.sum() - (itself is not None) > 0)
        known = self._best(sim_M) if present else None
        sim_M[own_M] = -np.inf
        unknown = self._best(sim_M)
        return known, unknown[1] if unknown else None

    def _best(self, sim_M: np.ndarray) -> Known:
        near = top(sim_M[None], min(CANDIDATES, len(sim_M)))
        row_K = near.row[0][near.row[0] >= 0]
        if not len(row_K):
            return None
        return next(iter(class_scores(sim_M[row_K], self.labels[row_K].tolist(), self.rule).items()))


class _Centres:
    """Class centres; a query's own centre is that of the others."""

    def __init__(self, prepared_MD: np.ndarray, labels_M: np.ndarray, sim: str, rule: Rule):
        self.prepared, self.labels, self.sim = prepared_MD, labels_M, sim
        self.centre_CD, self.names = centres(prepared_MD, labels_M.tolist(), sim)

    def both(self, query_1D: np.ndarray, label: str, itself: int | None) -> tuple[Known, float | None]:
        sim_C = similarities(query_1D, prepare(self.centre_CD, self.sim), self.sim)[0]
        scores = dict(zip(self.names, sim_C.tolist(), strict=True))
        rest = np.flatnonzero(self.labels == label)
        rest = rest[rest != itself] if itself is not None else rest
        others = {name: score for name, score in scores.items() if name != label}
        unknown = max(others.values()) if others else None
        if not len(rest):
            return None, unknown
        own_1D = centres(self.prepared[rest], [label] * len(rest), self.sim)[0]
        scores[label] = float(similarities(query_1D, prepare(own_1D, self.sim), self.sim)[0, 0])
        best = max(scores, key=lambda name: scores[name])
        return (best, scores[best]), unknown


def centres(vectors_ND: np.ndarray, labels: Sequence[str], sim: str) -> tuple[np.ndarray, list[str]]:
    """The mean vector of each class `[C, D]` without its outliers, and the classes.

    An outlier's similarity to the first centre lies more than 3 robust standard deviations (1.4826 MAD) below the
    median; classes of fewer than 4 keep all.
    """
    rows_of: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        rows_of.setdefault(label, []).append(row)
    centres_of = [_centre(vectors_ND[rows], sim) for rows in rows_of.values()]
    return np.stack(centres_of) if centres_of else np.zeros((0, vectors_ND.shape[1]), np.float32), list(rows_of)


def _centre(vectors_ND: np.ndarray, sim: str) -> np.ndarray:
    centre_D = vectors_ND.mean(0)
    if len(vectors_ND) < 4:
        return centre_D
    sim_N = similarities(centre_D[None], prepare(vectors_ND, sim), sim)[0]
    median = np.median(sim_N)
    spread = 1.4826 * np.median(np.abs(sim_N - median))
    return vectors_ND[sim_N >= median - OUTLIER * max(spread, 1e-9)].mean(0)


def calibrate(
    trials: Trials,
    far: float,
    *,
    rule: str = "nearest",
    source: str = "",
    least: float = -np.inf,
    promised: bool = True,
) -> Promise:
    """The threshold that promises a false-accept rate, with its interval and the probabilities that go with it.

    least: the threshold is this one or higher. promised: False where the trials tell nothing of unknown classes; the
    interval is then 0 to 1.
    Errors: ValueError for a rate that is none, or one that so few trials cannot promise.
    """
    threshold = max(promise(trials.impostor, far), least)
    accepted_U = trials.impostor >= threshold
    names = {name: i for i, name in enumerate(dict.fromkeys(trials.impostor_class.tolist()))}
    class_U = np.asarray([names[name] for name in trials.impostor_class.tolist()], np.int64)
    low, high = further_interval(trials.impostor, class_U, threshold) if promised else (0.0, 1.0)
    effective = len(accepted_U) / design_effect(accepted_U, class_U)
    classes = len(names)
    named = trials.genuine >= threshold
    fit = None
    if trials.right.any():
        scores = np.concatenate([trials.genuine, trials.impostor])
        right = np.concatenate([trials.right, np.zeros(len(trials.impostor), bool)])
        fit = {**platt(scores, right), "n": len(scores)}
    return Promise(
        far=far,
        threshold=threshold,
        low=low,
        high=high,
        accepted=int(accepted_U.sum()),
        trials=len(trials.impostor),
        classes=classes,
        detected=float((named & trials.right).mean()) if len(trials.genuine) else None,
        rule=rule,
        source=source,
        calibration=fit,
        effective=effective,
        note=support(far, high, len(accepted_U), effective, classes) if promised else "",
        promised=promised,
    )


def promise(impostor_U: np.ndarray, far: float) -> float:
    """The conformal threshold. Errors: ValueError for a rate outside 0 and 1, or too few trials for it."""
    if not 0 < far < 1:
        raise ValueError(
            f"far is the share of unknown queries that may be named, inside 0 and 1, such as 0.01; got {far}"
        )
    n = len(impostor_U)
    allowed = int(np.floor(far * (n + 1) * (1 + 1e-12))) - 1
    if allowed < 0:
        raise ValueError(
            f"{n:,} trials with a class left out cannot promise a false-accept rate of {far:g}: it takes "
            f"{int(np.ceil(1 / far)) - 1:,} or more; enroll further images of two or more classes, or take --far "
            f"{np.ceil(1e3 / (n + 1)) / 1e3:g} or more"
        )
    ranked_U = np.sort(impostor_U)[::-1]
    above = np.inf if allowed == 0 else float(ranked_U[allowed - 1])
    below = float(ranked_U[allowed])
    middle = (above + below) / 2
    return middle if np.isfinite(middle) and middle > below else float(np.nextafter(below, np.inf))


def platt(score_T: np.ndarray, right_T: np.ndarray) -> dict[str, object]:
    """p(right) = sigmoid(slope * score + offset), right and wrong trials weighing the same. Platt, 1999."""
    n_right, n_wrong = max(int(right_T.sum()), 1), max(int((~right_T).sum()), 1)
    target_T = np.where(right_T, (n_right + 1) / (n_right + 2), 1 / (n_wrong + 2))
    weight_T = np.where(right_T, 0.5 / n_right, 0.5 / n_wrong)
    mean, scale = float(score_T.mean()), max(float(score_T.std()), 1e-12)
    design_T2 = np.stack([(score_T - mean) / scale, np.ones(len(score_T))], axis=1)
    weights_2 = np.zeros(2)
    for _ in range(100):
        p_T = 1 / (1 + np.exp(-np.clip(design_T2 @ weights_2, -40, 40)))
        gradient_2 = design_T2.T @ (weight_T * (target_T - p_T))
        curve_22 = (design_T2.T * (weight_T * p_T * (1 - p_T))) @ design_T2 + 1e-6 * np.eye(2)
        step_2 = np.linalg.solve(curve_22, gradient_2)
        weights_2 = weights_2 + step_2 / max(1.0, float(np.abs(step_2).max()) / 2)
        if np.abs(step_2).max() < 1e-10:
            break
    slope = max(float(weights_2[0]) / scale, 0.0)
    return {"kind": "platt", "slope": slope, "offset": float(weights_2[1]) - slope * mean}

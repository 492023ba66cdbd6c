"""Identify and verify: the candidates of a query, and the threshold that decides on them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from likewise.gallery import filters, negatives
from likewise.gallery.calibrate import CANDIDATES, Promise, calibrate, centres, leave_out
from likewise.gallery.decide import Answer, decide, same
from likewise.gallery.index import Found, prepare, similarities
from likewise.gallery.opened import Opened, Query
from likewise.gallery.state import State

__all__ = ["identify", "promise", "verify"]


def identify(gallery: Opened, query: Query, *, far: float | None, where: Sequence[str]) -> Answer:
    """See `Gallery.identify`."""
    conditions, state, about = filters.parse(where), gallery.state(), gallery.about_now()
    vector_1D = gallery.embed(query)[:1]
    if not len(state.index):
        return decide([], [])
    promised = about.get("promise") if far is None else promise(gallery, far).as_json()
    rule = about["rule"] if promised is None else promised["rule"]
    hidden = negatives.hidden(gallery, state, query, vector_1D[0])
    if rule == "centre":
        sims, labels = of_centres(gallery, state, vector_1D, state.allowed(conditions, hidden))
    else:
        sims, labels = labelled(state, state.search(vector_1D, CANDIDATES, conditions, hidden))
    threshold, fit = (promised["threshold"], promised["calibration"]) if promised else (None, None)
    answer = decide(sims, labels, rule, threshold, fit)
    return replace(answer, why=answer.why + (outdated(about, state) if far is None else ""))


def verify(gallery: Opened, query: Query, label: str, *, far: float | None) -> dict[str, Any]:
    """See `Gallery.verify`."""
    state, about = gallery.state(), gallery.about_now()
    rows = np.asarray([i for i, name in enumerate(state.labels) if name == label], np.int64)
    if not len(rows):
        raise ValueError(f"there is no class {label!r} in {gallery.store.url}")
    promised = about.get("promise") if far is None else promise(gallery, far).as_json()
    if promised is None:
        raise ValueError(f"{gallery.store.url} has no threshold; give --far 0.01, or run `likewise gallery calibrate`")
    vector_1D = gallery.embed(query)[:1]
    if promised["rule"] == "centre":
        sims, labels = of_centres(gallery, state, vector_1D, rows)
    else:
        sims, labels = labelled(state, state.index.search(vector_1D, CANDIDATES, rows))
    score = decide(sims, labels, promised["rule"]).similarity
    return {
        **same(score, promised["threshold"], promised["calibration"])._asdict(),
        "label": label,
        "similarity": score,
        "threshold": promised["threshold"],
        "far": promised["far"],
        "far_interval": [promised["low"], promised["high"]],
    }


def promise(gallery: Opened, far: float, rule: str = "") -> Promise:
    """See `Gallery.promise`. Errors: ValueError for fewer than two classes, or too few images for the rate."""
    rule, state = rule or gallery.about["rule"], gallery.state()
    count = len(state.index)
    labels = state.labels[:count]
    if len(set(labels)) < 2:
        raise ValueError("a threshold is found by leaving classes out, so that two are needed; enroll another class")
    trials = leave_out(state.index.prepared[:count], labels, None, labels, sim=gallery.sim, rule=rule)
    return calibrate(trials, far, rule=rule, source="the gallery, each class left out")


def of_centres(
    gallery: Opened, state: State, vector_1D: np.ndarray, rows: np.ndarray | None
) -> tuple[np.ndarray, list[str]]:
    """Similarities to the centres of the classes of rows, and their labels."""
    sim = gallery.sim
    chosen = np.arange(len(state.index)) if rows is None else rows
    labels = [state.labels[i] for i in chosen.tolist()]
    centre_CD, names = centres(state.index.prepared[chosen], labels, sim)
    return similarities(vector_1D, prepare(centre_CD, sim), sim)[0], names


def labelled(state: State, found: Found) -> tuple[np.ndarray, list[str]]:
    """Similarities and labels of what one query found: what a rule decides by."""
    present = found.row[0] >= 0
    return found.sim[0][present], [state.labels[i] for i in found.row[0][present].tolist()]


def outdated(about: Mapping[str, Any], state: State) -> str:
    """A note where the gallery has other numbers of classes than when it was calibrated."""
    promised, classes = about.get("promise"), len(state.classes)
    if promised and not 0.8 <= classes / max(promised["classes"], 1) <= 1.25:
        return f"; calibrated with {promised['classes']} classes, now {classes}: run `likewise gallery calibrate`"
    return ""

"""Identify and verify: the candidates of a query, and the threshold that decides on them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from likewise.gallery import filters, negatives
from likewise.gallery.calibrate import CANDIDATES, Promise, centres
from likewise.gallery.decide import Answer, Calibration, decide, of_pairs, same
from likewise.gallery.encoder import Encoder
from likewise.gallery.grounds import kept_folds, of_gallery
from likewise.gallery.index import Found, prepare, similarities
from likewise.gallery.opened import Opened, Query
from likewise.gallery.state import State
from likewise.gallery.together import as_queries, check_way, merged
from likewise.gallery.unseen import Vectors
from likewise.safety.bounds import Fields, Record

__all__ = ["compare", "identify", "pair_threshold", "promise", "threshold", "verify"]


class Candidates(NamedTuple):
    """Similarities `[K]` of a query to what its class is decided by; ids are empty for class centres."""

    sims: np.ndarray
    labels: list[str]
    ids: list[str]


def identify(
    gallery: Opened, queries: Sequence[Query], *, far: float | None, where: Sequence[str], together: str = ""
) -> list[Answer]:
    """See `Gallery.identify_all`. together: the queries are images of one object, with one answer."""
    if together:
        check_way(together)
    conditions, (state, vectors_QD, about) = filters.parse(where), gallery.asked(queries)
    if not len(state.index):
        return [decide([], []) for _ in (queries[:1] if together else queries)]
    promised = about.get("promise") if far is None else promise(gallery, far, state=state).as_json()
    rule = about["rule"] if promised is None else promised["rule"]
    least, fit = (promised["threshold"], promised["calibration"]) if promised else (None, None)
    note = noted(promised, always=far is not None) + (outdated(about, state) if far is None else "")
    if together and len(queries) > 1 and promised:
        note += (
            "; the rate is promised for single images, and several of an unknown object reach the threshold more often"
        )
    answers = []
    for places in [range(len(queries))] if together else [[i] for i in range(len(queries))]:
        hidden = set().union(*(negatives.hidden(gallery, state, queries[i], vectors_QD[i]) for i in places))
        one_QD = vectors_QD[list(places)]
        one_QD = as_queries(one_QD, gallery.sim, together) if together and len(one_QD) > 1 else one_QD
        if rule == "centre":
            of_query = of_centres(state, one_QD, state.allowed(conditions, hidden))
        else:
            of_query = labelled(state, state.search(one_QD, CANDIDATES, conditions, hidden))
        answer = decide(of_query.sims, of_query.labels, rule, least, fit)
        near = tuple(n._replace(id=of_query.ids[n.place]) for n in answer.neighbours)
        answers.append(replace(answer, why=answer.why + note, neighbours=near))
    return answers


def verify(gallery: Opened, query: Query, label: str, *, far: float | None) -> dict[str, object]:
    """See `Gallery.verify`."""
    state, vectors_ND, about = gallery.asked(query)
    rows = np.asarray([i for i, name in enumerate(state.labels) if name == label], np.int64)
    if not len(rows):
        raise ValueError(f"there is no class {label!r} in {gallery.store.url}")
    promised = about.get("promise") if far is None else promise(gallery, far, state=state).as_json()
    if promised is None:
        raise ValueError(f"{gallery.store.url} has no threshold; give --far 0.01, or run `likewise gallery calibrate`")
    if promised["rule"] == "centre":
        near = of_centres(state, vectors_ND[:1], rows)
    else:
        near = labelled(state, state.index.search(vectors_ND[:1], CANDIDATES, rows))
    score = decide(near.sims, near.labels, promised["rule"]).similarity
    return {
        **same(score, promised["threshold"], promised["calibration"])._asdict(),
        "label": label,
        "similarity": score,
        "threshold": promised["threshold"],
        "far": promised["far"],
        "far_interval": [promised["low"], promised["high"]],
        "note": noted(promised).removeprefix("; "),
    }


def compare(gallery: Opened, a: Query, b: Query) -> dict[str, object]:
    """See `Gallery.compare`."""
    chosen = pair_threshold(gallery)
    if chosen is None:
        raise ValueError(
            f"the model of {gallery.store.url} has no threshold for two images: its validation part had no pairs; "
            "train with val=0.1 and 2 images a class, or compare an image with a class"
        )
    first_1D, second_1D = gallery.embed(a)[:1], gallery.embed(b)[:1]
    score = float(similarities(first_1D, prepare(second_1D, gallery.sim), gallery.sim)[0, 0])
    return {
        **same(score, chosen["value"], _calibration(gallery.model().info.get("calibration")))._asdict(),
        "similarity": score,
        "threshold": chosen["value"],
        "threshold_interval": [chosen.get("low"), chosen.get("high")],
        "target": chosen.get("target"),
        "pairs": chosen.get("n"),
        "note": of_pairs(gallery.model().info),
    }


def pair_threshold(gallery: Opened) -> Fields | None:
    """The threshold for two images that the model's validation pairs chose; None where it has none."""
    chosen = gallery.model().info.get("threshold")
    return chosen if isinstance(chosen, dict) and _numbers([chosen.get("value")]) else None


def _calibration(stored: object) -> Calibration | None:
    """What a model file holds as its calibration; None where it is none."""
    if not isinstance(stored, dict):
        return None
    if stored.get("kind") == "platt":
        return stored if _numbers([stored.get("slope"), stored.get("offset")]) else None
    scores, chances = stored.get("scores"), stored.get("probabilities")
    return stored if _numbers(scores) and _numbers(chances) and len(scores) == len(chances) else None  # type: ignore[arg-type]


def _numbers(values: object) -> bool:
    return isinstance(values, list) and bool(values) and all(type(x) in (int, float) and abs(x) < 1e6 for x in values)


def promise(gallery: Opened, far: float, rule: str = "", state: State | None = None) -> Promise:
    """See `Gallery.promise`. Errors: ValueError for fewer than two classes, or too few images for the rate."""
    rule, state = rule or gallery.about["rule"], state or gallery.state()
    count = len(state.index)
    labels = state.labels[:count]
    if len(set(labels)) < 2:
        raise ValueError("a threshold is found by leaving classes out, so that two are needed; enroll another class")
    try:
        encoder: Encoder | None = gallery.model()
    except (ValueError, ModuleNotFoundError):  # the model is elsewhere: nothing is known of its training
        encoder = None
    with gallery.lock:  # the same trials serve every rate, until the gallery changes
        key = (state.version, rule, kept_folds(encoder))
        grounds = gallery.trials.get(key)
        if grounds is None:
            enrolled = Vectors(state.index.prepared[:count], labels)
            grounds = of_gallery(encoder, enrolled, sim=gallery.sim, rule=rule)
            gallery.trials = {key: grounds}
    return replace(grounds.promise(far, rule), enrolled=len(set(labels)))


def threshold(gallery: Opened, far: float | None) -> float:
    """The stored threshold, or that of a rate. Errors: ValueError where there is none."""
    stored = gallery.about_now().get("promise") if far is None else promise(gallery, far).as_json()
    if stored is None:
        raise ValueError(f"{gallery.store.url} has no threshold; give --far 0.01, or run `likewise gallery calibrate`")
    return float(stored["threshold"])


def of_centres(state: State, query_QD: np.ndarray, rows: np.ndarray | None) -> Candidates:
    """The centres of the classes of rows, each by the best of one object's queries."""
    chosen = np.arange(len(state.index)) if rows is None else rows
    labels = [state.labels[i] for i in chosen.tolist()]
    centre_CD, names = centres(state.index.prepared[chosen], labels, state.sim)
    sims_C = similarities(query_QD, prepare(centre_CD, state.sim), state.sim).max(0)
    return Candidates(sims_C, names, [""] * len(names))


def labelled(state: State, of_each: Found) -> Candidates:
    """The 64 nearest of one object's queries."""
    near = merged(of_each, CANDIDATES)
    present = near.row[0] >= 0
    chosen_rows = near.row[0][present].tolist()
    ids = [state.rows[i].id for i in chosen_rows]
    return Candidates(near.sim[0][present], [state.labels[i] for i in chosen_rows], ids)


def noted(promised: Record | None, *, always: bool = False) -> str:
    """Why a threshold promises nothing. always: also why its trials do not support its rate."""
    if not promised or not promised.get("note") or not (always or not promised.get("promised", True)):
        return ""
    return f"; {promised['note'].partition('. Until then')[0]}"


def outdated(about: Record, state: State) -> str:
    """A note where the gallery has other numbers of classes than when it was calibrated."""
    promised, classes = about.get("promise"), len(state.classes)
    before = (promised.get("enrolled") or promised["classes"]) if promised else classes
    if not 0.8 <= classes / max(before, 1) <= 1.25:
        return f"; calibrated with {before} classes, now {classes}: run `likewise gallery calibrate`"
    return ""

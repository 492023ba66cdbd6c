"""What metrics.json and metrics.jsonl of a run may hold, checked when they are read: a run may be someone else's."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

from likewise.safety import bounds

__all__ = ["checked_metrics", "records"]

GRADES = ("good", "doubtful", "bad")
SPLITS = ("train", "val", "test")
TEXT = 10_000  # characters
ENTRIES = 1000  # of an object
DEPTH = 6

Check = Callable[[object], bool]


def number(value: object) -> TypeGuard[int | float]:
    """NaN and infinity count: a training that diverges logs them."""
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def whole(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**63


def text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= TEXT


def optional(check: Check) -> Check:
    return lambda value: value is None or check(value)


def entries(check: Check) -> Check:
    """An object whose values pass."""
    return lambda value: isinstance(value, dict) and len(value) <= ENTRIES and all(map(check, value.values()))


def score(value: object) -> TypeGuard[dict[str, object]]:
    if not (plain(value) and isinstance(value, dict) and number(value.get("value"))):
        return False
    return all(optional(number)(value.get(name)) for name in ("low", "high", "n"))


def finite(value: object) -> bool:
    return number(value) and math.isfinite(value)


def threshold(value: object) -> bool:
    return plain(value) and isinstance(value, dict) and finite(value.get("value"))


def calibration(value: object) -> bool:
    if not (plain(value) and isinstance(value, dict) and text(value.get("kind"))):
        return False
    return all(not isinstance(v, list) or all(map(finite, v)) for v in value.values())


def data(value: object) -> bool:
    return isinstance(value, dict) and len(value) <= ENTRIES and all(text(v) or whole(v) for v in value.values())


def full_score(value: object) -> TypeGuard[dict[str, object]]:
    return score(value) and all(number(value.get(name)) for name in ("low", "high", "n"))


def difference(value: object) -> bool:
    names = ("difference", "low", "high", "p", "n")
    return isinstance(value, dict) and len(value) == len(names) and all(number(value.get(name)) for name in names)


def baseline(value: object) -> bool:
    """Its difference has the same scores as its own."""
    if not (isinstance(value, dict) and text(value.get("what"))):
        return False
    scores, apart = value.get("scores", {}), value.get("difference", {})
    return entries(full_score)(scores) and entries(difference)(apart) and scores.keys() == apart.keys()


def without_training(value: object) -> bool:
    if not (isinstance(value, dict) and text(value.get("main"))):
        return False
    counts = ("queries", "queries_of", "references", "references_of")
    record = {"trained": entries(full_score), "baselines": entries(baseline), "left_out": entries(text)}
    return all(whole(value.get(name)) for name in counts) and all(of(value.get(name)) for name, of in record.items())


def size_point(value: object) -> bool:
    return full_score(value) and whole(value.get("dim")) and whole(value.get("bytes")) and text(value.get("kind"))


def vector_sizes(value: object) -> bool:
    if not (isinstance(value, dict) and text(value.get("score"))):
        return False
    points, trained = value.get("points"), value.get("trained")
    if not (isinstance(points, list) and isinstance(trained, list) and len(points) + len(trained) <= ENTRIES):
        return False
    counted = all(whole(value.get(name)) for name in ("queries", "references"))
    return counted and all(map(whole, trained)) and all(map(size_point, points))


def rate(value: object) -> bool:
    return value is None or full_score(value)


def verification(value: object) -> bool:
    """Error rates of pairs, those of groups, and the gaps between groups; each may lack."""
    rows = {"error_rates": error_rates, "groups": group_rates, "gaps": group_gap}
    if not (plain(value) and isinstance(value, dict) and optional(whole)(value.get("further_groups"))):
        return False
    lists = ((check, value.get(name) or []) for name, check in rows.items())
    return all(isinstance(rows, list) and all(map(check, rows)) for check, rows in lists)


def error_rates(value: object) -> bool:
    names = ("frr", "far", "validation_far")
    return isinstance(value, dict) and text(value.get("at")) and all(rate(value.get(name)) for name in names)


def group_rates(value: object) -> bool:
    if not (isinstance(value, dict) and text(value.get("name"))):
        return False
    return all(whole(value.get(name)) for name in ("same", "different")) and all(
        map(rate, (value.get("frr"), value.get("far")))
    )


def group_gap(value: object) -> bool:
    if not (isinstance(value, dict) and all(text(value.get(name)) for name in ("score", "worst", "best"))):
        return False
    return all(number(value.get(name)) for name in ("difference", "low", "high"))


def verdict(value: object) -> bool:
    lists = ("commands", "further")
    return (
        isinstance(value, dict)
        and value.get("grade") in GRADES
        and all(text(value.get(name)) for name in ("name", "reason"))
        and all(isinstance(value.get(name), list) and all(map(text, value[name])) for name in lists)
    )


def counts(value: object) -> TypeGuard[dict[str, object]]:
    """Whole numbers, and texts; None for what was not counted."""
    if not isinstance(value, dict) or len(value) > ENTRIES:
        return False
    return all(one is None or whole(one) or text(one) for one in value.values())


def overlap(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    named = all(text(value.get(name)) for name in ("part", "other", "split"))
    return named and all(whole(value.get(name)) for name in ("copies", "checked"))


def audit(value: object) -> bool:
    if not counts(value):
        return False
    named = all(whole(value.get(name)) for name in ("images", "held_out", "suspects"))
    return named and optional(whole)(value.get("leaked")) and text(value.get("split", ""))


def plain(value: object, depth: int = 0) -> bool:
    """Numbers, texts, and lists and objects of them, not too deep."""
    if isinstance(value, dict):
        return depth < DEPTH and len(value) <= ENTRIES and all(plain(one, depth + 1) for one in value.values())
    if isinstance(value, list):
        return depth < DEPTH and all(plain(one, depth + 1) for one in value)
    return value is None or isinstance(value, bool) or number(value) or text(value)


# field: (check, what is accepted)
METRICS: dict[str, tuple[Check, str]] = {
    "verdict": (verdict, "an object of grade, name, reason, commands and further"),
    "warning": (text, "a text"),
    "majority": (optional(finite), "a number"),
    "near_copies": (lambda value: isinstance(value, list) and all(map(overlap, value)), "a list of counts"),
    "audit": (audit, "an object of counts"),
    "run": (text, "a text"),
    "split": (lambda value: value in SPLITS, "train, val or test"),
    "open": (lambda value: isinstance(value, bool), "true or false"),
    "scores": (entries(score), "an object of scores with value, low, high and n"),
    "val": (entries(score), "an object of scores with value, low, high and n"),
    "caveats": (lambda value: isinstance(value, list) and all(map(text, value)), "a list of texts"),
    "left_out": (entries(plain), "an object"),
    "queries_without_positives": (entries(whole), "an object of counts"),
    "health": (optional(entries(plain)), "an object of numbers"),
    "threshold": (optional(threshold), "an object with a finite value"),
    "verification": (optional(verification), "an object of error rates, groups and gaps"),
    "calibration": (optional(calibration), "an object with a kind and finite numbers"),
    "data": (lambda value: data(value) or text(value), "an object of a name and counts"),
    "without_training": (without_training, "an object of baselines with their scores and differences"),
    "vector_sizes": (vector_sizes, "an object of points with dim, kind, bytes and a score"),
    "loss_at_collapse": (optional(number), "a number"),
    "seconds": (finite, "a number"),
    "images_per_s": (finite, "a number"),
    "steps": (whole, "a whole number"),
    "epochs": (whole, "a whole number"),
    "parameters": (whole, "a whole number"),
    "ranks": (whole, "a whole number"),
    "wise": (finite, "a number"),
    "stopped": (text, "a text"),
}
# Names of earlier versions, which are still read.
EARLIER = {"chance": "loss_at_collapse", "lone": "queries_without_positives"}
NEEDED = ("split", "open", "scores")
# fields that a record of metrics.jsonl has by its kind; what is missing or of another type leaves the line out
LINE: dict[str, Check] = {
    **dict.fromkeys(("step", "seen", "empty", "epochs_done"), whole),
    **dict.fromkeys(("epoch", "loss", "seconds", "images_per_s", "lr", "spread", "rank", "dead"), number),
    **dict.fromkeys(("chance", "loss_at_collapse", "active", "auc", "val_auc", "growth", "related"), optional(number)),
    **dict.fromkeys(("one_class", "no_same"), number),
    "scores": entries(score),
    "findings": entries(text),
}
LINE_NEEDED = {
    "health": ("step", "epoch", "loss", "spread", "rank", "dead"),
}


def checked_metrics(path: Path, *, needed: tuple[str, ...] = NEEDED) -> dict[str, object]:
    """The content of metrics.json. Errors: ValueError that names the file and the field."""
    fields: bounds.Fields = {EARLIER.get(name, name): value for name, value in bounds.read_json(path).items()}
    for name in needed:
        if name not in fields:
            raise ValueError(f"{path} has no {name}; write it again with `likewise evaluate {path.parent}`")
    for name, value in fields.items():
        check, accepted = METRICS.get(name, (plain, f"plain and at most {DEPTH} deep"))
        if not check(value):
            raise ValueError(f"{path}: {name[:100]} is {accepted}, got {value!r:.80}")
    if "scores" in needed and not isinstance(fields.get("data", {}), dict):
        raise ValueError(f"{path}: data is {METRICS['data'][1]}, got {fields['data']!r:.80}")
    for name, one in fields["scores"].items() if "scores" in needed else ():
        if lost := [key for key in ("low", "high", "n") if one.get(key) is None]:
            raise ValueError(f"{path}: the score {name[:100]} has no {lost[0]}; run `likewise evaluate {path.parent}`")
    return fields


def records(path: Path) -> Iterator[bounds.Fields]:
    """The lines of metrics.jsonl; those cut short by a crash, and those that are no records, are left out.

    Errors: ValueError for a file beyond the bound, or that is no text.
    """
    for line in bounds.text(path, kind="a log").splitlines():
        if len(line) > bounds.JSON_LINE:
            continue
        try:
            record = bounds.parsed_json(line, path)
        except ValueError:
            continue
        if is_record(record):
            yield {"kind": ""} | record


def is_record(record: Mapping[str, object]) -> bool:
    kind = record.get("kind", "")
    if not text(kind) or not whole(record.get("step")) or not plain(record):
        return False
    return all(LINE[k](v) for k, v in record.items() if k in LINE) and all(
        k in record for k in LINE_NEEDED.get(kind, ())
    )

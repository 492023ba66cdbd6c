"""The index of a gallery in numbers: what is used, how complete it is, what it takes, how its searches grow."""

import statistics
import time
from typing import NotRequired, TypedDict

import numpy as np

from likewise.extras import install_line
from likewise.gallery import attachments, nearest
from likewise.gallery.kinds import MAPPED, check_kind
from likewise.gallery.opened import Opened
from likewise.gallery.state import State
from likewise.gallery.tuning import available

__all__ = ["check", "check_index", "describe", "reindex"]

TIMED = 20  # searches whose median time is told


def check_index(kind: str) -> None:
    """Errors: ValueError for an index that a gallery cannot have here."""
    if check_kind(kind) in MAPPED and not available():
        raise ValueError(f"the index {kind} needs FAISS: {install_line('gallery')}")


def describe(state: State) -> dict[str, object]:
    """Kind of index, recall@10 on up to 1,000 of the gallery's own vectors, bytes a vector, milliseconds a search."""
    size, seen = len(state.index), state.view
    in_memory = 0 if state.index.mapped else 4 * state.dim
    facts: dict[str, object] = {
        "index_kind": state.kind,
        "index": "exact",
        "recall@10": 1.0 if size else None,
        "bytes_per_vector": in_memory,
    }
    if seen is not None:
        facts |= {
            "index": f"{seen.graph.described}, {len(seen.rest):,} items beside it",
            "recall@10": round(nearest.measured(seen, state.index), 4),
            "bytes_per_vector": round(in_memory + seen.graph.bytes() / max(len(seen.rows), 1)),
        }
    milliseconds = timed(state) if size else None
    if state.index.mapped:
        facts["bytes_per_vector_on_disk"] = 4 * state.dim
    return {**facts, "search_ms": milliseconds, "search_growth": growth(state, milliseconds)}


class Checked(TypedDict):
    """What a check found; `index` only where everything is sound."""

    gallery: str
    items: int
    sound: bool
    problems: list[str]
    index: NotRequired[str]


def check(gallery: Opened) -> Checked:
    """See `Gallery.check`."""
    store = gallery.store
    wrong = [f"item {id_!r} is damaged" for id_ in store.damaged()]
    wrong += [f"the thumbnail of the content {content[:16]} is damaged" for content in attachments.damaged(store)]
    wrong += getattr(store, "integrity", list)()
    result: Checked = {"gallery": store.url, "items": len(gallery), "sound": not wrong, "problems": wrong}
    if not wrong:
        result["index"] = checked(gallery)
    return result


def reindex(gallery: Opened, kind: str) -> None:
    """See `Gallery.reindex`."""
    check_index(kind)
    with gallery.store.begin():
        gallery.store.set_meta(index=kind)
        gallery.store.touch()
    gallery.drop_index()
    gallery.ready()


def checked(gallery: Opened) -> str:
    """What was found of the index, which is built where it lacks."""
    upkeep = gallery.upkeep
    if not upkeep.needed(gallery.state()):
        return "none, and none is needed"
    if (why := upkeep.fault()) and upkeep.graph is not None:  # damaged after it was read
        gallery.drop_index()
    sound, why = upkeep.graph is not None, why or upkeep.why
    if sound:
        return "sound"
    made = gallery.ready().view is not None
    return f"made anew ({why or 'it was missing'})" if made else f"none: {upkeep.why}"


def timed(state: State) -> float:
    """Median time of one search for the 10 nearest of a stored vector."""
    spent = []
    for row in np.linspace(0, len(state.index) - 1, TIMED).astype(int):
        query_1D = state.index.prepared[row : row + 1]
        start = time.perf_counter()
        state.search(query_1D, 10)
        spent.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(spent), 3)


def growth(state: State, milliseconds: float | None) -> str:
    """How the time of a search depends on the number of items."""
    if state.view is not None and state.kind == "ivfpq":
        return "with the square root of the number of items, at the same recall"
    if state.view is not None:
        return "more slowly than the number of items; with its logarithm at the same efSearch"
    estimate = "" if milliseconds is None else f": about {10 * milliseconds:.3g} ms at ten times as many"
    return f"in proportion to the number of items{estimate}"

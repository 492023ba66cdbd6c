r"""Searching a large gallery, beside bare FAISS, hnswlib and scikit-learn.

    python benchmarks/gallery.py                                 # 100,000 vectors of length 128
    python benchmarks/gallery.py --count 1000000 --only-ours     # without the builds of others

Vectors as trained embeddings are: classes of 50 images on average, their sizes falling as rank^-0.7; centres and images
around them normal, the i-th coordinate's deviation falling as i^-0.4; each image as far from its centre as a log-normal
factor says (median 0.82). Searched by cosine. Queries are 1,000 further images of the same classes, stored nowhere.

The gallery is filled in its SQLite file, its graph built (`ready`), and opened again in a process of its own, whose
largest memory is told. `bare FAISS` is the same graph asked without the gallery, with the same efSearch. hnswlib has
the same M and efConstruction and the least ef that reaches recall@10 of 0.99. Queries/s are medians of `--rounds` short
rounds that alternate, and ratios are medians of the ratios within a round, since the machine is shared. Batched: 250
queries in one call on all cores; single: one query a call, one thread. `Gallery.search` is the whole verb for one
query, with its look-ups in the store; `likewise, graph` is what it asks for the nearest rows. Insert while searching:
a thread enrolls 20 pieces of 256 vectors while another searches.

Then the gallery gets the other kinds of index (`likewise gallery index --kind`), whose rounds alternate with those of
the graph. A process that opens the gallery has memory of its own (RssAnon), after its first answer: index, ids, labels
and what Python and the libraries take; the vectors of codes are in a file, of which the system keeps in memory what it
has room for. Bytes a vector are those of `gallery info`.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import machine
import numpy as np

from likewise.gallery.gallery import Gallery
from likewise.gallery.graph import BUILDING, Graph
from likewise.gallery.index import ExactIndex, prepare
from likewise.gallery.kinds import KINDS
from likewise.gallery.links import LINKS
from likewise.gallery.nearest import search, view
from likewise.gallery.sqlite import SqliteStore
from likewise.gallery.state import State
from likewise.gallery.store import Item
from likewise.gallery.tuning import library

K, QUERIES = 10, 1000
KINDS_TEXT = "Other kinds of index (of a gallery with a graph, after those insertions):"
SLOW_ROUNDS = 5  # in which what compares all takes part
BARE = "bare FAISS, the same graph"
Way = Callable[[np.ndarray], np.ndarray]  # queries [Q, D] -> rows [Q, K]


def vectors(count: int, dim: int, classes: int, seed: int) -> np.ndarray:
    """float32 `[count, dim]`; the classes do not depend on the seed."""
    rng, of_classes = np.random.default_rng(seed), np.random.default_rng(12345)
    spread_D = (np.arange(1, dim + 1) ** -0.4).astype(np.float32)
    centre_CD = of_classes.standard_normal((classes, dim), dtype=np.float32) * spread_D
    share_C = np.arange(1, classes + 1) ** -0.7
    which = rng.choice(classes, count, p=share_C / share_C.sum())
    far_N1 = rng.lognormal(-0.2, 0.3, (count, 1)).astype(np.float32)
    return centre_CD[which] + far_N1 * spread_D * rng.standard_normal((count, dim), dtype=np.float32)


def fill(path: Path, x: np.ndarray) -> float:
    """Write the vectors into a new gallery; seconds."""
    start = time.perf_counter()
    store = SqliteStore(path, create=True)
    for first in range(0, len(x), 50_000):
        with store.begin():
            if not first:
                about = {"dim": x.shape[1], "sim": "cosine", "fingerprint": "none", "private": True, "rule": "nearest"}
                store.set_meta(**about, revision=0, edits=0)
            part = enumerate(x[first : first + 50_000], first)
            store.put([Item(str(i), f"content {i}", f"class {i % 1000}", vector) for i, vector in part])
    store.close()
    return time.perf_counter() - start


def opened(path: Path) -> dict[str, float]:
    """In a process of its own: seconds until the first answer, and the largest memory."""
    words = [sys.executable, __file__, "--open", str(path)]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def open_and_ask(path: Path) -> None:
    start = time.perf_counter()
    with Gallery.open(path) as gallery:
        gallery.search(np.ones(gallery.dim, np.float32))
        seconds = time.perf_counter() - start
        has_index = gallery.state().view is not None
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        status = Path("/proc/self/status")
        words = status.read_text().split() if status.exists() else []
        own = int(words[words.index("RssAnon:") + 1]) / 2**20 if "RssAnon:" in words else 0.0
    print(json.dumps({"seconds": seconds, "gib": largest, "own": own, "index": has_index}))


def in_hnswlib(x: np.ndarray, query_QD: np.ndarray, true: np.ndarray) -> tuple[Way, str, float]:
    import hnswlib

    start = time.perf_counter()
    index = hnswlib.Index(space="cosine", dim=x.shape[1])
    index.init_index(max_elements=len(x), M=LINKS, ef_construction=BUILDING)
    index.add_items(x)
    built = time.perf_counter() - start
    for ef in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512):
        index.set_ef(ef)
        if recall(index.knn_query(query_QD, K)[0], true) >= 0.99:
            break
    return lambda asked: index.knn_query(asked, K, num_threads=-1 if len(asked) > 1 else 1)[0], f"ef {ef}", built


def in_scikit_learn(x: np.ndarray) -> Way:
    from sklearn.neighbors import NearestNeighbors

    fitted = NearestNeighbors(n_neighbors=K, metric="cosine", algorithm="brute").fit(x)
    return lambda asked: fitted.kneighbors(asked, return_distance=False)


def bare_faiss(graph: Graph) -> Way:
    given = library().SearchParametersHNSW(efSearch=graph.beam)
    return lambda asked: graph.index.search(prepare(asked, "cosine"), K, params=given)[1]


def recall(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), true.tolist(), strict=True)]))


def rates(
    ways: dict[str, Way], slow: set[str], query_QD: np.ndarray, rounds: int, base_name: str = BARE
) -> dict[str, list[float]]:
    """Queries/s of each way, batched and single, each with its ratio to one of them; medians over the rounds."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for r in range(rounds):
        for name, way in ways.items():
            if name in slow and r >= SLOW_ROUNDS:
                continue
            part = np.roll(query_QD, 250 * r, axis=0)[: 25 if name in slow else 250]
            lone = part[:3] if name in slow else part
            batched, single = seconds(partial(way, part)), seconds(partial(one_by_one, way, lone))
            seen[name].append((len(part) / batched, len(lone) / single))
    base = np.array(seen[base_name])
    columns = {name: np.concatenate([np.array(of), np.array(of) / base[: len(of)]], 1) for name, of in seen.items()}
    return {name: np.median(of, axis=0).tolist() for name, of in columns.items()}


def one_by_one(way: Way, query_QD: np.ndarray) -> None:
    for q in range(len(query_QD)):
        way(query_QD[q : q + 1])


def milliseconds(way: Callable[[np.ndarray], object], query_QD: np.ndarray) -> float:
    """Of one query."""
    start = time.perf_counter()
    for q in range(len(query_QD)):
        way(query_QD[q : q + 1])
    return 1000 * (time.perf_counter() - start) / len(query_QD)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def verb(gallery: Gallery) -> Way:
    return lambda asked: np.array([[int(hit.id) for hit in gallery.search(one, K)] for one in asked])


def while_inserting(gallery: Gallery, query_QD: np.ndarray, more: np.ndarray) -> str:
    """Milliseconds of a search while nothing and while something is enrolled."""
    quiet = asked_until(gallery, query_QD, lambda n: n >= 500)
    taken: list[float] = []

    def insert() -> None:
        for first in range(0, len(more), 256):
            part = more[first : first + 256]
            start = time.perf_counter()
            gallery.enroll_vectors(part, "new", fingerprint="none", gate="off")
            taken.append(time.perf_counter() - start)

    thread = threading.Thread(target=insert)
    thread.start()
    busy = asked_until(gallery, query_QD, lambda n: not thread.is_alive())
    thread.join()
    lines = ["| searches | count | median, ms | 95 %, ms | longest, ms |", "|---|---:|---:|---:|---:|"]
    for name, spent in (("nothing is enrolled", quiet), ("while enrolling", busy)):
        shown = [f"{1000 * value:,.2f}" for value in (*np.quantile(spent, (0.5, 0.95)), max(spent))]
        lines.append(f"| {name} | {len(spent):,} | {' | '.join(shown)} |")
    return "\n".join(lines) + f"\n\nEnrolled meanwhile: {len(more) / sum(taken):,.0f} vectors/s, in pieces of 256."


def asked_until(gallery: Gallery, query_QD: np.ndarray, done: Callable[[int], bool]) -> list[float]:
    spent: list[float] = []
    while not done(len(spent)):
        one = query_QD[len(spent) % len(query_QD)]
        spent.append(seconds(partial(gallery.search, one, K)))
    return spent


def crossing(dim: int, counts: list[int]) -> str:
    """Exact search beside the graph at smaller sizes."""
    lines = [
        "| vectors | exact, ms a query | graph, ms a query | build, s | queries until the build has paid |",
        "|---:|---:|---:|---:|---:|",
    ]
    for count in counts:
        x, query_QD = vectors(count, dim, count // 50, 0), vectors(50, dim, count // 50, 1)
        exact, graph = ExactIndex(dim, "cosine"), Graph(dim, "cosine")
        exact.add(x)
        keys = np.arange(count), np.arange(count, dtype=np.uint32)
        built = seconds(partial(graph.add, exact.prepared, *keys))
        assert graph.tune(exact.prepared)
        seen = view(graph, *keys)
        by = [partial(exact.search, k=K), partial(search, seen, exact, k=K)]
        pairs = [[milliseconds(way, query_QD) for way in by] for _ in range(5)]
        all_ms, graph_ms = np.median(pairs, axis=0).tolist()
        paid = 1000 * built / (all_ms - graph_ms) if all_ms > graph_ms else float("inf")
        lines.append(f"| {count:,} | {all_ms:.2f} | {graph_ms:.2f} | {built:.1f} | {paid:,.0f} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def beside(base: str, path: Path, query_QD: np.ndarray, kinds: list[str], rounds: int) -> str:
    """The other kinds of index of a gallery beside its graph, or (base `exact`) beside comparing all."""
    states: dict[str, State] = {}
    lines: dict[str, list[str]] = {}
    true = np.zeros(0)
    for kind in [base, *kinds]:
        with Gallery.open(path) as gallery:
            built = seconds(partial(gallery.reindex, kind)) if kind != base else None
            state, told = gallery.state() if kind == "exact" else gallery.ready(), gallery.info()
        again = opened(path)
        true = true if len(true) else state.index.search(query_QD, K).row
        found = f"{recall(state.search(query_QD, K).row, true):.4f}"
        states[kind] = state
        shown = ["" if built is None else f"{built:,.1f}", f"{again['seconds']:.1f}", f"{again['own']:.2f}"]
        file, name = Path(f"{path}.index"), str(told["index"]).rpartition(", ")[0] or str(told["index"])
        size = file.stat().st_size if file.exists() else 0
        lines[kind] = [name, found, *shown, f"{told['bytes_per_vector']}", f"{size / len(state.index):,.0f}"]
        print(kind, *lines[kind], flush=True)
    ways: dict[str, Way] = {kind: partial(rows_of, state) for kind, state in states.items()}
    speed = rates(ways, {"exact"}, query_QD, rounds, base)
    columns = "index | recall@10 | build, s | open, s | open process, GiB of its own | bytes a vector | in the file | "
    columns += f"batched, queries/s | to {base} | single, queries/s | to {base}"
    table = [f"| kind | {columns} |", "|---|---|" + "---:|" * 10]
    for kind, (batched, single, to_batched, to_single) in speed.items():
        shown = [f"{batched:,.0f}", f"{to_batched:.2f}", f"{single:,.0f}", f"{to_single:.2f}"]
        table.append(f"| {kind} | {' | '.join([*lines[kind], *shown])} |")
    return "\n".join(table)


def rows_of(state: State, query_QD: np.ndarray) -> np.ndarray:
    return state.search(query_QD, K).row


def measure(count: int, dim: int, rounds: int, kinds: list[str], *, only_ours: bool, graph: bool) -> str:
    classes = max(count // 50, 10)
    x, query_QD = vectors(count, dim, classes, 0), vectors(QUERIES, dim, classes, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "g.gallery"
        stored = fill(path, x)
        print(f"stored in {stored:.1f} s", flush=True)
        text = f"Written to the store in {stored:,.1f} s."
        if graph:
            text = of_graph(path, x, query_QD, rounds, stored, only_ours=only_ours)
        print(text, flush=True)
        base = "hnsw" if Path(f"{path}.index").exists() else "exact"
        return "\n".join([text, "", KINDS_TEXT, "", beside(base, path, query_QD, kinds, rounds)])


def of_graph(path: Path, x: np.ndarray, query_QD: np.ndarray, rounds: int, stored: float, *, only_ours: bool) -> str:
    """The graph of a gallery beside other libraries, and searches while it is enrolled into."""
    count, dim = x.shape
    with Gallery.open(path) as gallery:
        gallery.state()
        built = seconds(gallery.ready)
        print(f"built in {built:.1f} s", flush=True)
        if gallery.upkeep.graph is None:
            return f"No graph: {gallery.upkeep.why}. Written in {stored:,.1f} s, tried for {built:,.1f} s."
    size = {end: Path(f"{path}{end}").stat().st_size for end in ("", ".index")}
    again = opened(path)
    with Gallery.open(path) as gallery:
        state, told = gallery.state(), gallery.info()
        assert state.view is not None
        graph = state.view.graph
        assert isinstance(graph, Graph)
        true = state.index.search(query_QD, K).row
        ways: dict[str, Way] = {
            "likewise, graph": lambda asked: state.search(asked, K).row,
            BARE: bare_faiss(graph),
            "`Gallery.search`": verb(gallery),
            "likewise, exact": lambda asked: state.index.search(asked, K).row,
        }
        notes = dict.fromkeys(list(ways)[:3], f"efSearch {graph.beam}")
        builds = {"likewise, graph": built}
        if not only_ours:
            ways["hnswlib"], notes["hnswlib"], builds["hnswlib"] = in_hnswlib(x, query_QD, true)
            bare = library().IndexHNSWFlat(dim, LINKS, library().METRIC_INNER_PRODUCT)
            bare.hnsw.efConstruction = BUILDING
            builds[BARE] = seconds(partial(bare.add, prepare(x, "cosine")))
            del bare
        ways["scikit-learn, brute force"] = in_scikit_learn(x)
        slow = {"likewise, exact", "scikit-learn, brute force"}
        speed = rates(ways, slow, query_QD, rounds)
        found = {name: 1.0 if name in slow else recall(way(query_QD), true) for name, way in ways.items()}
        print("searched", flush=True)
        inserting = while_inserting(gallery, query_QD, vectors(5120, dim, max(count // 50, 10), 2))
    columns = "setting | recall@10 | batched, queries/s | to bare FAISS | single, queries/s | to bare FAISS | build, s"
    lines = [f"| search | {columns} |", "|---|---|---:|---:|---:|---:|---:|---:|"]
    for name, (batched, single, to_batched, to_single) in speed.items():
        build = f"{builds[name]:,.1f}" if name in builds else ""
        shown = [notes.get(name, ""), f"{found[name]:.4f}", f"{batched:,.0f}", f"{to_batched:.2f}"]
        lines.append(f"| {name} | {' | '.join(shown)} | {single:,.0f} | {to_single:.2f} | {build} |")
    facts = [
        f"- written to the store in {stored:,.1f} s; the graph is built and saved in {built:,.1f} s",
        f"- opened in {again['seconds']:.1f} s with the first answer; that process took {again['gib']:.2f} GiB at most",
        f"- files: gallery {size[''] / count:,.0f} and index {size['.index'] / count:,.0f} bytes a vector",
        f"- `gallery info`: recall@10 {told['recall@10']} on stored vectors, {told['bytes_per_vector']} bytes a vector "
        f"in memory for the search, {told['search_ms']} ms a search",
    ]
    return "\n".join([*lines, "", *facts, "", inserting])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=0, help="default: 25 up to 100,000 vectors, 9 above")
    parser.add_argument("--no-graph", action="store_true", help="measure other kinds of index beside comparing all")
    parser.add_argument(
        "--kinds", default="", help="beside hnsw; default: int8,ivfpq up to 300,000 vectors, ivfpq above"
    )
    parser.add_argument("--only-ours", action="store_true", help="without hnswlib's and bare FAISS's builds")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.open:
        open_and_ask(asked.open)
        return
    table = f"{asked.count:,} vectors of length {asked.dim}.\n\n"
    kinds = (asked.kinds or ("int8,ivfpq" if asked.count <= 300_000 else "ivfpq")).split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"--kinds are of {', '.join(KINDS)}; got {', '.join(unknown)}")
    rounds = asked.rounds or (25 if asked.count <= 100_000 else 9)
    table += measure(asked.count, asked.dim, rounds, kinds, only_ours=asked.only_ours, graph=not asked.no_graph)
    if asked.count <= 100_000:
        table += "\n\nWhere the graph pays:\n\n" + crossing(
            asked.dim, [n for n in (3000, 10_000, 30_000, 100_000) if n <= asked.count]
        )
    machine.write("gallery" if asked.count == 100_000 else f"gallery_{asked.count}", table, str(__doc__))


if __name__ == "__main__":
    main()

"""Report section: accuracy by the bytes of a stored vector, of a run trained with `matryoshka`."""

from likewise.experiment.records import SizePoint, SizesRecord
from likewise.viz import plots
from likewise.viz.pages import score_texts
from likewise.viz.pages.charts import shown
from likewise.viz.pages.html import Html, table, tag
from likewise.viz.pages.run_data import RunData
from likewise.viz.plots import Curve

__all__ = ["accuracy_per_byte"]

KINDS = {
    "float32": "float32: 4 bytes a number",
    "int8": "int8: one byte a number, 256 steps over the range of each dimension in the training part",
    "binary": "binary: one bit a number (above the training part's mean or not), compared by Hamming distance",
    "binary, re-scored": "binary, re-scored: the 40 nearest by Hamming distance, compared with the query in float32",
}


def accuracy_per_byte(m: RunData) -> list[Html]:
    """A curve for each way to store a vector, and the same as a table; empty for other losses."""
    record: SizesRecord | None = m.metrics.get("vector_sizes")
    if not record or not record["points"]:
        return []
    kinds = list(dict.fromkeys(point["kind"] for point in record["points"]))
    title = score_texts.title(record["score"], open_set=m.open)
    figure = plots.score_curves(
        {kind: curve([one for one in record["points"] if one["kind"] == kind]) for kind in kinds},
        xlabel="bytes a vector",
        ylabel=title,
        doubling=True,
    )
    caption = (
        f"{title} of {record['queries']:,} queries among {record['references']:,} references, by the bytes that a "
        "stored vector takes, with 95 % intervals (shaded)."
    )
    return [
        tag("div", shown(m, "accuracy_per_byte", figure, caption), class_="figures"),
        table(
            ["Dimensions", *(heading for kind in kinds for heading in (f"{kind}, bytes", title))], rows(record, kinds)
        ),
        tag("p", f"{'; '.join(KINDS.get(kind, kind) for kind in kinds)}. {prefixes(record)}", class_="note"),
    ]


def curve(points: list[SizePoint]) -> Curve:
    """Of several prefixes that take the same bytes the longest is drawn."""
    longest = {one["bytes"]: one for one in sorted(points, key=lambda one: one["dim"])}
    points = sorted(longest.values(), key=lambda one: one["bytes"])
    values = ([one["value"] for one in points], [one["low"] for one in points], [one["high"] for one in points])
    return Curve([one["bytes"] for one in points], *values)


def rows(record: SizesRecord, kinds: list[str]) -> list[list[str]]:
    """A row for each prefix, the longest first."""
    by = {(one["dim"], one["kind"]): one for one in record["points"]}
    dims = sorted({dim for dim, _ in by}, reverse=True)
    return [[f"{dim:,}", *(text for kind in kinds for text in cells(by.get((dim, kind))))] for dim in dims]


def cells(point: SizePoint | None) -> tuple[str, str]:
    """Bytes, and the value with its interval."""
    if point is None:
        return "", ""
    return f"{point['bytes']:,}", f"{point['value']:.3f} ({point['low']:.3f} to {point['high']:.3f})"


def prefixes(record: SizesRecord) -> str:
    listed = ", ".join(f"{dim:,}" for dim in record["trained"])
    return f"The loss was trained at the first {listed} dimensions; other prefixes are shown for comparison."

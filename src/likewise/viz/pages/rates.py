"""Report section: error rates of the test pairs at thresholds of validation pairs, and by group."""

from likewise.experiment.records import GapRecord, ScoreRecord, VerificationRecord
from likewise.viz.pages.html import Html, table, tag
from likewise.viz.pages.run_data import RunData

__all__ = ["error_rates"]


def error_rates(m: RunData) -> list[Html]:
    """A row for each threshold, then for each group with the gaps between groups; empty without pairs."""
    record: VerificationRecord = m.metrics.get("verification") or {}
    if not (rates := record.get("error_rates")):
        return []
    note = (
        "The thresholds were chosen on validation pairs. FRR: share of same-class test pairs rejected; FAR: share of "
        "different-class pairs accepted. Pairs share images; the intervals are Clopper and Pearson's for the number of "
        "independent pairs that these are worth."
    )
    head = ["Threshold", "FRR", "95 % interval", "FAR", "95 % interval", "FAR on validation"]
    rows = [[one["at"], *cells(one["frr"]), *cells(one["far"]), cells(one.get("validation_far"))[0]] for one in rates]
    return [
        tag("h3", "Error rates of pairs"),
        table(head, rows, numbers=[1, 2, 3, 4, 5]),
        tag("p", note, class_="note"),
        *by_group(record),
    ]


def by_group(record: VerificationRecord) -> list[Html]:
    """FRR and FAR of the pairs of each group, at the threshold of the model."""
    if not (groups := record.get("groups")):
        return []
    head = ["Group of the pair", "FRR", "95 % interval", "Same pairs", "FAR", "95 % interval", "Different pairs"]
    rows = [
        [one["name"], *cells(one["frr"]), f"{one['same']:,}", *cells(one["far"]), f"{one['different']:,}"]
        for one in groups
    ]
    notes = [tag("p", gap(one), class_="note") for one in record.get("gaps") or ()]
    if more := record.get("further_groups"):
        notes.append(tag("p", f"{more:,} groups with fewer pairs are not listed.", class_="note"))
    return [tag("h3", "Error rates by group"), table(head, rows, numbers=[1, 2, 3, 4, 5, 6]), *notes]


def cells(score: ScoreRecord | None) -> tuple[str, str]:
    """Value and interval of a rate."""
    if score is None:
        return "", ""
    return f"{score['value']:.4f}", f"{score['low']:.4f} to {score['high']:.4f}"


def gap(one: GapRecord) -> str:
    return (
        f"{one['score'].upper()} is {one['difference']:.4f} higher for {one['worst']} than for {one['best']} "
        f"(simultaneous 95 % interval over all groups {one['low']:.4f} to {one['high']:.4f})."
    )

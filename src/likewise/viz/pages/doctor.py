"""doctor.html: what the doctor found of a training, and the signals that it is based on."""

from collections.abc import Sequence

from likewise.atomic import replacing
from likewise.doctor import Finding, Observation
from likewise.experiment.checkup import examine
from likewise.experiment.run import Run
from likewise.viz.pages.document import document
from likewise.viz.pages.html import Html, table, tag
from likewise.viz.pages.workspace import head

__all__ = ["SIGNALS", "write_doctor"]

# signal: (format, meaning, healthy values)
SIGNALS = {
    "epoch": ("g", "Epochs trained.", ""),
    "loss": (".4f", "Loss of the batch.", "well below the loss at collapse"),
    "loss_at_collapse": (".4f", "Loss of a collapsed embedding (all vectors equal).", ""),
    "spread": (".4f", "0: all images at one point; 1: balanced around the origin.", "0.3 to 1 after training"),
    "rank": (".1f", "Effective rank of the centred embedding.", "about the number of classes"),
    "dead": (".0%", "Dimensions that are 0 for every image.", "0 %"),
    "active": (".0%", "Anchors with a non-zero loss.", "falls, for losses with a margin"),
    "auc": (".3f", "Pair AUC of training images; chance level is 0.5.", "near 1"),
    "val_auc": (".3f", "Pair AUC of validation images; below 0.58 counts as chance.", "near 1"),
}
ROWS = 20  # observations shown at once; the others unfold


def write_doctor(run: Run) -> None:
    """Write doctor.html into the run folder, atomically. Errors: ValueError for a run without embeddings."""
    findings, observations = examine(run)
    with replacing(run.path / "doctor.html") as temporary:
        temporary.write_text(page(run, findings, observations), encoding="utf-8")


def page(run: Run, findings: Sequence[Finding], observations: Sequence[Observation]) -> str:
    """The document."""
    parts = [
        ("findings", "What was found", found(findings)),
        ("signals", "Signals", signals(observations)),
        ("meaning", "What the signals mean", meaning()),
    ]
    return document(run.name, "Likewise doctor", [], parts, top=head(run, "doctor.html"))


def found(findings: Sequence[Finding]) -> list[Html]:
    if not findings:
        return [tag("p", "No known problem of the training. The verdict above also weighs data and scores.")]
    rows = [(tag("code", f.name), f.happening, f.change) for f in findings]
    return [table(["Finding", "Symptom", "What to change"], rows)]


def signals(observations: Sequence[Observation]) -> list[Html]:
    """One row an observation, the last ones first to be seen."""
    rows = [
        ["–" if (value := getattr(o, name)) is None else format(value, form) for name, (form, _, _) in SIGNALS.items()]
        for o in observations
    ]
    head_row = [name.replace("_", " ") for name in SIGNALS]
    numbers = range(len(SIGNALS))
    text = f"{len(rows):,} observation{'s' * (len(rows) != 1)} of at most 64 training and 64 validation images each."
    parts = [tag("p", text), table(head_row, rows[-ROWS:], numbers=numbers)]
    if earlier := rows[:-ROWS]:
        more = tag("summary", f"The {len(earlier):,} observations before these")
        parts.append(tag("details", more, table(head_row, earlier, numbers=numbers)))
    return parts


def meaning() -> list[Html]:
    rows = [(name.replace("_", " "), text, healthy) for name, (_, text, healthy) in SIGNALS.items() if name != "epoch"]
    return [table(["Signal", "Meaning", "Healthy values"], rows)]

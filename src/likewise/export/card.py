"""The model card of an exported model, as Markdown, from the run's own data."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from likewise.experiment.gain import note, rows
from likewise.experiment.records import DataRecord, Metrics, ScoreRecord
from likewise.models.description import ModelConfig

__all__ = ["Facts", "card"]

TO_FILL = "*to be filled in by the publisher of the model*"


class Facts(TypedDict):
    """An export: the model's input and output, its files with their sha256, and how far it is from the run's model."""

    dim: int
    input: str
    inside: str  # a sentence on the preprocessing in the graph
    difference: float
    compared: int
    files: list[tuple[str, str]]
    int8: dict[str, tuple[dict, dict]]  # score -> (before, after)


def card(metrics: Metrics, config: ModelConfig, recipe: Mapping[str, object], made: Facts) -> str:
    """The card of a run's exported model."""
    data, shape = metrics["data"], config["shape"]
    takes = " x ".join(map(str, shape))
    unit = "of length 1" if config["normalize"] else "of any length"
    parts = [
        f"# {metrics['run']}",
        f"An embedding of {data['name']}: {takes} (channels, height, width) in, {made['dim']} numbers {unit} out, "
        f"compared by {config['sim']} similarity (larger is closer). Network `{config['network']}`, loss "
        f"`{recipe['loss']}`, {metrics.get('epochs', recipe['epochs'])} epochs, seed {recipe['seed']}.",
        "## Files\n\n" + table(["file", "sha256"], [[f"`{name}`", f"`{digest}`"] for name, digest in made["files"]]),
        f"Input `{made['input']}`, any N. {made['inside']}\nLargest difference from the run's own model on "
        f"{made['compared']} real images: {made['difference']:.1e}.",
        "## Data\n\n" + table(["", "images"], [[part, f"{n:,}"] for part, n in parts_of(data).items()]),
        f"Source `{recipe['data']}`, {data['classes']:,} classes, {data['skipped']:,} images left out. Split "
        f"`{recipe['split']}`, split seed {recipe['split_seed']}.",
        f"## Scores\n\nOn the {metrics['split']} part: {evaluation(metrics)}. 95 % intervals.\n\n"
        + scores(metrics["scores"])
        + "".join(f"\n\nCaveat: {caveat}." for caveat in metrics.get("caveats", ())),
        *without_training(metrics),
        threshold(metrics),
    ]
    if quantised := made.get("int8"):
        rows = [[name, *map(score, pair)] for name, pair in quantised.items()]
        parts.append(
            "## int8\n\nScores on the same images before and after quantisation.\n\n"
            + table(["score", "fp32", "int8"], rows)
        )
    parts.append("## Licence\n\n" + table(["of", "licence"], [[what, TO_FILL] for what in (
        "the weights", "the training images", "the pretrained weights it started from, if any")]))  # fmt: skip
    parts.append(f"## Use\n\nMeant for: {TO_FILL}. Not meant for: {TO_FILL}.")
    return "\n\n".join(parts) + "\n"


def parts_of(data: DataRecord) -> dict[str, int]:
    return {"train": data["train"], "val": data["val"], "test": data["test"]}


def evaluation(metrics: Metrics) -> str:
    return "classes not seen in training" if metrics["open"] else "held-out images of the training classes"


def scores(scores_by_name: Mapping[str, ScoreRecord]) -> str:
    rows = [[name, score(s), f"{s['n']:,}"] for name, s in scores_by_name.items()]
    return table(["score", "value (low – high)", "n"], rows)


def without_training(metrics: Metrics) -> list[str]:
    """The section on what the same images score without training."""
    record = metrics.get("without_training")
    if not record or not record["baselines"]:
        return []
    warning = f"{metrics['warning']}.\n\n" if metrics.get("warning") else ""
    head = ["", "score", "value", "gain", "95 % interval"]
    return [
        f"## Without training\n\n{warning}Scores {note(record)}; the gain is that of this model, paired.\n\n"
        + table(head, rows(record))
    ]


def score(s: Mapping[str, object]) -> str:
    return f"{s['value']:.4f} ({s['low']:.4f} – {s['high']:.4f})"


def threshold(metrics: Metrics) -> str:
    """The section on the verification threshold."""
    chosen = metrics.get("threshold")
    if not chosen:
        return "## Threshold\n\nNone: the validation part had no pairs."
    return (
        f"## Threshold\n\nTwo images count as the same class from a similarity of {chosen['value']:.4f}, chosen on "
        f"validation pairs for {chosen['target']}."
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

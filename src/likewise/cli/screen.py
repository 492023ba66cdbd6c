"""What a person sees on a terminal: the progress line and the table of scores."""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from likewise.experiment.run import Run

# name: (what a newcomer calls it)
WORDS = {
    "knn@1": "named right by the nearest neighbour",
    "knn@5": "named right by a vote of five",
    "top@1": "named right by the nearest encoding",
    "top@5": "the right class is among the five nearest encodings",
    "knn_weighted@20": "the same of twenty, the nearer counting more",
    "centroid": "named right by the nearest class mean",
    "recall@1": "nearest other test picture is of the same class",
    "r_precision": "of the R nearest, the share of the same class",
    "map@r": "the same, earlier hits counting more",
    "map": "the same over the whole ranking",
    "mrr": "1 over the rank of the first of the same class",
    "silhouette": "how apart the classes lie, -1 to 1",
    "silhouette_simplified": "so by distances to class means, mostly higher",
    "nmi": "k-means clusters against classes, 0 to 1",
    "ami": "the same, corrected for chance",
    "ari": "pairs that clusters and classes agree on, so corrected",
    "purity": "share that is of its cluster's commonest class",
    "probe": "a linear classifier on the embedding",
    "pair_auc": "a same pair is more alike than a different one",
    "pair_accuracy": "same or different, at the validated threshold",
    "pair_precision": "of the pairs called same there, the share that is",
    "pair_recall": "of the same pairs, the share called so there",
    "pair_f1": "both of these in one",
    "fold_accuracy": "the same, the threshold from the other folds",
    "brier": "squared error of the probabilities, 0 to 1",
    "ece": "how far the probabilities are off, on average",
    "eer": "error where both kinds of error are equal",
    "tar@far=0.1": "same pairs accepted when 10 % of others are",
    "tar@far=0.01": "same pairs accepted when 1 % of others are",
    "tar@far=0.001": "same pairs accepted when 0.1 % of others are",
    "tar@far=0.0001": "same pairs accepted when 0.01 % of others are",
    "few_shot@20w1s": "one class out of 20, from one example of each",
    "few_shot@20w5s": "the same from five examples of each",
    "few_shot@5w1s": "one class out of 5, from one example of each",
    "few_shot@5w5s": "the same from five examples of each",
    "one_shot_error": "Omniglot's official trials, the lower the better",
}

# The same for any k.
OF_K = {
    "recall": "one of the {k} nearest is of the same class",
    "cmc": "one of the {k} nearest is of the same class",
    "precision": "of the {k} nearest, the share of the same class",
    "found": "of all of the same class, the share among the {k} nearest",
    "map": "of the {k} nearest, how early the same class comes",
    "mrr": "1 over the rank of the first of the same class, to {k}",
    "ndcg": "the {k} nearest against the best order of {k}",
}

# What queries without anything to find lack, and which scores they are left out of.
LONE = {
    "retrieval": "no other picture of their class (recall, precision, MAP)",
    "unseen": "no training picture of their class (knn, centroid, probe)",
}


class Progress:
    """A progress bar on stderr for work longer than a second; nothing where stderr is not a terminal."""

    def __init__(self, epochs: int = 0):
        self.epochs = epochs
        columns = ("{task.description}", BarColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn())
        self.bar = Bar(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self.task: Any = None
        self.stage, self.began = "", time.monotonic()

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def watch(self, record: Mapping[str, Any]) -> None:
        """Show a record of metrics.jsonl, or the stage of what comes before and after the training."""
        if record["kind"] == "stage":
            self.show(record["stage"], record["done"], record["total"] or None, "")
        elif record["kind"] == "train":
            self.show("training", record["epoch"], self.epochs or None, line(record))

    def show(self, stage: str, done: float, total: float | None, said: str) -> None:
        """One bar at a time; where it can be told how far a stage is, it is drawn once it has lasted a second."""
        if stage != self.stage:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.stage, self.began, self.task = stage, time.monotonic(), None
        if self.task is None and (total is None or time.monotonic() - self.began > 1):
            self.task = self.bar.add_task(stage, total=total, said=said)
        if self.task is not None:
            self.bar.update(self.task, completed=done, said=said)


def line(record: Mapping[str, Any]) -> str:
    """`loss 0.1234 · 5,120 images/s · 43 % active`."""
    said = [f"epoch {record['epoch']:.1f}", f"loss {record['loss']:.4f}", f"{record['images_per_s']:,.0f} images/s"]
    if "active" in record:
        said.append(f"{record['active']:.0%} active")
    if record.get("empty"):
        said.append(f"{record['empty']} batches without pairs")
    return " · ".join(said)


class Download:
    """A progress bar for a download."""

    def __init__(self) -> None:
        columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self.bar = Bar(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> "Download":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def watch(self, name: str, done: int, total: int | None) -> None:
        if name not in self.tasks:
            self.tasks[name] = self.bar.add_task(name, total=total)
        self.bar.update(self.tasks[name], completed=done)


def scores_json(run: Run) -> str:
    """`{"run", "split", "scores": {name: {value, low, high, n}}}`."""
    held = run.metrics()
    return json.dumps({key: held[key] for key in ("run", "split", "scores")}, indent=1)


def headline(run: Run) -> str:
    """The table of scores, and where the report is."""
    held = run.metrics()
    return f"{title(held)}\n\n{scores_table(held)}\n{ending(run, held)}"


def pairs_said(found: Mapping[str, Any]) -> str:
    """The table of the scores of a file's pairs, the standard error over folds, and what to be wary of."""
    said = [f"{found['run']}: scores on {found['pairs']}", "", scores_table(found)]
    if folds := found["scores"].get("fold_accuracy"):
        mean = f"{folds['value']:.4f} ± {folds['standard_error']:.4f}"
        said.append(f"fold_accuracy: mean ± standard error over {len(folds['folds'])} folds {mean}")
    return "\n".join([*said, *(f"note: {note}" for note in found["notes"])])


def images_said(found: Mapping[str, Any]) -> str:
    """The scores on labelled images, what was confused, the worst errors, and what was left out."""
    part = "images of the test part" if found["part"] == "test" else "images"
    text = [f"{found['run']}: {found['images']:,} {part} of {found['on']}, searched for in {found['gallery']}", ""]
    if found["scores"]:
        text.append(scores_table(found))
    if n := found["unknown_images"]:
        classes = found["unknown_classes"]
        names = ", ".join(classes[:5]) + (f" and {len(classes) - 5} more" if len(classes) > 5 else "")
        text.append(f"{n:,} images are of classes without references ({names}); among themselves, as an open set:")
        text += ["", scores_table({"scores": found["open_scores"]})]
    if found["identical"]:
        text.append(f"note: {found['identical']:,} images are embedded as a reference is; the same files, or copies?")
    text += [f"{c['class']} taken for {c['taken_for']}: {c['images']:,}" for c in found["confusions"][:5]]
    text += [f"wrong: {w['image']} like {w['nearest']} ({w['similarity']:+.4f})" for w in found["worst"][:5]]
    text += [f"left out: {skip['id']}: {skip['why']}" for skip in found["skipped"][:10]]
    if (more := len(found["skipped"]) - 10) > 0:
        text.append(f"left out: {more:,} more; --json lists all")
    return "\n".join(text)


def names_said(found: Mapping[str, Any]) -> str:
    """The table of how well a file of encodings names pictures."""
    said = f"{found['run']}: how {found['encodings']} names the pictures of {found['split']}"
    return f"{said}\n\n{scores_table(found)}".rstrip()


def ranking_said(found: Mapping[str, Any]) -> str:
    """The table of what `rank` measured."""
    where = "the other pictures" if found["gallery"] == found["split"] else found["gallery"]
    said = f"{found['run']}: pictures of {found['split']}, searched for in {where}\n\n{scores_table(found)}"
    unanswered = left_out(found["queries_without_positives"], found["of"], "no image of their class to find")
    return f"{said}{unanswered}".rstrip()


def left_out(n: int, of: int, why: str) -> str:
    """`3 of 400 pictures are left out: ...`, or nothing."""
    return f"{n:,} of {of:,} images are left out: they have {why}\n" if n else ""


def in_words(name: str) -> str:
    """What a newcomer calls a score; nothing for one without words."""
    stem, _, k = name.partition("@")
    return WORDS.get(name) or OF_K.get(stem, "").format(k=k)


def scores_table(held: Mapping[str, Any]) -> str:
    """A line a score, and one for each rate that the pairs cannot tell."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, side in (
        ("score", "left"),
        ("value", "right"),
        ("95 % interval", "right"),
        ("n", "right"),
        ("", "left"),
    ):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for name, s in held["scores"].items():
        interval = f"{s['low']:.4f} – {s['high']:.4f}"
        table.add_row(name, f"{s['value']:.4f}", interval, f"{s['n']:,}", in_words(name))
    for name in held.get("left_out", {}):
        table.add_row(name, "", "", "", "too few pairs to say")
    console = Console(width=110, file=sys.stdout)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def title(held: Mapping[str, Any]) -> str:
    seen = "classes never seen in training" if held["open"] else "held-out pictures of the classes it was trained on"
    return f"{held['run']}: scores on {held['split']}, {seen}"


def ending(run: Run, held: Mapping[str, Any]) -> str:
    said = (
        [f"trained in {held['seconds']:.1f} s at {held['images_per_s']:,.0f} images/s"] if held.get("seconds") else []
    )
    of = held["data"].get(held["split"], 0)
    for kind, n in held.get("queries_without_positives", {}).items():
        said.append(left_out(n, of, LONE[kind]).rstrip())
    if (run.path / "skipped.csv").exists():
        said.append(f"images left out: {run.path / 'skipped.csv'}")
    if run.report.exists():
        said.append(f"report: {run.report}")
    return "\n".join(said)

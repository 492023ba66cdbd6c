"""Terminal output: progress bars and tables of scores."""

import json
import os
import sys
import time
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from likewise.cli.baselines import baselines_table
from likewise.cli.rates_text import verification_text
from likewise.cli.terminal import raw, wrapped
from likewise.data.decisions import counted
from likewise.doctor.verdict import Verdict
from likewise.experiment.records import Metrics
from likewise.experiment.run import Run
from likewise.experiment.verdict import verdict_of
from likewise.safety.bounds import Record

# name: short explanation
WORDS = {
    "knn@1": "1-NN accuracy",
    "knn@5": "5-NN accuracy",
    "top@1": "accuracy of the nearest encoding",
    "top@5": "right class among the five nearest encodings",
    "knn_weighted@20": "20-NN accuracy, weighted by similarity",
    "centroid": "accuracy of the nearest class mean",
    "recall@1": "nearest other test image is of the same class",
    "r_precision": "share of the same class among the R nearest",
    "map@r": "r_precision with more weight on early hits",
    "map": "mean average precision over the whole ranking",
    "mrr": "mean of 1 / rank of the first hit",
    "minp": "R over the rank of the last hit, 0 to 1",
    "silhouette": "separation of the classes, -1 to 1",
    "silhouette_simplified": "from distances to class means, mostly higher",
    "nmi": "k-means clusters against classes, 0 to 1",
    "ami": "NMI corrected for chance",
    "ari": "pair agreement of clusters and classes, corrected for chance",
    "purity": "share of the majority class in each cluster",
    "probe": "accuracy of a linear classifier on the embedding",
    "pair_auc": "AUC of same against different pairs",
    "pair_accuracy": "accuracy of pairs at the validation threshold",
    "pair_precision": "precision of same pairs at that threshold",
    "pair_recall": "recall of same pairs at that threshold",
    "pair_f1": "F1 of same pairs at that threshold",
    "fold_accuracy": "pair accuracy, thresholds from the other folds",
    "brier": "squared error of the probabilities, 0 to 1",
    "ece": "expected calibration error of the probabilities",
    "eer": "error rate where both error rates are equal",
    "tar@far=0.1": "same pairs accepted when 10 % of different pairs are",
    "tar@far=0.01": "same pairs accepted when 1 % of different pairs are",
    "tar@far=0.001": "same pairs accepted when 0.1 % of different pairs are",
    "tar@far=0.0001": "same pairs accepted when 0.01 % of different pairs are",
    "dir@far=0.1": "enrolled classes named right when 10 % of unknown queries are named",
    "dir@far=0.01": "enrolled classes named right when 1 % of unknown queries are named",
    "oscr": "area under that curve over all rates, 0 to 1",
    "few_shot@20w1s": "accuracy among 20 classes, one example each",
    "few_shot@20w5s": "accuracy among 20 classes, five examples each",
    "few_shot@5w1s": "accuracy among 5 classes, one example each",
    "few_shot@5w5s": "accuracy among 5 classes, five examples each",
    "one_shot_error": "error on Omniglot's official trials, lower is better",
}

# Explanations for any k.
OF_K = {
    "recall": "one of the {k} nearest is of the same class",
    "cmc": "one of the {k} nearest is of the same class",
    "precision": "share of the same class among the {k} nearest",
    "found": "share of the same class found among the {k} nearest",
    "map": "average precision of the {k} nearest",
    "mrr": "1 / rank of the first hit within {k}",
    "ndcg": "gain of the {k} nearest relative to the ideal order",
}

# Why queries have no positives, and which scores exclude them.
WITHOUT_POSITIVES = {
    "retrieval": "no other image of their class (recall, precision, MAP)",
    "unseen": "no training image of their class (knn, centroid, probe)",
}


class Progress:
    """A progress bar on stderr for work longer than a second; disabled if stderr is not a terminal."""

    def __init__(self, epochs: int = 0):
        self.epochs = epochs
        columns = ("{task.description}", BarColumn(), TextColumn("{task.fields[status]}"), TimeRemainingColumn())
        self.bar = Bar(*columns, console=Console(file=raw(sys.stderr)), transient=True, disable=not sys.stderr.isatty())
        self.task: TaskID | None = None
        self.stage, self.began = "", time.monotonic()

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def watch(self, record: Record) -> None:
        """Show a training record or a stage before or after the training."""
        if record["kind"] == "stage":
            self.show(record["stage"], record["done"], record["total"] or None, "")
        elif record["kind"] == "train":
            self.show("training", record["epoch"], self.epochs or None, line(record))

    def show(self, stage: str, done: float, total: float | None, status: str) -> None:
        """Show one bar at a time; a stage with a known total appears after one second."""
        if stage != self.stage:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.stage, self.began, self.task = stage, time.monotonic(), None
        if self.task is None and (total is None or time.monotonic() - self.began > 1):
            self.task = self.bar.add_task(stage, total=total, status=status)
        if self.task is not None:
            self.bar.update(self.task, completed=done, status=status)


def line(record: Record) -> str:
    """`loss 0.1234 · 5,120 images/s · 43 % active`."""
    parts = [f"epoch {record['epoch']:.1f}", f"loss {record['loss']:.4f}", f"{record['images_per_s']:,.0f} images/s"]
    if "active" in record:
        parts.append(f"{record['active']:.0%} active")
    if record.get("empty"):
        parts.append(f"{record['empty']} batches without pairs")
    return " · ".join(parts)


class Download:
    """A progress bar for a download."""

    def __init__(self) -> None:
        columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self.bar = Bar(*columns, console=Console(file=raw(sys.stderr)), transient=True, disable=not sys.stderr.isatty())
        self.tasks: dict[str, TaskID] = {}

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
    """`{"verdict", "run", "split", "scores": {name: {value, low, high, n}}, "without_training"}`."""
    metrics: Record = run.metrics()
    shown = ("verdict", "warning", "run", "split", "scores", "verification", "caveats", "without_training")
    return json.dumps({key: metrics[key] for key in shown if key in metrics}, indent=1)


def headline(run: Run) -> str:
    """The scores, those without training, the paths of the pages, and the verdict with the next two commands."""
    metrics = run.metrics()
    caveats = "".join("\n".join([*wrapped(f"note: {caveat}."), ""]) for caveat in metrics.get("caveats", ()))
    rates = "".join(f"{text}\n" for text in verification_text(metrics.get("verification") or {}))
    tables = [table for table in (scores_table(metrics), rates, caveats, baselines_table(metrics)) if table]
    verdict = verdict_of(run, folder=os.fspath(run.path), metrics=metrics)
    noted = metrics.get("caveats", ())  # they stand below the scores
    verdict = replace(verdict, further=tuple(text for text in verdict.further if text not in noted))
    return f"{title(metrics)}\n\n" + "\n".join([*tables, ending(run, metrics), "", verdict_text(verdict)])


def verdict_text(verdict: Verdict) -> str:
    """The verdict, what else was found, and the next two commands, within 80 columns."""
    listed = [f"also: {text}." for text in verdict.further]
    lines = [f"{verdict.grade.upper()}: {verdict.reason}.", *listed]
    filled = [text for each in lines for text in wrapped(each)]
    return "\n".join([*filled, f"next: {verdict.commands[0]}", f"      {verdict.commands[1]}"])


def pairs_text(scores: Record) -> str:
    """Scores on a file of pairs, error rates at the thresholds, by role and group, and notes."""
    lines = [f"{scores['run']}: scores on {scores['pairs']}", "", scores_table(scores), *verification_text(scores)]
    if folds := scores["scores"].get("fold_accuracy"):
        mean = f"{folds['value']:.4f} ± {folds['standard_error']:.4f}"
        lines.append(f"fold_accuracy: mean ± standard error over {len(folds['folds'])} folds {mean}")
    return "\n".join([*lines, *(f"note: {note}" for note in scores["notes"])])


def images_text(counts: Record) -> str:
    """The scores on labelled images, what was confused, the worst errors, and what was left out."""
    part = "images of the test part" if counts["part"] == "test" else "images"
    text = [f"{counts['run']}: {counts['images']:,} {part} of {counts['on']}, searched for in {counts['gallery']}", ""]
    if counts["scores"]:
        text.append(scores_table(counts))
    text += [line for caveat in counts["caveats"] for line in wrapped(f"note: {caveat}.")]
    if n := counts["unknown_images"]:
        classes = counts["unknown_classes"]
        names = ", ".join(classes[:5]) + (f" and {len(classes) - 5} more" if len(classes) > 5 else "")
        text.append(f"{n:,} images are of classes without references ({names}); among themselves, as an open set:")
        text += ["", scores_table({"scores": counts["open_scores"]})]
    if counts["identical"]:
        text.append(f"note: {counts['identical']:,} images are embedded as a reference is; the same files, or copies?")
    text += [f"{c['class']} taken for {c['taken_for']}: {c['images']:,}" for c in counts["confusions"][:5]]
    text += [f"wrong: {w['image']} like {w['nearest']} ({w['similarity']:+.4f})" for w in counts["worst"][:5]]
    text += [f"left out: {skip['id']}: {skip['why']}" for skip in counts["skipped"][:10]]
    if (more := len(counts["skipped"]) - 10) > 0:
        text.append(f"left out: {more:,} more; --json lists all")
    return "\n".join(text)


def encodings_text(scores: Record) -> str:
    """Classification scores of a file of encodings."""
    title = f"{scores['run']}: {scores['encodings']}, classification of the {scores['split']} images"
    return f"{title}\n\n{scores_table(scores)}".rstrip()


def ranking_text(scores: Record) -> str:
    """Table of the scores of `rank`."""
    where = "the other images" if scores["gallery"] == scores["split"] else scores["gallery"]
    title = f"{scores['run']}: queries from {scores['split']}, ranked among {where}\n\n{scores_table(scores)}"
    unanswered = left_out(scores["queries_without_positives"], scores["of"], "no other image of their class")
    return f"{title}{unanswered}".rstrip()


def left_out(n: int, of: int, why: str) -> str:
    """`3 of 400 images are left out: ...`, or an empty string."""
    return f"{n:,} of {of:,} images are left out: they have {why}\n" if n else ""


def in_words(name: str) -> str:
    """Short explanation of a score, or an empty string."""
    stem, _, k = name.partition("@")
    return WORDS.get(name) or OF_K.get(stem, "").format(k=k)


def scores_table(metrics: Record) -> str:
    """A row per score, and one per rate with too few pairs."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, side in (
        ("score", "left"),
        ("value", "right"),
        ("95 % interval", "right"),
        ("n", "right"),
        ("", "left"),
    ):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for name, s in metrics["scores"].items():
        interval = f"{s['low']:.4f} – {s['high']:.4f}"
        table.add_row(name, f"{s['value']:.4f}", interval, f"{s['n']:,}", in_words(name))
    has_rates = (metrics.get("verification") or metrics).get("error_rates")  # which have no least number of pairs
    for name in () if has_rates else metrics.get("left_out", {}):
        table.add_row(name, "", "", "", "too few pairs")
    console = Console(width=110, file=sys.stdout, color_system=None, markup=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def title(metrics: Metrics) -> str:
    classes = "classes not seen in training" if metrics["open"] else "held-out images of the training classes"
    return f"{metrics['run']}: scores on {metrics['split']}, {classes}"


def ending(run: Run, metrics: Metrics) -> str:
    lines = (
        [f"trained in {metrics['seconds']:.1f} s at {metrics['images_per_s']:,.0f} images/s"]
        if metrics.get("seconds")
        else []
    )
    data = metrics["data"]
    of = {"train": data["train"], "val": data["val"], "test": data["test"]}.get(metrics["split"], 0)
    for kind, n in metrics.get("queries_without_positives", {}).items():
        lines.append(left_out(n, of, WITHOUT_POSITIVES[kind]).rstrip())
    if text := counted(data):
        lines.append(f"decisions applied: {text}")
    if (run.path / "skipped.csv").exists():
        lines.append(f"images left out: {run.path / 'skipped.csv'}")
    if run.report.exists():
        made = [name for name in ("map", "audit", "doctor") if (run.path / f"{name}.html").exists()]
        linked = f" (it links to {', '.join(made)})" if made else ""
        lines.append(f"report: {run.report}{linked}")
    return "\n".join(lines)

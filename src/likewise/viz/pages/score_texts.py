"""What a score says, in words: for each name a title, a sentence with the number in it, and what the number means."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from likewise.viz.plots.style import decimal

__all__ = ["CURVES", "HEADLINES", "ScoreText", "interval", "number", "percent", "say", "title"]

PERCENT = "\N{NO-BREAK SPACE}%"

# Sources whose pictures have a name of their own; all others hold "pictures".
NOUNS = {"digits": "digits", "mnist": "digits", "omniglot": "characters", "faces": "faces"}

# What a calibration is called.
CURVES = {"platt": "a logistic curve (Platt)", "isotonic": "a rising curve of steps (isotonic regression)"}

# The scores told first: of each row the first that was measured.
HEADLINES = (
    ("knn@1", "recall@1"),
    ("map@r", "r_precision"),
    ("silhouette", "silhouette_simplified", "ami"),
    ("pair_accuracy", "pair_auc"),
    ("few_shot",),
)


@dataclass(frozen=True)
class ScoreText:
    """How to say one score; `{v}` is its value, `{noun}` the pictures, further fields come out of its name."""

    title: str
    sentence: str
    meaning: str
    counted: str = "pictures"
    share: bool = True  # a share of something, said in per cent
    bottom: float = 0.0  # of its scale; the top is 1


OPEN_KNN = ScoreText(
    "Nearest neighbour, new classes",
    "{v} of held-out {noun} are most similar to a picture of their own class.",
    "Each test picture takes the class of the most similar other test picture. "
    "None of the test classes was seen in training, so this tests what the network learned in general.",
)

SAYINGS: dict[str, ScoreText] = {
    "knn@1": ScoreText(
        "Nearest neighbour",
        "{v} of held-out {noun} are named correctly by their nearest training neighbour.",
        "Each test picture takes the class of the one training picture that the embedding places closest to it.",
    ),
    "knn@": ScoreText(
        "Vote of {k} neighbours",
        "{v} of held-out {noun} are named correctly by a vote of their {k} nearest neighbours.",
        "As the nearest neighbour, but {k} of them vote, so that a single odd picture weighs less.",
    ),
    "recall@1": ScoreText(
        "Recall at 1",
        "{v} of held-out {noun} find a picture of their own class in first place.",
        "Retrieval: all other test pictures are ordered by similarity, and the first is of the right class.",
    ),
    "recall@": ScoreText(
        "Recall at {k}",
        "{v} of held-out {noun} find a picture of their own class among the first {k}.",
        "Retrieval: all other test pictures are ordered by similarity; one of the right class among {k} is enough.",
    ),
    "precision@": ScoreText(
        "Precision at {k}",
        "{v} of the {k} most similar pictures are of the query's class, on average.",
        "Retrieval: how much of a first page of {k} results is right.",
    ),
    "r_precision": ScoreText(
        "R-precision",
        "{v} of the first R results are right, where R is how many there are to find.",
        "1 means that every picture of the query's class comes before any picture of another.",
    ),
    "map@r": ScoreText(
        "MAP@R",
        "Retrieval reaches {v} of a perfect order (MAP@R).",
        "Of the first R results, R being how many there are to find, it counts how many are right and how early they "
        "come. It is stricter than recall: one good hit is not enough.",
    ),
    "knn_weighted@": ScoreText(
        "Weighted vote of {k}",
        "{v} of held-out {noun} are named correctly by a vote of {k} neighbours in which the nearer count more.",
        "Each neighbour's vote weighs exp(similarity / 0.07).",
    ),
    "centroid": ScoreText(
        "Nearest class mean",
        "{v} of held-out {noun} lie nearest to the mean of their own class.",
        "Each class is one point, the mean of its training pictures: right where classes are compact.",
    ),
    "probe": ScoreText(
        "Linear probe",
        "{v} of held-out {noun} are named correctly by a linear classifier on the embedding.",
        "Logistic regression on the embedding: how far straight borders part the classes.",
    ),
    "silhouette": ScoreText(
        "Silhouette",
        "The mean silhouette is {v}, on a scale from −1 to 1.",
        "1: classes are tight and far apart. 0: they touch. Below 0: pictures lie nearer to another class.",
        share=False,
        bottom=-1.0,
    ),
    "silhouette_simplified": ScoreText(
        "Silhouette, simplified",
        "The mean simplified silhouette is {v}, on a scale from −1 to 1.",
        "By distances to class means, since there are too many pictures for all pairs. It is mostly higher than the "
        "silhouette, and not to be compared with it.",
        share=False,
        bottom=-1.0,
    ),
    "nmi": ScoreText(
        "NMI of k-means",
        "Clusters found without labels share {v} of their information with the classes (NMI).",
        "k-means on the embedding. Not corrected for chance: with many classes even random clusters score above 0.",
    ),
    "ami": ScoreText(
        "AMI of k-means",
        "Clusters found without labels agree with the classes to {v} (AMI).",
        "k-means on the embedding, corrected for chance: 0 is what random clusters reach, 1 is the same grouping.",
        share=False,
    ),
    "ari": ScoreText(
        "ARI of k-means",
        "Clusters found without labels agree with the classes on pairs of pictures to {v} (ARI).",
        "The Rand index of k-means on the embedding, corrected for chance: 0 is random, 1 is the same grouping.",
        share=False,
        bottom=-1.0,
    ),
    "purity": ScoreText(
        "Purity of k-means",
        "{v} of held-out {noun} are of the commonest class of their cluster.",
        "k-means on the embedding, as many clusters as classes. Not corrected for chance.",
    ),
    "pair_auc": ScoreText(
        "Pair AUC",
        "In {v} of cases a same-class pair is more similar than a different-class pair.",
        "Area under the ROC curve of pairs: no threshold is needed, 50 % is guessing.",
        counted="pairs",
    ),
    "pair_accuracy": ScoreText(
        "Pair accuracy",
        "{v} of test pairs are called same or different correctly.",
        "At the threshold that was chosen on other pairs; 50 % is guessing.",
        counted="pairs",
    ),
    "eer": ScoreText(
        "Equal error rate",
        "With a threshold at which both errors are equal, {v} of pairs of either kind are judged wrong.",
        "The lower the better; 50 % is guessing. The threshold is read off the test pairs themselves.",
        counted="pairs",
    ),
    "tar@far=": ScoreText(
        "TAR at FAR {k}",
        "{v} of same-class pairs are accepted when at most {k} of different-class pairs may be.",
        "The figure of merit of verification: how many are let in when few strangers may be.",
        counted="pairs",
    ),
    "pair_precision": ScoreText(
        "Precision of pairs",
        "{v} of the pairs that are called the same are the same.",
        "At the same threshold, on as many pairs of one class as of two; where few pairs are the same, it is lower.",
        counted="pairs",
    ),
    "pair_recall": ScoreText(
        "Recall of pairs",
        "{v} of the pairs that are the same are called so.",
        "At the same threshold.",
        counted="pairs",
    ),
    "pair_f1": ScoreText(
        "F1 of pairs",
        "Precision and recall of pairs come to an F1 of {v}.",
        "Their harmonic mean: near the lower of the two.",
        counted="pairs",
    ),
    "brier": ScoreText(
        "Brier score",
        "The probabilities of being the same have a Brier score of {v}.",
        "Mean squared distance from what is true: 0 is certain and right, 0.25 is always saying one half.",
        counted="pairs",
        share=False,
    ),
    "ece": ScoreText(
        "Calibration error",
        "The probabilities of being the same are off by {v} on average (ECE).",
        "Of pairs said to be the same with 80 % probability, 80 % should be. Few pairs make it look larger than it is.",
        counted="pairs",
    ),
    "dir@far=": ScoreText(
        "DIR at FAR {k}",
        "{v} of queries of enrolled classes are named correctly when at most {k} of unknown queries may be named.",
        "Open-set identification: each query is tried as it is, and again with its own class taken out of the "
        "references.",
        counted="queries",
    ),
    "oscr": ScoreText(
        "OSCR",
        "Over all false accept rates, {v} of queries of enrolled classes are named correctly (OSCR).",
        "Area under the open-set curve: 1 needs every query named correctly and every unknown one rejected.",
        counted="queries",
    ),
    "few_shot@": ScoreText(
        "{k}-way, {shots}-shot",
        "{v} are right when one of {k} classes is to be named from {shots} example(s) of each.",
        "Few-shot classification over many drawn tasks.",
        counted="queries",
    ),
    "one_shot_error": ScoreText(
        "Error, one shot of 20",
        "In {v} of the official trials the character picked out of 20, seen once each, is the wrong one.",
        "The lower the better: people err in 4.5 % of these trials, guessing in 95 % (Lake et al., 2015).",
        counted="trials",
    ),
}  # fmt: skip


def title(name: str, *, open_set: bool = False) -> str:
    """The score's name as a reader sees it."""
    saying, fields = _find(name, open_set)
    return saying.title.format(**fields)


def say(name: str, score: Mapping[str, Any], *, data: str = "", open_set: bool = False) -> tuple[str, str] | None:
    """The sentence with value, interval and count, and its meaning; None for a score without words or without value."""
    saying, fields = _find(name, open_set)
    if not saying.sentence or not math.isfinite(score["value"]):
        return None
    sentence = saying.sentence.format(v=number(name, score["value"]), noun=NOUNS.get(data, "pictures"), **fields)
    facts = [f"95 % interval {interval(name, score)}"] if interval(name, score) else []
    facts += [f"{score['n']:,} {saying.counted}"] if score.get("n") else []
    behind = f" ({', '.join(facts)})" if facts else ""
    return f"{sentence[:-1]}{behind}.", saying.meaning.format(**fields)


def number(name: str, value: float) -> str:
    """A value as it is said: a share in per cent, anything else to three places."""
    return percent(value) if _find(name)[0].share else decimal(value, 3)


def interval(name: str, score: Mapping[str, Any]) -> str:
    """`97.0 to 99.0`, or nothing where there is none."""
    low, high = score.get("low"), score.get("high")
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{number(name, low).removesuffix(PERCENT)} to {number(name, high).removesuffix(PERCENT)}"


def aim(target: str) -> str:
    """What a threshold was chosen for."""
    if target.startswith("far="):
        return f"the most same-class pairs accepted at no more than {float(target[4:]):.3g} of the others"
    if target.startswith("precision="):
        return f"the most same-class pairs accepted while {float(target[10:]):.3g} of what is accepted is the same"
    return {
        "accuracy": "as many pairs judged right as possible",
        "eer": "both kinds of error equally frequent",
        "f1": "the highest F1",
    }.get(target, target)


def scale(name: str) -> tuple[float, float]:
    """The lowest and the highest value that the score can take."""
    return _find(name)[0].bottom, 1.0


def percent(share: float, places: int = 1) -> str:
    return f"{100 * share:.{places}f}{PERCENT}"


def _find(name: str, open_set: bool = False) -> tuple[ScoreText, dict[str, str]]:
    """The saying of a name and its fields: `knn@5` is `knn@` with k=5, `tar@far=0.01` is `tar@far=` with k=1 %."""
    if name == "knn@1" and open_set:
        return OPEN_KNN, {}
    if name in SAYINGS:
        return SAYINGS[name], {}
    if found := re.fullmatch(r"few_shot@(\d+)w(\d+)s", name):
        return SAYINGS["few_shot@"], {"k": found[1], "shots": found[2]}
    if found := re.fullmatch(r"((?:tar|dir)@far=)([\d.e-]+)", name):
        return SAYINGS[found[1]], {"k": f"{100 * float(found[2]):g} %"}
    if found := re.fullmatch(r"(\w+@)(\d+)", name):
        return SAYINGS.get(found[1], ScoreText(name, "", "", share=False)), {"k": found[2]}
    return ScoreText(name.replace("{", "{{").replace("}", "}}"), "", "", share=False), {}

"""Texts for scores: a title, a sentence with the value, and its meaning, for each score name."""

import math
import re
from dataclasses import dataclass

from likewise.safety.bounds import Record
from likewise.viz.plots.style import decimal

__all__ = ["CURVES", "HEADLINES", "ScoreText", "interval", "number", "percent", "sentence", "text_of", "title"]

PERCENT = "\N{NO-BREAK SPACE}%"

# What the images of a source show; "images" for all others.
NOUNS = {"digits": "digits", "mnist": "digits", "omniglot": "characters", "faces": "faces", "signatures": "signatures"}

# Names of the calibration curves.
CURVES = {"platt": "a logistic curve (Platt scaling)", "isotonic": "isotonic regression"}

# Headline scores: the first measured score of each row.
HEADLINES = (
    ("knn@1", "recall@1"),
    ("map@r", "r_precision"),
    ("silhouette", "silhouette_simplified", "ami"),
    ("pair_accuracy", "pair_auc"),
    ("few_shot",),
)


@dataclass(frozen=True)
class ScoreText:
    """Texts of a score; `{v}` is its value, `{noun}` the kind of image, further fields are parsed from its name."""

    title: str
    sentence: str
    meaning: str
    counted: str = "images"
    share: bool = True  # shown in per cent
    bottom: float = 0.0  # lower end of the scale; the upper end is 1


OPEN_SET_KNN = ScoreText(
    "1-NN, new classes",
    "{v} of held-out {noun} have a nearest neighbour of their own class.",
    "Each test image is assigned the class of the most similar other test image. "
    "The test classes were not seen in training, so this measures generalisation to new classes.",
)

SCORE_TEXTS: dict[str, ScoreText] = {
    "knn@1": ScoreText(
        "Nearest neighbour",
        "1-NN accuracy: {v} of held-out {noun} have a nearest training image of their own class.",
        "Each test image is assigned the class of its most similar training image.",
    ),
    "knn@": ScoreText(
        "{k}-NN",
        "{k}-NN accuracy: {v} of held-out {noun} are classified correctly by a vote of {k} neighbours.",
        "As 1-NN, with a majority vote of {k} neighbours, which is less sensitive to single outliers.",
    ),
    "recall@1": ScoreText(
        "Recall at 1",
        "{v} of held-out {noun} have an image of their own class at rank 1.",
        "Retrieval: the other test images are ranked by similarity; the first is of the query's class.",
    ),
    "recall@": ScoreText(
        "Recall at {k}",
        "{v} of held-out {noun} have an image of their own class among the first {k}.",
        "Retrieval: the other test images are ranked by similarity; one hit among the first {k} is enough.",
    ),
    "precision@": ScoreText(
        "Precision at {k}",
        "{v} of the {k} most similar images are of the query's class, on average.",
        "Retrieval: the share of relevant images among the first {k} results.",
    ),
    "r_precision": ScoreText(
        "R-precision",
        "{v} of the first R results are relevant, where R is the number of relevant images.",
        "1 means that all images of the query's class are ranked before all others.",
    ),
    "map@r": ScoreText(
        "MAP@R",
        "Mean average precision at R (MAP@R) is {v}.",
        "Counts how many of the first R results are relevant and how early they come, R being the number of relevant "
        "images. Stricter than recall, where one hit is enough.",
    ),
    "knn_weighted@": ScoreText(
        "Weighted {k}-NN",
        "{v} of held-out {noun} are classified correctly by a similarity-weighted vote of {k} neighbours.",
        "Each neighbour's vote weighs exp(similarity / 0.07).",
    ),
    "centroid": ScoreText(
        "Nearest class mean",
        "{v} of held-out {noun} are nearest to the mean of their own class.",
        "Each class is represented by the mean of its training images; suits compact classes.",
    ),
    "probe": ScoreText(
        "Linear probe",
        "{v} of held-out {noun} are classified correctly by a linear classifier on the embedding.",
        "Logistic regression on the embedding: measures linear separability.",
    ),
    "silhouette": ScoreText(
        "Silhouette",
        "The mean silhouette is {v}, on a scale from −1 to 1.",
        "1: classes are tight and far apart. 0: they touch. Below 0: images are closer to another class.",
        share=False,
        bottom=-1.0,
    ),
    "silhouette_simplified": ScoreText(
        "Silhouette, simplified",
        "The mean simplified silhouette is {v}, on a scale from −1 to 1.",
        "Uses distances to class means, because there are too many images for all pairs. It is mostly higher than the "
        "silhouette and must not be compared with it.",
        share=False,
        bottom=-1.0,
    ),
    "nmi": ScoreText(
        "NMI of k-means",
        "Normalised mutual information of k-means clusters and classes is {v} (NMI).",
        "k-means on the embedding. Not corrected for chance: with many classes even random clusters score above 0.",
    ),
    "ami": ScoreText(
        "AMI of k-means",
        "Adjusted mutual information of k-means clusters and classes is {v} (AMI).",
        "k-means on the embedding, corrected for chance: 0 is random, 1 is the same grouping.",
        share=False,
    ),
    "ari": ScoreText(
        "ARI of k-means",
        "Adjusted Rand index of k-means clusters and classes is {v} (ARI).",
        "The Rand index of k-means on the embedding, corrected for chance: 0 is random, 1 is the same grouping.",
        share=False,
        bottom=-1.0,
    ),
    "purity": ScoreText(
        "Purity of k-means",
        "{v} of held-out {noun} belong to the majority class of their cluster.",
        "k-means on the embedding, as many clusters as classes. Not corrected for chance.",
    ),
    "pair_auc": ScoreText(
        "Pair AUC",
        "A same-class pair is more similar than a different-class pair in {v} of cases.",
        "Area under the ROC curve of pairs, without a threshold; chance level is 50 %.",
        counted="pairs",
    ),
    "pair_accuracy": ScoreText(
        "Pair accuracy",
        "{v} of test pairs are classified correctly as same or different.",
        "At the threshold chosen on validation pairs; chance level is 50 %.",
        counted="pairs",
    ),
    "eer": ScoreText(
        "Equal error rate",
        "At the threshold with equal error rates, {v} of same and of different pairs are misclassified.",
        "Lower is better; chance level is 50 %. The threshold is chosen on the test pairs themselves.",
        counted="pairs",
    ),
    "tar@far=": ScoreText(
        "TAR at FAR {k}",
        "{v} of same-class pairs are accepted if at most {k} of different-class pairs are.",
        "True accept rate at a fixed false accept rate, the standard verification score.",
        counted="pairs",
    ),
    "pair_precision": ScoreText(
        "Precision of pairs",
        "{v} of the pairs classified as same are same-class pairs.",
        "At the same threshold, with equally many same and different pairs; lower if same pairs are rarer.",
        counted="pairs",
    ),
    "pair_recall": ScoreText(
        "Recall of pairs",
        "{v} of the same-class pairs are classified as same.",
        "At the same threshold.",
        counted="pairs",
    ),
    "pair_f1": ScoreText(
        "F1 of pairs",
        "The F1 score of pairs is {v}.",
        "Harmonic mean of precision and recall.",
        counted="pairs",
    ),
    "brier": ScoreText(
        "Brier score",
        "The predicted pair probabilities have a Brier score of {v}.",
        "Mean squared error of the probabilities: 0 is perfect, 0.25 is always predicting one half.",
        counted="pairs",
        share=False,
    ),
    "ece": ScoreText(
        "Calibration error",
        "The expected calibration error of the pair probabilities is {v} (ECE).",
        "Of pairs with a predicted probability of 80 %, 80 % should be the same. Biased upwards for few pairs.",
        counted="pairs",
    ),
    "dir@far=": ScoreText(
        "DIR at FAR {k}",
        "{v} of queries of enrolled classes are named correctly when at most {k} of unknown queries may be named.",
        "Open-set identification: each query is tried as it is, and again with its own class taken out of the "
        "references. Where the classes were trained on, that is optimistic for new ones, until `likewise calibrate "
        "RUN` has trained without them: the caveats say which it is.",
        counted="queries",
    ),
    "oscr": ScoreText(
        "OSCR",
        "Over all false accept rates, {v} of queries of enrolled classes are named correctly (OSCR).",
        "Area under the open-set curve: 1 needs every query named correctly and every unknown one rejected. Where the "
        "classes were trained on, that is optimistic for new ones, until `likewise calibrate RUN` has trained without "
        "them: the caveats say which it is.",
        counted="queries",
    ),
    "few_shot@": ScoreText(
        "{k}-way, {shots}-shot",
        "{v} of queries are classified correctly among {k} classes with {shots} example(s) each.",
        "Few-shot classification over many random tasks.",
        counted="queries",
    ),
    "one_shot_error": ScoreText(
        "Error, one shot of 20",
        "The wrong one of 20 characters, with one example each, is chosen in {v} of the official trials.",
        "Lower is better: humans have 4.5 %, chance level is 95 % (Lake et al., 2015).",
        counted="trials",
    ),
}  # fmt: skip


def title(name: str, *, open_set: bool = False) -> str:
    """Display title of a score."""
    text, fields = text_of(name, open_set)
    return text.title.format(**fields)


def sentence(name: str, score: Record, *, data: str = "", open_set: bool = False) -> tuple[str, str] | None:
    """Sentence with value, interval and count, and its meaning; None without texts or a finite value."""
    text, fields = text_of(name, open_set)
    if not text.sentence or not math.isfinite(score["value"]):
        return None
    words = text.sentence.format(v=number(name, score["value"]), noun=NOUNS.get(data, "images"), **fields)
    facts = [f"95 % interval {interval(name, score)}"] if interval(name, score) else []
    facts += [f"{score['n']:,} {text.counted}"] if score.get("n") else []
    behind = f" ({', '.join(facts)})" if facts else ""
    return f"{words[:-1]}{behind}.", text.meaning.format(**fields)


def number(name: str, value: float) -> str:
    """Format a value: shares in per cent, others with three decimals."""
    return percent(value) if text_of(name)[0].share else decimal(value, 3)


def interval(name: str, score: Record) -> str:
    """`97.0 to 99.0`, or an empty string without an interval."""
    low, high = score.get("low"), score.get("high")
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{number(name, low).removesuffix(PERCENT)} to {number(name, high).removesuffix(PERCENT)}"


def aim(target: str) -> str:
    """The criterion that a threshold was chosen by."""
    if target.startswith("far="):
        return f"the highest true accept rate at a false accept rate of at most {float(target[4:]):.3g}"
    if target.startswith("precision="):
        return f"the highest recall at a precision of at least {float(target[10:]):.3g}"
    return {
        "accuracy": "the highest accuracy",
        "eer": "equal error rates",
        "f1": "the highest F1",
    }.get(target, target)


def scale(name: str) -> tuple[float, float]:
    """Lower and upper end of the score's scale."""
    return text_of(name)[0].bottom, 1.0


def percent(share: float, places: int = 1) -> str:
    return f"{100 * share:.{places}f}{PERCENT}"


def text_of(name: str, open_set: bool = False) -> tuple[ScoreText, dict[str, str]]:
    """Texts of a score name and its fields: `knn@5` is `knn@` with k=5, `tar@far=0.01` is `tar@far=` with k=1 %."""
    if name == "knn@1" and open_set:
        return OPEN_SET_KNN, {}
    if name in SCORE_TEXTS:
        return SCORE_TEXTS[name], {}
    if match := re.fullmatch(r"few_shot@(\d+)w(\d+)s", name):
        return SCORE_TEXTS["few_shot@"], {"k": match[1], "shots": match[2]}
    if match := re.fullmatch(r"((?:tar|dir)@far=)([\d.e-]+)", name):
        return SCORE_TEXTS[match[1]], {"k": f"{100 * float(match[2]):g} %"}
    if match := re.fullmatch(r"(\w+@)(\d+)", name):
        return SCORE_TEXTS.get(match[1], ScoreText(name, "", "", share=False)), {"k": match[2]}
    return ScoreText(name.replace("{", "{{").replace("}", "}}"), "", "", share=False), {}

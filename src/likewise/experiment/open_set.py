"""Open-set scores of a run whose scored classes were trained on: by trainings without them, or marked as optimistic."""

import json
from collections.abc import Mapping

from likewise import spec
from likewise.embeddings import Embeddings
from likewise.evaluate.identification import identify_left_out
from likewise.experiment.left_out import FEWEST, complete, left_out
from likewise.experiment.records import ScoreRecord, as_record
from likewise.experiment.run import Run

__all__ = ["OF_OPEN_SET", "TRAINED_ON", "is_open_set_score", "open_set_scores", "rescore", "trained_on"]

OF_OPEN_SET = "dir@far and oscr: "  # how a caveat of these scores begins
TRAINED_ON = (
    f"{OF_OPEN_SET}the unknown queries are of classes that the network was trained on, which it keeps further apart "
    "than new ones, so these scores are optimistic"
)


def is_open_set_score(name: str) -> bool:
    return name == "oscr" or name.startswith("dir@far=")


def trained_on(run: Run, classes: int) -> str:
    """The caveat of open-set scores by classes that the network was trained on, with what to do."""
    if classes < FEWEST:
        return f"{TRAINED_ON}; trainings without some of the classes would tell, and {classes} classes are too few"
    if complete(run):
        return f"{TRAINED_ON}; the trainings without some of the classes have no validation images: train with val=0.1"
    return f"{TRAINED_ON}; `likewise calibrate RUN` scores them by trainings without some of the classes"


def open_set_scores(
    run: Run, scores: Mapping[str, ScoreRecord], classes: int
) -> tuple[dict[str, ScoreRecord], list[str]]:
    """Scores of a closed set of so many classes, and what is to be said of the open-set ones among them.

    Where `likewise calibrate` has trained the recipe without some of the classes, these come from there.
    """
    if not any(map(is_open_set_score, scores)):
        return dict(scores), []
    folds = left_out(run)
    of_folds = identify_left_out(folds, sim=spec.bind("sim", run.recipe.sim), seed=run.recipe.split_seed)
    if not of_folds:
        return dict(scores), [trained_on(run, classes)]
    others = {name: score for name, score in scores.items() if not is_open_set_score(name)}
    return others | {name: as_record(score) for name, score in of_folds.items()}, [source(folds)]


def source(folds: list[Embeddings]) -> str:
    """What open-set scores of left-out classes are of."""
    unknown, known = (sum(len(fold.part(part)) for fold in folds) for part in ("test", "val"))
    classes = len({label for fold in folds for label in fold.part("test").labels.tolist()})
    return (
        f"{OF_OPEN_SET}these are not of this network but of {len(folds)} trainings of its recipe, each without some of "
        f"the classes: {unknown:,} images of {classes:,} classes as unknown queries, and {known:,} validation images "
        "as known ones"
    )


def rescore(run: Run) -> None:
    """Take the open-set scores of metrics.json from the trainings without some of the classes, where there are any."""
    record = run.metrics()
    if record["open"]:
        return
    scores, sentences = open_set_scores(run, record["scores"], record["data"]["classes"])
    rest = [caveat for caveat in record.get("caveats") or [] if not caveat.startswith(OF_OPEN_SET)]
    run.write("metrics.json", json.dumps({**record, "scores": scores, "caveats": sentences + rest}, indent=1))

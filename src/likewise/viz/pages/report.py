"""report.html: one offline file with the scores, training curves, maps and errors of a run."""

import os
import shlex
from pathlib import Path

from likewise.atomic import replacing
from likewise.data.images import Images
from likewise.viz.pages import (
    baselines,
    batch,
    cases,
    charts,
    class_matrix,
    data_section,
    embedding_state,
    scores,
    sizes,
    threshold,
)
from likewise.viz.pages.document import document
from likewise.viz.pages.html import Html, tag
from likewise.viz.pages.run_data import RunData, read
from likewise.viz.pages.workspace import head

__all__ = ["write_report"]

# Anchor, heading and builder of each section, in page order. Empty sections are omitted.
PARTS = (
    ("errors", "Worst errors", cases.worst_errors),
    ("confusions", "Confused classes", cases.confusions),
    ("matrix", "Class against class", class_matrix.matrices),
    ("classes", "Class by class", cases.class_table),
    ("threshold", "Threshold", threshold.threshold),
    ("neighbours", "Nearest neighbours", cases.neighbours),
    ("scores", "Scores", scores.scores),
    ("without-training", "Without training", baselines.baselines),
    ("bytes", "Accuracy per byte", sizes.accuracy_per_byte),
    ("data", "Images of each part", data_section.images_of_parts),
    ("map", "Map of the embedding", charts.embedding_map),
    ("before-after", "Before and after training", charts.before_after),
    ("silhouette", "Silhouette of each class", charts.silhouette),
    ("training", "Training", charts.training),
    ("batch", "A batch in training", batch.batch),
    ("health", "State of the embedding", embedding_state.state),
    ("skipped", "Images left out", cases.skipped),
)


def write_report(run_folder: str | os.PathLike, images: Images | None = None) -> Path:
    """Write report.html into the run folder, atomically, and its figures as PNG into plots/.

    images: for thumbnails of neighbours and errors; without it the report shows ids.
    Errors: ValueError if the folder is not a run.
    """
    m = read(Path(run_folder), images)
    text = page(m)
    with replacing(m.run.report) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return m.run.report


def page(m: RunData) -> str:
    """The whole document."""
    made = [(anchor, heading, make(m)) for anchor, heading, make in PARTS]
    parts = [(anchor, heading, content) for anchor, heading, content in made if content]
    parts.append(("recipe", "Recipe", _recipe(m)))
    facts = [scores.summary(m), *scores.tiles(m)]
    return document(m.run.name, "Likewise report", facts, parts, top=head(m.run, "report.html"))


def _recipe(m: RunData) -> list[Html]:
    """The recipe as trained, and the commands to repeat it."""
    above, name = m.run.path.resolve().parent.name, m.run.name
    recipe, folder = (shlex.quote(f"{above}/{name}{file}") for file in ("/recipe.toml", ""))
    again = f"likewise train {recipe} --name {shlex.quote(name + '-again')}\nlikewise report {folder}"
    text = f"To train it again, and to rebuild this page, from the folder that contains {above}:"
    return [
        scores.facts(m),
        tag("p", text),
        tag("pre", again),
        tag("pre", m.run.recipe_file.read_text(encoding="utf-8")),
    ]

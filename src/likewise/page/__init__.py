"""report.html: one file that opens anywhere, without a network, and shows what a run learned and where it fails."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from likewise.data.images import Images
from likewise.page import batch, cases, charts, health, scores
from likewise.page.html import Html, tag
from likewise.page.material import Material, read
from likewise.run import replacing

__all__ = ["document", "write_report"]

# Anchor, heading and maker of each part, in the order of the page. A part with nothing to show is left out.
PARTS = (
    ("scores", "Scores", scores.scores),
    ("training", "Training", charts.training),
    ("batch", "A batch in training", batch.batch),
    ("map", "Map of the embedding", charts.embedding_map),
    ("before-after", "Before and after training", charts.before_after),
    ("neighbours", "Nearest neighbours", cases.neighbours),
    ("errors", "Worst errors", cases.worst_errors),
    ("confusions", "Confused classes", cases.confusions),
    ("silhouette", "Silhouette of each class", charts.silhouette),
    ("health", "State of the embedding", health.state),
    ("pairs", "Similarity of pairs", charts.pair_similarities),
    ("classes", "Class by class", cases.class_table),
    ("skipped", "Pictures left out", cases.skipped),
)


def write_report(run_folder: str | os.PathLike, images: Images | None = None) -> Path:
    """Write report.html into the run folder, whole or not at all, and its figures as PNG into plots/.

    `images` gives the pictures of neighbours and errors; without it their ids stand in their place.
    Errors: ValueError when the folder is not a run.
    """
    m = read(Path(run_folder), images)
    text = page(m)
    with replacing(m.run.report) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return m.run.report


def page(m: Material) -> str:
    """The whole document."""
    made = [(anchor, heading, make(m)) for anchor, heading, make in PARTS]
    parts = [(anchor, heading, content) for anchor, heading, content in made if content]
    parts.append(("recipe", "Recipe", _recipe(m)))
    return document(m.run.name, "Likewise report", [scores.facts(m)], parts)


def document(
    title: str,
    kicker: str,
    facts: Sequence[Html],
    parts: Sequence[tuple[str, str, Sequence[Html]]],
    *,
    head: Sequence[Html] = (),
) -> str:
    """A page with a heading, its contents, and its parts: anchor, heading and content of each.

    head: goes into <head>.
    """
    links = [tag("a", heading, href=f"#{anchor}") for anchor, heading, _ in parts]
    top = tag("header", tag("p", kicker, class_="kicker"), tag("h1", title), *facts)
    nav = [tag("nav", *links, aria_label="Contents")] if len(links) > 1 else []
    body = [tag("section", tag("h2", heading), *content, id=anchor) for anchor, heading, content in parts]
    return "<!doctype html>\n" + tag(
        "html",
        _head(f"{title} · {kicker}", *head),
        tag("body", top, *nav, tag("main", *body)),
        lang="en",
    )


def _head(title: str, *more: Html) -> Html:
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Html(style)),
        *more,
    )


def _recipe(m: Material) -> list[Html]:
    """The recipe as it was run, and how to run it again."""
    above, name = m.run.path.resolve().parent.name, m.run.name
    recipe, folder = (shlex.quote(f"{above}/{name}{file}") for file in ("/recipe.toml", ""))
    again = f"likewise train {recipe} --name {shlex.quote(name + '-again')}\nlikewise report {folder}"
    says = f"To train it again, and to write this page again, from the folder that holds {above}:"
    return [tag("p", says), tag("pre", again), tag("pre", m.run.recipe.read_text(encoding="utf-8"))]

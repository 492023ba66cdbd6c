"""The head that all pages of a run share: the verdict, and links to one another."""

import re
from functools import partial
from pathlib import Path

from likewise.atomic import replacing
from likewise.doctor.verdict import Verdict
from likewise.experiment.run import Run
from likewise.experiment.verdict import typed, verdict_of
from likewise.viz.pages.html import Html, join, tag

__all__ = ["COMPARISON", "FLIPS", "PAGES", "grade_mark", "head", "is_current", "relink", "verdict_box"]

# file: (title, the command that writes it)
PAGES = {
    "report.html": ("Report", "report"),
    "map.html": ("Map", "map"),
    "audit.html": ("Audit", "audit"),
    "doctor.html": ("Doctor", "doctor"),
}
FLIPS = "flips.html"  # of two runs or epochs; only where it was asked for
COMPARISON = "../../compare.html"  # of a run that a comparison has trained
BEGIN, END = "<!--workspace-->", "<!--/workspace-->"
HEAD = 100_000  # characters within which a page begins
MOST = 64 * 1024 * 1024  # bytes of a page that is read again
MARKS = {"good": "✓", "doubtful": "?", "bad": "✗"}


def head(run: Run, here: str, verdict: Verdict | None = None) -> Html:
    """Links to the pages of the run and the verdict, between marks by which `relink` finds them."""
    box = []
    if run.metrics_file.exists():
        box = [verdict_box(verdict or verdict_of(run), run, folded=here != "report.html")]
    return join(Html(BEGIN), links(run, here), *box, Html(END))


def links(run: Run, here: str) -> Html:
    """The pages that are there, the current one marked, and how to make the others."""
    items, missing = [], []
    for file, (title, command) in PAGES.items():
        if file == here or (run.path / file).is_file():
            items.append(tag("a", title, href=file, aria_current="page" if file == here else None))
        else:
            missing.append(tag("code", f"likewise {command} {typed(run)}"))
    if here == FLIPS or (run.path / FLIPS).is_file():
        items.append(tag("a", "Flips", href=FLIPS, aria_current="page" if here == FLIPS else None))
    if in_comparison(run):
        items.append(tag("a", "Comparison", href=COMPARISON))
    bar = tag(
        "header",
        tag("span", "Likewise", class_="brand"),
        tag("span", run.name, class_="run"),
        tag("nav", *items, aria_label="Pages of this run"),
        class_="workspace",
    )
    if not missing:
        return bar
    hint = [part for one in missing for part in (" · ", one)][1:]
    return join(bar, tag("aside", "Not made yet: ", *hint, class_="note missing", aria_label="missing pages"))


def in_comparison(run: Run) -> bool:
    """Whether the run is one of a comparison, whose page stands two folders above."""
    path = run.path.resolve()
    return path.parent.name == "runs" and (path.parent.parent / "compare.html").is_file()


def grade_mark(grade: str) -> Html:
    """The grade as a word with its sign, so that it is not told by colour alone."""
    return tag("span", f"{MARKS[grade]} {grade}", class_=f"grade {grade}")


def verdict_box(verdict: Verdict, run: Run, *, folded: bool) -> Html:
    """The grade, the strongest reason, the next two commands, and what else was found.

    folded: the commands and what else was found open by a click, as on every page but the report.
    """
    above = run.path.resolve().parent.name
    line = [grade_mark(verdict.grade), tag("span", f"{sentence(verdict.reason)}.", class_="reason")]
    commands = tag("pre", "\n".join(verdict.commands))
    more = [tag("p", f"Next, from the folder that contains {above}:", class_="note"), commands]
    if verdict.further:
        more.append(tag("ul", *(tag("li", f"{sentence(text)}.") for text in verdict.further)))
    inside = [tag("details", tag("summary", *line), *more)] if folded else [tag("p", *line, class_="line"), *more]
    return tag("section", *inside, class_=f"verdict {verdict.grade}", aria_label="Verdict")


def sentence(text: str) -> str:
    """With a capital at its beginning, unless it begins with the name of a score."""
    return text if {"@", "_", "="} & set(text.split(" ", 1)[0]) else text[:1].upper() + text[1:]


def relink(run: Run) -> None:
    """Bring the head of every page of the run up to date: what is there now, and the verdict as it is now."""
    verdict = verdict_of(run)
    for file in (*PAGES, FLIPS):
        path = run.path / file
        if not path.is_file() or path.is_symlink() or path.stat().st_size > MOST:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        new = re.sub(f"{BEGIN}.*?{END}", partial(again, run, file, verdict), text, count=1, flags=re.DOTALL)
        if new != text:
            replace(path, new)


def is_current(path: Path) -> bool:
    """Whether a page is there and has the common head; a page of an earlier version has none."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as page:
        return BEGIN in page.read(HEAD)


def again(run: Run, file: str, verdict: Verdict, _: re.Match[str]) -> str:
    return head(run, file, verdict)


def replace(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")

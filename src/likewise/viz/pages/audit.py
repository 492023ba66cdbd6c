"""audit.html: the findings of an audit with images, as one file that opens offline."""

from collections.abc import Iterator, Sequence
from itertools import islice

from likewise.atomic import replacing
from likewise.audit import TINY, Audit, Copy, Suspect
from likewise.data.images import Images
from likewise.experiment.run import Run
from likewise.viz.pages.decisions import decision_bar
from likewise.viz.pages.document import NOTHING, document
from likewise.viz.pages.html import Html, Thumbs, asset, script, scrolled, table, tag
from likewise.viz.pages.workspace import head

__all__ = ["write_audit"]

AGAINST = 8  # neighbours of a suspect on the page
MOST = 60  # findings of a kind on the page; audit.csv lists all


def write_audit(run: Run, result: Audit, images: Images | None) -> None:
    """Write audit.html into the run folder, atomically."""
    with replacing(run.path / "audit.html") as temporary:
        temporary.write_text(page(result, Thumbs(images), head(run, "audit.html")), encoding="utf-8")


def page(result: Audit, thumbs: Thumbs, top: Html = NOTHING) -> str:
    """The document; every section is present, with a sentence if it has no findings."""
    parts = [
        ("leak", "Leakage", leakage(result, thumbs)),
        ("labels", "Labels that are likely wrong", labels(result, thumbs)),
        ("copies", "Copies within a part", within(result, thumbs)),
        ("outliers", "Outliers", outliers(result, thumbs)),
        ("tiny", "Tiny classes", tiny(result)),
        ("broken", "Broken files", [*broken(result), script(asset("decide.js"))]),
    ]
    head = [tag("style", Html(asset("decide.css")))]
    return document(result.name, "Likewise audit", [facts(result), *decisions(result)], parts, head=head, top=top)


def facts(result: Audit) -> Html:
    counted = {
        "Images": f"{len(result.embeddings):,}",
        "Likely wrong labels": f"{len(result.suspects):,}",
        "Pairs of copies": "not searched" if result.copies is None else f"{len(result.copies):,}",
        "Leaked held-out images": f"{len(result.leaked):,}",
        "Outliers": f"{len(result.outliers):,}",
        "Broken files": f"{len(result.broken):,}",
    }
    pairs = (tag("div", tag("dt", name), tag("dd", value)) for name, value in counted.items())
    return tag("dl", *pairs, class_="facts")


def decisions(result: Audit) -> list[Html]:
    """The bar to walk the images and decide on each (decide.js)."""
    return decision_bar(result.name, result.embeddings.classes, "Walk the images with ← and → (or tap one) and decide")


def card(result: Audit, thumbs: Thumbs, at: int, note: str, kind: str = "", *, likely: str | None = "") -> Html:
    """An image with its class and a note below; it can be decided on unless `likely`, the likely class, is None."""
    name, file = result.label(at), result.embeddings.ids[at]
    labels = [tag("span", name, class_="name", title=name), tag("span", note, class_="sim")]
    class_ = f"card {kind}".strip()
    if likely is None:
        return tag("div", thumbs(file), *labels, class_=class_)
    labels.append(tag("span", class_="decided"))
    about = {"data_file": file, "data_class": name, "data_likely": likely, "tabindex": 0, "role": "group"}
    return tag("div", thumbs(file), *labels, class_=class_, aria_label=f"{file}, {name}", **about)


def leakage(result: Audit, thumbs: Thumbs) -> list[Html]:
    """The verdict in one sentence, then held-out images beside their near-duplicates in training."""
    across = [c for c in result.copies or () if result.crosses(c)]
    shown: list[Html] = [tag("p", tag("strong", result.leak))]
    if result.parts:
        shown.append(tag("p", f"Near-copies: {result.parts_text}."))
    if across:
        text = "Copies in two parts, the held-out one on the left; 1.000 means identical pixels."
        shown += [tag("p", text), *some((pair(result, thumbs, c) for c in across), len(across))]
    if result.scenes.leaks:
        text = "Shots of one scene, matched by their deviation from the class mean: held-out left, training right."
        shots = (
            tag(
                "div", card(result, thumbs, q, result.part(q)), card(result, thumbs, n, "train", "wrong"), class_="pair"
            )
            for q, n in result.scenes.pairs
        )
        shown += [tag("p", text), *some(shots, len(result.scenes.pairs))]
    return shown


def labels(result: Audit, thumbs: Thumbs) -> list[Html]:
    names = result.embeddings.classes
    if not result.suspects:
        return [tag("p", "None found: the neighbours of every image agree with its label.")]
    text = (
        "Left, the image with its label; right, the neighbours of another class, nearest first. The number is the "
        "confidence of the finding, 0 to 1. Check before you change a label: some are rare images with a right label."
    )
    rows = (
        tag(
            "div",
            tag(
                "div",
                card(result, thumbs, s.at, f"{result.part(s.at)} · {s.score:.3f}", likely=names[s.label]),
                class_="query",
            ),
            scrolled("neighbours", "nearest neighbours", *against(result, thumbs, s)),
            class_="row",
        )
        for s in result.suspects
    )
    return [tag("p", text), *some(rows, len(result.suspects), class_="queries")]


def against(result: Audit, thumbs: Thumbs, suspect: Suspect) -> Iterator[Html]:
    """The neighbours that contradict a label, the nearest AGAINST of them."""
    return (card(result, thumbs, n, result.part(n), "wrong", likely=None) for n in suspect.against[:AGAINST])


def within(result: Audit, thumbs: Thumbs) -> list[Html]:
    if result.copies is None:
        return [tag("p", "Not searched: the images are no longer at the place where the run was trained.")]
    inside = [c for c in result.copies if not result.crosses(c)]
    if not inside:
        return [tag("p", "None found.")]
    return [tag("p", "1.000 means identical pixels."), *some((pair(result, thumbs, c) for c in inside), len(inside))]


def pair(result: Audit, thumbs: Thumbs, copy: Copy) -> Html:
    held_out, other = sorted((copy.first, copy.second), key=lambda at: result.part(at) == "train")
    unlike = "wrong" if result.label(held_out) != result.label(other) else ""
    both = (card(result, thumbs, at, f"{result.part(at)} · {copy.likeness:.3f}", unlike) for at in (held_out, other))
    return tag("div", *both, class_="pair")


def outliers(result: Audit, thumbs: Thumbs) -> list[Html]:
    if not result.outliers:
        return [tag("p", "None found.")]
    cards = (card(result, thumbs, o.at, result.part(o.at)) for o in result.outliers)
    return [
        tag("p", "Images that resemble no other image, the most isolated first."),
        *some(cards, len(result.outliers)),
    ]


def tiny(result: Audit) -> list[Html]:
    if not result.tiny:
        return [tag("p", f"None: every training class has {TINY} training images or more.")]
    names = result.embeddings.classes
    text = f"Classes with fewer than {TINY} training images: too few to learn them, or to check their labels, reliably."
    return [tag("p", text), table(["Class", "Training images"], [(names[c], n) for c, n in result.tiny],
                                  numbers=[1])]  # fmt: skip


def broken(result: Audit) -> list[Html]:
    if not result.broken:
        return [tag("p", "None: all files were read.")]
    return [
        table(["File", "Why"], [(tag("code", name), why) for name, why in result.broken[:MOST]]),
        *rest(len(result.broken)),
    ]


def some(made: Iterator[Html], count: int, class_: str = "errors") -> list[Html]:
    """The first MOST items, and the number of further ones."""
    return [tag("div", *islice(made, MOST), class_=class_), *rest(count)]


def rest(count: int) -> Sequence[Html]:
    more = count - MOST
    return [tag("p", f"… and {more:,} more, listed in audit.csv.", class_="note")] if more > 0 else []

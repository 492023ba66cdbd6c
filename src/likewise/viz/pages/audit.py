"""audit.html: what an audit found, with pictures; one file that opens offline."""

from collections.abc import Iterator, Sequence
from itertools import islice

from likewise.atomic import replacing
from likewise.audit import TINY, Audit, Copy
from likewise.data.images import Images
from likewise.experiment.run import Run
from likewise.viz.pages.document import document
from likewise.viz.pages.html import Html, Thumbs, table, tag

__all__ = ["write_audit"]

MOST = 60  # of a kind on the page; audit.csv has them all


def write_audit(run: Run, told: Audit, images: Images | None) -> None:
    """audit.html in the run folder, whole or not at all."""
    with replacing(run.path / "audit.html") as temporary:
        temporary.write_text(page(told, Thumbs(images)), encoding="utf-8")


def page(told: Audit, thumbs: Thumbs) -> str:
    """The whole document; a part without findings says so."""
    parts = [
        ("leak", "Leakage", leakage(told, thumbs)),
        ("labels", "Labels that are likely wrong", labels(told, thumbs)),
        ("copies", "Copies within a part", within(told, thumbs)),
        ("outliers", "Outliers", outliers(told, thumbs)),
        ("tiny", "Tiny classes", tiny(told)),
        ("broken", "Broken files", broken(told)),
    ]
    return document(told.name, "Likewise audit", [facts(told)], parts)


def facts(told: Audit) -> Html:
    counted = {
        "Pictures": f"{len(told.found):,}",
        "Likely wrong labels": f"{len(told.suspects):,}",
        "Pairs of copies": "not looked for" if told.copies is None else f"{len(told.copies):,}",
        "Held-out pictures that leak": f"{len(told.leaked):,}",
        "Outliers": f"{len(told.outliers):,}",
        "Broken files": f"{len(told.broken):,}",
    }
    pairs = (tag("div", tag("dt", name), tag("dd", said)) for name, said in counted.items())
    return tag("dl", *pairs, class_="facts")


def card(told: Audit, thumbs: Thumbs, at: int, said: str, kind: str = "") -> Html:
    """A picture with its class and a word below it."""
    name = told.label(at)
    text = [tag("span", name, class_="name", title=name), tag("span", said, class_="sim")]
    return tag("div", thumbs(told.found.ids[at]), *text, class_=f"card {kind}".strip())


def leakage(told: Audit, thumbs: Thumbs) -> list[Html]:
    """The sentence, then held-out pictures beside what training held."""
    across = [c for c in told.copies or () if told.crosses(c)]
    shown: list[Html] = [tag("p", tag("strong", told.leak))]
    if across:
        says = "Copies in two parts, the held-out one left; 1.000 is the very same picture."
        shown += [tag("p", says), *some((pair(told, thumbs, c) for c in across), len(across))]
    if told.scenes.leaks:
        says = "Shots of one scene, by what each adds to its class: the held-out one left, the one in training right."
        shots = (
            tag("div", card(told, thumbs, q, told.part(q)), card(told, thumbs, n, "train", "wrong"), class_="pair")
            for q, n in told.scenes.pairs
        )
        shown += [tag("p", says), *some(shots, len(told.scenes.pairs))]
    return shown


def labels(told: Audit, thumbs: Thumbs) -> list[Html]:
    if not told.suspects:
        return [tag("p", "None was found: the neighbours of every picture are at one with its label.")]
    says = (
        "The picture with its label left; right, the neighbours that speak against it, nearest first. The figure "
        "is how sure the finding is, 0 to 1. Look before you change: some are rare pictures whose label is right."
    )
    rows = (
        tag(
            "div",
            tag("div", card(told, thumbs, s.at, f"{told.part(s.at)} · {s.score:.3f}"), class_="query"),
            tag("div", *(card(told, thumbs, n, told.part(n), "wrong") for n in s.against), class_="found"),
            class_="row",
        )
        for s in told.suspects
    )
    return [tag("p", says), *some(rows, len(told.suspects), class_="queries")]


def within(told: Audit, thumbs: Thumbs) -> list[Html]:
    if told.copies is None:
        return [tag("p", "Not looked for: the pictures are not where they were when the run was trained.")]
    inside = [c for c in told.copies if not told.crosses(c)]
    if not inside:
        return [tag("p", "None was found.")]
    return [tag("p", "1.000 is the very same picture."), *some((pair(told, thumbs, c) for c in inside), len(inside))]


def pair(told: Audit, thumbs: Thumbs, copy: Copy) -> Html:
    held, other = sorted((copy.first, copy.second), key=lambda at: told.part(at) == "train")
    unlike = "wrong" if told.label(held) != told.label(other) else ""
    both = (card(told, thumbs, at, f"{told.part(at)} · {copy.likeness:.3f}", unlike) for at in (held, other))
    return tag("div", *both, class_="pair")


def outliers(told: Audit, thumbs: Thumbs) -> list[Html]:
    if not told.outliers:
        return [tag("p", "None was found.")]
    cards = (card(told, thumbs, o.at, told.part(o.at)) for o in told.outliers)
    return [tag("p", "Pictures that are like no other, the strangest first."), *some(cards, len(told.outliers))]


def tiny(told: Audit) -> list[Html]:
    if not told.tiny:
        return [tag("p", f"None: every class that is trained on has {TINY} training pictures or more.")]
    says = f"Classes with fewer than {TINY} training pictures are hardly learned, and their labels hardly judged."
    return [tag("p", says), table(["Class", "Training pictures"], [(told.found.classes[c], n) for c, n in told.tiny],
                                  numbers=[1])]  # fmt: skip


def broken(told: Audit) -> list[Html]:
    if not told.broken:
        return [tag("p", "None: every file was read.")]
    return [
        table(["File", "Why"], [(tag("code", name), why) for name, why in told.broken[:MOST]]),
        *rest(len(told.broken)),
    ]


def some(made: Iterator[Html], count: int, class_: str = "errors") -> list[Html]:
    """The first of them, and how many more there are."""
    return [tag("div", *islice(made, MOST), class_=class_), *rest(count)]


def rest(count: int) -> Sequence[Html]:
    more = count - MOST
    return [tag("p", f"… and {more:,} more, listed in audit.csv.", class_="note")] if more > 0 else []

"""Findings of an audit, and a sentence on whether the split leaks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

from likewise.audit.duplicates import Copy
from likewise.audit.labels import Outlier, Suspect
from likewise.audit.scenes import Scenes
from likewise.data.images import SPLITS
from likewise.doctor.verdict import LEAK_BAD, LEAK_DOUBTFUL
from likewise.embeddings import Embeddings

__all__ = ["Audit", "COLUMNS", "Finding", "KINDS", "TINY"]

TINY = 5  # minimum number of training images to learn a class and to check its labels
COLUMNS = ("finding", "id", "split", "class", "score", "likely_class", "others", "advice")
KINDS = (
    *("wrong-label", "copy-other-label", "copy-across-parts", "copy-within-part", "scene-across-parts"),
    *("outlier", "tiny-class", "broken"),
)


@dataclass(frozen=True)
class Finding:
    """A line of audit.csv; `score` is the confidence (larger is surer), None for findings without a ranking."""

    finding: str
    id: str
    split: str
    label: str
    score: float | None
    likely: str
    others: tuple[str, ...]
    advice: str

    def row(self) -> list[str]:
        score = "" if self.score is None else f"{self.score:.4f}"
        return [self.finding, self.id, self.split, self.label, score, self.likely, " ".join(self.others), self.advice]


class Leak(TypedDict):
    """Images of a part, and how many of them have a copy in another part; whether a split of likewise drew the part."""

    part: str
    other: str
    images: int
    leaked: int
    share: float
    drawn_by_likewise: bool


@dataclass(frozen=True)
class Audit:
    """Result of an audit of N images; indices refer to `embeddings`."""

    name: str
    embeddings: Embeddings
    suspects: list[Suspect]
    copies: list[Copy] | None  # None if the images are no longer available
    scenes: Scenes
    outliers: list[Outlier]
    tiny: list[tuple[int, int]]  # (class, number of its images)
    broken: list[tuple[str, str]]  # (id, why)
    drawn: tuple[str, ...] = ()  # parts that a split took from train; the source came with the others

    def part(self, at: int) -> str:
        return SPLITS[int(self.embeddings.split[at])]

    def label(self, at: int) -> str:
        return self.embeddings.classes[int(self.embeddings.labels[at])]

    def crosses(self, copy: Copy) -> bool:
        """Whether the two images are in different parts."""
        return self.part(copy.first) != self.part(copy.second)

    @property
    def train_copies(self) -> list[Copy]:
        """Copies with one image in training and the other held out."""
        across = (copy for copy in self.copies or () if self.crosses(copy))
        return [copy for copy in across if "train" in (self.part(copy.first), self.part(copy.second))]

    @property
    def leaked(self) -> set[int]:
        """Held-out images with a copy, or another shot of the same scene, in training."""
        pairs = [(c.first, c.second) for c in self.train_copies]
        pairs += list(self.scenes.pairs) if self.scenes.leaks else []
        return {at for pair in pairs for at in pair if self.part(at) != "train"}

    def across(self, part: str, other: str) -> set[int]:
        """Images of a part with a copy in another part or, where that is train, a shot of the same scene in it."""
        pairs = [(c.first, c.second) for c in self.copies or ()]
        pairs += list(self.scenes.pairs) if self.scenes.leaks and other == "train" else []
        sides = [(a, b) for pair in pairs for a, b in (pair, pair[::-1])]
        return {a for a, b in sides if self.part(a) == part and self.part(b) == other}

    @property
    def parts(self) -> list[Leak]:
        """Leaks of test in train, validation in train and test in validation."""
        rows: list[Leak] = []
        for part, other in (("test", "train"), ("val", "train"), ("test", "val")):
            count = int((self.embeddings.split == SPLITS.index(part)).sum())
            if not count or not (self.embeddings.split == SPLITS.index(other)).any() or self.copies is None:
                continue
            leaked = len(self.across(part, other))
            drawn = part in self.drawn
            rows.append({"part": part, "other": other, "images": count, "leaked": leaked,
                         "share": leaked / count, "drawn_by_likewise": drawn})  # fmt: skip
        return rows

    @property
    def parts_text(self) -> str:
        """`test in train 3 of 120 (2.5 %), the source's own parts; validation in train ...`."""
        words = {"val": "validation"}
        texts = []
        for row in self.parts:
            part, other = (words.get(name, name) for name in (row["part"], row["other"]))
            by = "drawn by likewise" if row["drawn_by_likewise"] else "as the source has it"
            way_out = ": split=by_group or split=by_scene" if row["drawn_by_likewise"] and row["leaked"] else ""
            texts.append(
                f"{part} in {other} {row['leaked']:,} of {row['images']:,} ({row['share']:.1%}; {by}{way_out})"
            )
        return "; ".join(texts)

    @property
    def leak(self) -> str:
        """A sentence on whether held-out images leaked into training."""
        if not (self.embeddings.split != 0).any():
            return "There are no held-out images, so none can have leaked into training."
        if self.copies is None:
            return "Leakage into training was not checked: the images are no longer available."
        part, leaked, count = self.scored
        part = {"val": "validation"}.get(part, part)
        if not leaked:
            return f"None of the {count:,} {part} images has a near-duplicate in training."
        share = leaked / count
        sentence = (
            f"{leaked:,} of {count:,} {part} images ({share:.1%}) have a near-duplicate in training ({self.kinds})"
        )
        if share < LEAK_DOUBTFUL or leaked < 2:
            return f"{sentence}: the scores are too good by that share at most."
        way_out = "keep images taken together in one part: split by day, by scene or by source."
        if share < LEAK_BAD:
            return f"This split leaks a little: {sentence}, so its scores are somewhat too good; {way_out}"
        known = "so its scores measure recognition of known images, not of new ones"
        return f"This split leaks: {sentence}, {known}; {way_out}"

    @property
    def scored(self) -> tuple[str, int, int]:
        """The part that scores are of, test where there is one, else val; its leaked images, and its images."""
        part = "test" if (self.embeddings.split == SPLITS.index("test")).any() else "val"
        leaked = sum(self.part(at) == part for at in self.leaked)
        return part, leaked, int((self.embeddings.split == SPLITS.index(part)).sum())

    @property
    def counts(self) -> dict[str, object]:
        """What the verdict on the run weighs: images, scored ones, leaked ones (None if not searched), suspects."""
        part, leaked, held_out = self.scored
        return {
            "images": len(self.embeddings),
            "held_out": held_out,
            "leaked": None if self.copies is None else leaked,
            "suspects": len(self.suspects),
            "split": ("by_group" if self.embeddings.groups else "by_scene") if part in self.drawn else "",
        }

    @property
    def kinds(self) -> str:
        across = len(self.train_copies)
        kinds = [f"{across:,} pair{'s' * (across != 1)} of copies"] if across else []
        if self.scenes.leaks:
            kinds.append(f"{len(self.scenes.pairs):,} shots of a training scene")
        return "; ".join(kinds)

    def findings(self) -> Iterator[Finding]:
        """All findings by kind, most confident first."""
        yield from (self._of_suspect(s) for s in self.suspects)
        yield from (self._of_copy(c) for c in self.copies or ())
        if self.scenes.leaks:
            yield from (self._of_scene(held_out, train) for held_out, train in self.scenes.pairs)
        yield from (self._of("outlier", o.at, None, advice="check whether it belongs here") for o in self.outliers)
        for c, n in self.tiny:
            plural = "s" * (n != 1)
            advice = f"{n} image{plural}: add some, or leave the class out with min_per_class={TINY}"
            yield Finding("tiny-class", "", "", self.embeddings.classes[c], None, "", (), advice)
        yield from (Finding("broken", name, "", "", None, "", (), f"left out: {why}") for name, why in self.broken)

    def _of(self, kind: str, at: int, score: float | None, others: Sequence[int] = (), likely="", advice="") -> Finding:
        names = tuple(self.embeddings.ids[i] for i in others)
        return Finding(kind, self.embeddings.ids[at], self.part(at), self.label(at), score, likely, names, advice)

    def _of_suspect(self, s: Suspect) -> Finding:
        likely = self.embeddings.classes[s.label]
        return self._of("wrong-label", s.at, s.score, s.against, likely, f"check; {likely} if its neighbours are right")

    def _of_copy(self, copy: Copy) -> Finding:
        first, other = sorted((copy.first, copy.second), key=lambda at: self.part(at) == "train")
        if self.label(first) != self.label(other):
            kind, advice = "copy-other-label", "one of the two labels is wrong"
        elif self.crosses(copy):
            kind, advice = "copy-across-parts", "remove one, preferably the training image"
        else:
            kind, advice = "copy-within-part", "remove one of the two"
        return self._of(kind, first, copy.likeness, [other], advice=advice)

    def _of_scene(self, held_out: int, train: int) -> Finding:
        return self._of("scene-across-parts", held_out, None, [train], advice="keep a scene in one part")

    def to_dict(self) -> dict[str, object]:
        """The content of `--json`."""
        keys = ("finding", "id", "split", "class", "score", "likely_class", "others", "advice")
        rows = [
            dict(
                zip(keys, (f.finding, f.id, f.split, f.label, f.score, f.likely, list(f.others), f.advice), strict=True)
            )
            for f in self.findings()
        ]
        return {"run": self.name, "images": len(self.embeddings), "leak": self.leak, "leaked": len(self.leaked),
                "parts": self.parts,
                "findings": rows}  # fmt: skip

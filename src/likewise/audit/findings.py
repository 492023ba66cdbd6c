"""What an audit found, a line a finding, and in one sentence whether the split leaks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from likewise.audit.duplicates import Copy
from likewise.audit.labels import Outlier, Suspect
from likewise.audit.scenes import Scenes
from likewise.data.images import SPLITS
from likewise.embeddings import Embeddings

__all__ = ["Audit", "COLUMNS", "Finding", "TINY"]

TINY = 5  # training pictures below which a class is too small to learn, or to judge
COLUMNS = ("finding", "id", "split", "class", "score", "likely_class", "others", "advice")


@dataclass(frozen=True)
class Finding:
    """A line of audit.csv; `score` is larger where it is surer, None where there is nothing to rank."""

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


@dataclass(frozen=True)
class Audit:
    """What was found in N pictures; places are those of `found`."""

    name: str
    found: Embeddings
    suspects: list[Suspect]
    copies: list[Copy] | None  # None where the pictures are no longer there
    scenes: Scenes
    outliers: list[Outlier]
    tiny: list[tuple[int, int]]  # (class, its pictures)
    broken: list[tuple[str, str]]  # (id, why)

    def part(self, at: int) -> str:
        return SPLITS[int(self.found.split[at])]

    def label(self, at: int) -> str:
        return self.found.classes[int(self.found.labels[at])]

    def crosses(self, copy: Copy) -> bool:
        """Whether the two are in different parts."""
        return self.part(copy.first) != self.part(copy.second)

    @property
    def trained(self) -> list[Copy]:
        """Copies of which one was trained on and the other is held out."""
        across = (copy for copy in self.copies or () if self.crosses(copy))
        return [copy for copy in across if "train" in (self.part(copy.first), self.part(copy.second))]

    @property
    def leaked(self) -> set[int]:
        """Held-out pictures with a copy, or another shot of the same scene, in training."""
        pairs = [(c.first, c.second) for c in self.trained]
        pairs += list(self.scenes.pairs) if self.scenes.leaks else []
        return {at for pair in pairs for at in pair if self.part(at) != "train"}

    @property
    def leak(self) -> str:
        """In one sentence, whether the held-out pictures were seen in training."""
        held = int((self.found.split != 0).sum())
        if not held:
            return "There are no held-out pictures, so none can have leaked into training."
        if self.copies is None:
            return "Whether held-out pictures leaked into training is not known: the pictures are no longer there."
        if not self.leaked:
            return f"Of the {held:,} held-out pictures none was found to have a near-duplicate in training."
        return (
            f"This split leaks: {len(self.leaked):,} of {held:,} held-out pictures ({len(self.leaked) / held:.1%}) "
            f"have a near-duplicate in training ({self.kinds}), so its scores tell how well pictures are known again, "
            "not how well new ones are; keep what was taken together in one part: split by day, by scene or by source."
        )

    @property
    def kinds(self) -> str:
        across = len(self.trained)
        said = [f"{across:,} pair{'s' * (across != 1)} of copies"] if across else []
        if self.scenes.leaks:
            said.append(f"{len(self.scenes.pairs):,} shots of a scene that was trained on")
        return "; ".join(said)

    def findings(self) -> Iterator[Finding]:
        """Everything found, a line each, kind by kind, the surest first."""
        yield from (self._of_suspect(s) for s in self.suspects)
        yield from (self._of_copy(c) for c in self.copies or ())
        if self.scenes.leaks:
            yield from (self._of_scene(held, trained) for held, trained in self.scenes.pairs)
        yield from (self._of("outlier", o.at, None, advice="look whether it belongs here") for o in self.outliers)
        for c, n in self.tiny:
            plural = "s" * (n != 1)
            advice = f"{n} picture{plural}: add some, or leave the class out with min_per_class={TINY}"
            yield Finding("tiny-class", "", "", self.found.classes[c], None, "", (), advice)
        yield from (Finding("broken", name, "", "", None, "", (), f"left out: {why}") for name, why in self.broken)

    def _of(self, kind: str, at: int, score: float | None, others: Sequence[int] = (), likely="", advice="") -> Finding:
        names = tuple(self.found.ids[i] for i in others)
        return Finding(kind, self.found.ids[at], self.part(at), self.label(at), score, likely, names, advice)

    def _of_suspect(self, s: Suspect) -> Finding:
        likely = self.found.classes[s.label]
        return self._of("wrong-label", s.at, s.score, s.against, likely, f"look; {likely} if its neighbours are right")

    def _of_copy(self, copy: Copy) -> Finding:
        kept, other = sorted((copy.first, copy.second), key=lambda at: self.part(at) == "train")
        if self.label(kept) != self.label(other):
            kind, advice = "copy-other-label", "one of the two labels is wrong"
        elif self.crosses(copy):
            kind, advice = "copy-across-parts", "remove one, of training before held-out"
        else:
            kind, advice = "copy-within-part", "remove one of the two"
        return self._of(kind, kept, copy.likeness, [other], advice=advice)

    def _of_scene(self, held: int, trained: int) -> Finding:
        return self._of("scene-across-parts", held, None, [trained], advice="keep a scene in one part")

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        keys = ("finding", "id", "split", "class", "score", "likely_class", "others", "advice")
        rows = [
            dict(
                zip(keys, (f.finding, f.id, f.split, f.label, f.score, f.likely, list(f.others), f.advice), strict=True)
            )
            for f in self.findings()
        ]
        return {"run": self.name, "pictures": len(self.found), "leak": self.leak, "leaked": len(self.leaked),
                "findings": rows}  # fmt: skip

"""How often 95 % intervals hold the true value, how often the paired test finds what is not there, and their time.

    python benchmarks/coverage.py                      # all settings, about 20 minutes on one core
    python benchmarks/coverage.py --sims 50 --truth 100 --only "closed 10 x 10"

Query sets are drawn again and again from one distribution: Gaussian classes in 8 dimensions. Closed set: the class
means and the reference part stay, images are drawn. Open set: classes are drawn as well, each with a spread of its own;
single images may be among them. The true value is the mean over sets of their own.
"""

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import torch
from machine import write

from likewise import spec
from likewise.embeddings import Embeddings
from likewise.evaluate import difference, identification, measure
from likewise.evaluate import verification as pair_scores
from likewise.evaluate.resampling import strata, units
from likewise.evaluate.verification import CURVED, pairs_apart, resampled, verify
from likewise.metrics import calibration, intervals, verification
from likewise.metrics.intervals import Score
from likewise.metrics.sampled_pairs import draw, similarities

DIMENSIONS = 8
SIM = spec.bind("sim", "cosine")
PAIRS = (1000, 3000)  # of one class and of two
TESTED = ("knn@1", "recall@1", "r_precision", "map@r", "silhouette", "nmi")


@dataclass(frozen=True)
class Setting:
    """A distribution of query sets."""

    closed: bool
    classes: int
    size: int
    noise: float
    singles: int = 0

    @cached_property
    def means(self) -> torch.Tensor:
        return torch.randn(self.classes, DIMENSIONS, generator=self.seeded(0))

    @cached_property
    def reference(self) -> Embeddings | None:
        return self.draw(self.seeded(1)) if self.closed else None

    @cached_property
    def chosen(self) -> tuple[float, calibration.Calibration]:
        """The threshold and the probabilities, of a validation part."""
        val = self.draw(self.seeded(2))
        pairs = draw(val.labels, PAIRS[0], different=PAIRS[1])
        score_T = similarities(val.vectors, pairs, sim=SIM)
        at = float(verification.threshold(verification.roc(score_T, pairs.same)))
        return at, calibration.platt(score_T, pairs.same)

    def seeded(self, seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.classes * 1000 + self.size + seed)

    def draw(self, generator: torch.Generator) -> Embeddings:
        """One query set."""
        labels = torch.arange(self.classes).repeat_interleave(self.size)
        if self.closed:
            means, spread = self.means, torch.ones(self.classes, 1)
        else:
            means = torch.randn(self.classes, DIMENSIONS, generator=generator)
            spread = 0.5 + torch.rand(self.classes, 1, generator=generator)
        vectors = means[labels] + self.noise * spread[labels] * torch.randn(
            len(labels), DIMENSIONS, generator=generator
        )
        alone = torch.randn(self.singles, DIMENSIONS, generator=generator) * (1 + self.noise**2) ** 0.5
        return named(torch.cat([vectors, alone]), torch.cat([labels, self.classes + torch.arange(self.singles)]).long())


SETTINGS = {
    "closed 10 x 10": Setting(True, 10, 10, 0.8),
    "closed 10 x 10, hard": Setting(True, 10, 10, 1.3),
    "closed 10 x 10, easy": Setting(True, 10, 10, 0.45),
    "closed 10 x 50": Setting(True, 10, 50, 0.8),
    "closed 50 x 10": Setting(True, 50, 10, 0.6),
    "closed 200 x 5": Setting(True, 200, 5, 0.4),
    "open 10 x 10": Setting(False, 10, 10, 0.6),
    "open 20 x 5 + 40 single": Setting(False, 20, 5, 0.6, singles=40),
    "open 50 x 10": Setting(False, 50, 10, 0.6),
    "open 50 x 10, hard": Setting(False, 50, 10, 1.0),
    "open 50 x 10, easy": Setting(False, 50, 10, 0.25),
    "open 200 x 5": Setting(False, 200, 5, 0.5),
}
SLOW = {"closed 10 x 50": 0.5, "closed 50 x 10": 0.5, "open 50 x 10": 0.5, "open 50 x 10, hard": 0.5}
SLOW |= {"open 50 x 10, easy": 0.5, "closed 200 x 5": 0.3, "open 200 x 5": 0.3}  # of the sets, since each takes longer


def named(vectors: torch.Tensor, labels: torch.Tensor) -> Embeddings:
    names = tuple(map(str, range(len(labels))))
    return Embeddings(vectors.float(), labels, names, torch.full((len(labels),), 2, dtype=torch.uint8), names)


def scores(setting: Setting, query: Embeddings, seed: int) -> dict[str, Score]:
    """Every score that `evaluate` prints, from fewer pairs."""
    measured = measure(query, setting.reference)
    found = intervals.bootstrap(measured.ratios, measured.units, seed=seed)
    found |= identification.identify(query, setting.reference, sim=SIM, seed=seed)
    pairs = draw(query.labels, PAIRS[0], different=PAIRS[1], seed=seed)
    score_T, units_N = similarities(query.vectors, pairs, sim=SIM), units(query.labels, not setting.closed)
    at, fit = setting.chosen
    strata_N = strata(query.labels, units_N)
    return found | verify(pairs, score_T, units_N, strata_N=strata_N, threshold=at, fit=fit, seed=seed)


def truth(setting: Setting, sets: int) -> dict[str, float]:
    """The mean of every score over sets of their own; next to nothing is resampled."""
    generator, found = setting.seeded(3), defaultdict(list)
    few = (pair_scores.CURVES, pair_scores.NOISE, identification.CURVES)
    pair_scores.CURVES = pair_scores.NOISE = identification.CURVES = 2
    for seed in range(sets):
        query = setting.draw(generator)
        for name, score in scores(setting, query, seed).items():
            found[name].append(score.value)
    pair_scores.CURVES, pair_scores.NOISE, identification.CURVES = few
    return {name: sum(values) / len(values) for name, values in found.items() if len(values) == sets}


def covered(setting: Setting, sims: int, sets: int) -> dict[str, tuple[float, int, int, int, float]]:
    """For each score the truth, sets, how many intervals lay above and below it, and width over 3.92 deviations."""
    true, generator = truth(setting, sets), setting.seeded(4)
    found = defaultdict(list)
    for seed in range(sims):
        for name, score in scores(setting, setting.draw(generator), seed).items():
            found[name].append(score)
    rows = {}
    for name, x in true.items():
        above, below = sum(s.low > x for s in found[name]), sum(s.high < x for s in found[name])
        width = sum(s.high - s.low for s in found[name]) / len(found[name])
        spread = float(torch.tensor([s.value for s in found[name]], dtype=torch.float64).std())
        rows[name] = (x, len(found[name]), above, below, width / max(3.92 * spread, 1e-12))
    return rows


def tested(setting: Setting, sims: int, worse: float) -> dict[str, tuple[int, int]]:
    """How often the paired test of two models has p < 0.05: each blurs the same images, the second by more."""
    generator, found = setting.seeded(5), defaultdict(list)

    def blurred(part: Embeddings, by: float) -> Embeddings:
        return named(part.vectors + by * torch.randn(part.vectors.shape, generator=generator), part.labels)

    blur = 0.4 * setting.noise
    refs = [setting.reference and blurred(setting.reference, blur * x) for x in (1, worse)]
    for seed in range(sims):
        query = setting.draw(generator)
        parts = [blurred(query, blur * x) for x in (1, worse)]
        measured = [measure(part, reference) for part, reference in zip(parts, refs, strict=True)]
        p = {name: x.p for name, x in difference(*measured, seed=seed).items() if name in TESTED}
        pairs, units_N = (
            draw(query.labels, PAIRS[0], different=PAIRS[1], seed=seed),
            units(query.labels, not setting.closed),
        )
        drawn = [
            resampled(
                pairs, similarities(part.vectors, pairs, sim=SIM), units_N, strata_N=strata(query.labels, units_N),
                curves=CURVED, threshold=setting.chosen[0], seed=seed,
            )
            for part in parts
        ]  # fmt: skip
        p |= {name: pairs_apart(drawn[0][name], drawn[1][name]).p for name in (*CURVED, "pair_accuracy")}
        for name, x in p.items():
            found[name].append(x < 0.05)
    return {name: (sum(x), len(x)) for name, x in found.items()}


def times(setting: Setting, rounds: int = 5) -> tuple[float, float]:
    """Seconds of an evaluation with its intervals over seconds without effects and without single pairs: all, pairs."""
    query, at = setting.draw(setting.seeded(6)), setting.chosen[0]
    pairs, units_N = draw(query.labels, *PAIRS[:1], different=PAIRS[1]), units(query.labels, not setting.closed)
    score_T = similarities(query.vectors, pairs, sim=SIM)

    def retrieval_scores(effects: bool) -> None:
        if effects:
            measured = measure(query, setting.reference, quick=True)
            intervals.bootstrap(measured.ratios, measured.units)
        else:
            plain(query, setting.reference)

    def pair_intervals(noise: int) -> None:
        pair_scores.NOISE = noise
        verify(pairs, score_T, units_N, strata_N=strata(query.labels, units_N), threshold=at)

    kept = pair_scores.NOISE
    ratios = []
    for run, new, old in ((retrieval_scores, True, False), (pair_intervals, kept, 2)):
        run(new), run(old)
        ratios.append(seconds(lambda: run(new), rounds) / seconds(lambda: run(old), rounds))  # noqa: B023 (used here)
    pair_scores.NOISE = kept
    return ratios[0], ratios[1]


def plain(query: Embeddings, reference: Embeddings | None) -> None:
    """Neighbours and retrieval as they are without effects of references."""
    from likewise.evaluate.measure import QUICK, _neighbours, _sets, _units
    from likewise.metrics import retrieval

    seen = _sets(query, reference, False)
    units_N = _units(query.labels) if reference is None else None
    ratios = _neighbours(*seen, SIM, True)
    found = retrieval.measure(QUICK, seen[0], sim=SIM)
    ratios |= {name: intervals.mean(x, found.query, len(query)) for name, x in found.values.items()}
    intervals.bootstrap(ratios, units_N)


def seconds(work, rounds: int) -> float:
    """The best of some rounds, in CPU time."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def share(hits: int, n: int) -> str:
    """A percentage with its exact 95 % interval (Clopper and Pearson, 1934)."""
    from scipy.stats import beta

    low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    return f"{100 * hits / n:.1f} ({100 * low:.1f} – {100 * high:.1f})"


def table(name: str, rows: dict[str, tuple[float, int, int, int, float]]) -> str:
    lines = [
        f"## {name}\n\n| score | true value | holds it, % | lies above, % | below, % | width / 3.92 deviations | |",
        "|---|---|---|---|---|---|---|",
    ]
    for score, (x, n, above, below, width) in rows.items():
        rate = 1 - (above + below) / n
        sign = "narrow" if rate < 0.93 else "wide" if rate > 0.97 else ""
        lines.append(
            f"| {score} | {x:.3f} | {share(n - above - below, n)} | {100 * above / n:.1f} | {100 * below / n:.1f} | "
            f"{width:.2f} | {sign} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sims", type=int, default=400, help="query sets of each setting")
    parser.add_argument("--truth", type=int, default=800, help="query sets for the true value")
    parser.add_argument("--only", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--name", default="coverage", help="of the file in results/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    start, parts, all_rows = time.process_time(), [], {}
    tests = ["| setting | score | same models: p < 0.05, % | second blurred 1.5 times more, % |", "|---|---|---|---|"]
    speed = ["| setting | neighbours and retrieval | scores of pairs |", "|---|---|---|"]
    for name in args.only:
        setting, part = SETTINGS[name], SLOW.get(name, 1)
        all_rows[name] = covered(setting, int(args.sims * part), int(args.truth * part))
        parts.append(table(name, all_rows[name]))
        print(parts[-1], f"\n{time.process_time() - start:.0f} s", flush=True)
        speed.append("| {} | {:.2f} | {:.2f} |".format(name, *times(setting)))
        size, power = (tested(setting, int(args.sims * part / 2), worse) for worse in (1.0, 1.5))
        tests += [f"| {name} | {score} | {share(*size[score])} | {share(*power[score])} |" for score in size]
    inside = sum(0.93 <= 1 - (a + b) / n <= 0.97 for rows in all_rows.values() for _, n, a, b, _ in rows.values())
    narrow = sum(1 - (a + b) / n < 0.93 for rows in all_rows.values() for _, n, a, b, _ in rows.values())
    total = sum(map(len, all_rows.values()))
    about = (
        f"Coverage of 95 % intervals over simulated query sets, with its own 95 % interval. Of {total} scores {inside} "
        f"hold the true value in 93 to 97 % of the sets, {narrow} in fewer and {total - inside - narrow} in more. "
        f"{args.sims} sets for each of the small settings, half or a third of that for the large ones; the true value "
        f"is the mean over twice as many others. {time.process_time() - start:.0f} s of one core."
    )
    body = "\n\n".join(
        [
            *parts,
            "## The paired test\n\n" + "\n".join(tests),
            "## Time, to that without these corrections\n\n" + "\n".join(speed),
        ]
    )
    write(args.name, body, about)


if __name__ == "__main__":
    main()

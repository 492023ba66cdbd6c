"""How often 95 % intervals of FAR and FRR hold the true rate, where the pairs share images and classes.

    python benchmarks/error_rates.py [--sims 400] [--only "open 50 x 10"]

Query sets are those of coverage.py. Thresholds are fixed beforehand at true rates of a large sample; each set gives its
rates at them, once for the number of independent pairs that they are worth and once as if all pairs were independent.
"""

import argparse
import time
from collections import defaultdict

import torch
from coverage import PAIRS, SETTINGS, SIM, Setting
from machine import write

from likewise.embeddings import Embeddings
from likewise.evaluate.error_rates import Rate, members_of, rate
from likewise.evaluate.resampling import units
from likewise.metrics.exact import exact_interval
from likewise.metrics.sampled_pairs import draw, similarities

RATES = (("FAR", 0.2), ("FAR", 0.05), ("FAR", 0.01), ("FAR", 0.001), ("FRR", 0.2), ("FRR", 0.05), ("FRR", 0.01))
CHOSEN = ("closed 10 x 10", "closed 10 x 50", "open 10 x 10", "open 20 x 5 + 40 single", "open 50 x 10", "open 200 x 5")
LARGE = 400  # query sets behind the true rates


def scored(setting: Setting, query: Embeddings, seed: int) -> dict[str, tuple[torch.Tensor, tuple]]:
    """For different and for same pairs: similarities and members."""
    pairs = draw(query.labels, PAIRS[0], different=PAIRS[1], seed=seed)
    score_T = similarities(query.vectors, pairs, sim=SIM)
    members = members_of(pairs, units(query.labels, not setting.closed))
    kinds = {"FAR": ~pairs.same, "FRR": pairs.same}
    return {
        kind: (score_T[kind_T], type(members)(*(side[kind_T] for side in members))) for kind, kind_T in kinds.items()
    }


def true_rates(setting: Setting) -> dict[tuple[str, float], tuple[float, float]]:
    """A threshold for each rate, and the rate it truly has."""
    generator, columns = setting.seeded(6), defaultdict(list)
    for seed in range(LARGE):
        for kind, (score_T, _) in scored(setting, setting.draw(generator), seed).items():
            columns[kind].append(score_T.double())
    all_scores = {kind: torch.cat(parts).sort(descending=kind == "FAR").values for kind, parts in columns.items()}
    result = {}
    for kind, level in RATES:
        ordered_T = all_scores[kind]
        at = float(ordered_T[int(len(ordered_T) * level)])
        wrong_T = ordered_T >= at if kind == "FAR" else ordered_T < at
        result[kind, level] = (at, float(wrong_T.double().mean()))
    return result


def covered(setting: Setting, sims: int) -> list[list[str]]:
    true, generator, held = true_rates(setting), setting.seeded(7), defaultdict(list)
    for seed in range(sims):
        sets = scored(setting, setting.draw(generator), seed)
        for (kind, level), (at, x) in true.items():
            one: Rate = rate(*(sets[kind][0], at, sets[kind][1]), rejected=kind == "FRR")
            low, high = exact_interval(round(one.value * one.n), one.n)
            held[kind, level].append(
                (one.low <= x <= one.high, one.high - one.low, low <= x <= high, high - low, one.effective / one.n)
            )
    rows = []
    for (kind, level), records in held.items():
        ours, wide, plain, narrow, worth = torch.tensor(records, dtype=torch.float64).mean(0).tolist()
        low, high = exact_interval(round(ours * sims), sims)
        rows.append(
            [
                f"{kind} {true[kind, level][1]:.4f}",
                f"{100 * ours:.1f} ({100 * low:.1f} – {100 * high:.1f})",
                f"{100 * plain:.1f}",
                f"{wide / narrow:.1f}",
                f"{worth:.2f}",
            ]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sims", type=int, default=400)
    parser.add_argument("--only", choices=CHOSEN)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started, lines = time.process_time(), []
    for name in [options.only] if options.only else CHOSEN:
        head = "| true rate | holds it, % | pairs taken as independent, % | width, to that | worth a pair |"
        rows = ["| " + " | ".join(row) + " |" for row in covered(SETTINGS[name], options.sims)]
        lines += [f"## {name}", "", head, "|---|---|---|---|---|", *rows, ""]
        print(*lines[-len(rows) - 5 :], sep="\n", flush=True)
    seconds = time.process_time() - started
    about = (
        "Coverage of 95 % intervals of error rates at fixed thresholds over simulated query sets, with its own 95 % "
        "interval; beside it that of Clopper and Pearson's interval where all pairs are taken as independent. Up to "
        f"{PAIRS[0]:,} same and {PAIRS[1]:,} different pairs of each of {options.sims} sets; {seconds:.0f} s of a core."
    )
    write("error_rates", "\n".join(lines), about)


if __name__ == "__main__":
    main()

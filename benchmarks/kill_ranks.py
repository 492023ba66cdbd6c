"""Trainings of two processes, one of which is killed by kill -9, resumed: the weights of one that nobody killed?

    python benchmarks/kill_ranks.py [--kills 60] [--seed 0]

Small trainings on the digits by two gloo processes, in ten settings; at a random moment a random process is killed, the
other one is ended as torchrun does it (SIGTERM at once, after 0.1 s or after 2 s; SIGKILL 30 s later), and both are
started anew, until the training ends. Columns as in kills.md. `wrong` counts other weights (bit for bit), scores,
losses or log entries, missing files, files left over, and trainings that cannot be resumed; `hung` counts processes
that SIGTERM did not end.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
HEAD = "| setting | kills | trainings | longest | before | scoring | wrong |\n|---|---:|---:|---:|---:|---:|---:|"
CHOSEN = (
    "plain", "patience", "pretraining", "moving average", "memory", "hard negatives", "batch norm", "accumulate",
    "proxies", "dropout and thaw",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    from killing import chain, warm
    from killing_ranks import InRanks

    warm()
    ranks, rows, wrong, total = InRanks(2, asked.seed), [HEAD], [], 0
    with tempfile.TemporaryDirectory() as folder:
        for number, setting in enumerate(CHOSEN):
            share = asked.kills * (number + 1) // len(CHOSEN) - asked.kills * number // len(CHOSEN)
            own = Path(folder) / setting.replace(" ", "-")
            own.mkdir()
            seen = chain(setting, share, own, asked.seed, ranks)
            cells = (seen.kills, seen.resumed, seen.longest, seen.before, seen.while_scoring, len(seen.problems))
            rows.append(f"| {setting} | {' | '.join(map(str, cells))} |")
            wrong, total = wrong + seen.problems, total + seen.kills
            print(rows[-1], *seen.problems, sep="\n", flush=True)
    rows += [f"| all | {total} | | | | | {len(wrong)} |", ""]
    rows.append(
        f"Killed: rank 0 {ranks.killed[0]} times, rank 1 {ranks.killed[1]} times. Hung: {ranks.hung}. The other "
        f"process had ended after {ranks.slowest:.1f} s at the latest."
    )
    print(*ranks.failures, sep="\n", file=sys.stderr)
    machine.write("kill_ranks", "\n".join(rows), str(__doc__))
    return len(wrong)


if __name__ == "__main__":
    sys.exit(bool(main()))

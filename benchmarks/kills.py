"""Trainings killed by kill -9 and resumed: do they come to the weights and scores of one that nobody killed?

    python benchmarks/kills.py [--kills 8] [--seed 0]

At random moments: 8 kills of each of 25 settings (small trainings on the digits, 1 to 8 epochs); a training is killed
once or several times and then resumed to its end. A checkpoint is saved after every step, every 0.05 s, or never before
the end, by chance. `longest` is the most kills of one training, `before` how many came before the first checkpoint
(the same command starts anew), `scoring` how many while the run was scored.

At every file operation: training, resuming, evaluating and reporting are ended (os._exit, nothing flushed) at their
first, second, third ... file operation (create, write, half a write, sync, close, rename, remove, make a folder), and
then called again.

`wrong` counts other weights, scores, losses or log entries, missing files, and files left over (.part, .tmp, .lock).
"""

import argparse
import sys
import tempfile
from pathlib import Path

import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
HEAD = "| setting | kills | trainings | longest | before | scoring | wrong |\n|---|---:|---:|---:|---:|---:|---:|"
# name: (what is killed, changes of the small recipe)
OPERATIONS = {
    "training": ("training", {"epochs": 1}),
    "training, pretrained, with patience": ("training", {"epochs": 3, "pretrain_epochs": 1, "patience": 1}),
    "training, with an average and whitened": ("training", {"epochs": 1, "ema": 0.9, "whiten": 0.1}),
    "resuming": ("resuming", {"epochs": 2, "memory": 32}),
    "evaluating": ("evaluating", {"epochs": 1}),
    "reporting": ("reporting", {"epochs": 1}),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--every", type=int, default=1, help="kill at every so many file operations only")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    from killing import SETTINGS, SMALL, at_every_operation, chain, warm

    warm()
    wrong: list[str] = []
    rows, total = [HEAD], 0
    with tempfile.TemporaryDirectory() as folder:
        for setting in SETTINGS:
            seen = chain(setting, asked.kills, made(folder, setting), asked.seed)
            cells = (seen.kills, seen.resumed, seen.longest, seen.before, seen.while_scoring, len(seen.problems))
            rows.append(f"| {setting} | {' | '.join(map(str, cells))} |")
            wrong += seen.problems
            total += seen.kills
            print(rows[-1], *seen.problems, sep="\n", flush=True)
        rows += [f"| all | {total} | | | | | {len(wrong)} |", "", "| killed at every file operation | kills | wrong |"]
        rows.append("|---|---:|---:|")
        for name, (what, changes) in OPERATIONS.items():
            kills, problems = at_every_operation(what, SMALL.replace(**changes), made(folder, name), every=asked.every)
            rows.append(f"| {name} | {kills} | {len(problems)} |")
            wrong += problems
            print(rows[-1], *problems, sep="\n", flush=True)
    machine.write("kills", "\n".join(rows), str(__doc__))
    return len(wrong)


def made(folder: str, name: str) -> Path:
    path = Path(folder) / name.replace(" ", "-")
    path.mkdir()
    return path


if __name__ == "__main__":
    sys.exit(bool(main()))

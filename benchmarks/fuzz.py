"""Mutated files of every format that is read, from a seed: what came of them.

    python benchmarks/fuzz.py [--count 20000] [--seed 1] [--only NAME ...] [--name fuzz_parsers]

An input is a valid file with one to four changes: bits, bytes, slices, tokens, numbers, an early end. `read` is the
share that was read as a valid file; the others were refused with a ValueError of one sentence. `wrong` counts any other
exception and any input that took more than 5 seconds; memory is by how much the process has grown. Each format has a
process of its own, which may take 6 GB of address space.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
from pathlib import Path

import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
ADDRESS_SPACE = 6 << 30
HEAD = "| format | inputs | read | wrong | slowest (ms) | memory (MB) |\n|---|---:|---:|---:|---:|---:|"


def one(task: tuple[str, int, int]) -> tuple[str, str, list[str]]:
    """The row of a format, and what was wrong."""
    from fuzzing import fuzz, targets

    name, inputs, seed = task
    with tempfile.TemporaryDirectory() as folder:
        target = targets(Path(folder))[name]
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        found = fuzz(target, inputs, seed)
    wrong = sum(found.kinds.values())
    cells = f"{found.read / found.inputs:.1%} | {wrong} | {1000 * found.slowest:,.0f} | {found.grown / 1e6:,.0f}"
    return name, f"| {name} | {found.inputs:,} | {cells} |", found.wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", "--inputs", dest="inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--name", help="of the file of results, where --only would make a long one")
    asked = parser.parse_args()
    from fuzzing import targets

    with tempfile.TemporaryDirectory() as folder:
        names = [name for name in targets(Path(folder)) if not asked.only or name in asked.only]
    rows = [HEAD]
    with multiprocessing.get_context("spawn").Pool(asked.processes, maxtasksperchild=1) as pool:
        for name, row, wrong in pool.imap(one, [(name, asked.inputs, asked.seed) for name in names]):
            print(row, flush=True)
            rows.append(row)
            for sentence in wrong:
                print(f"    {name}: {sentence}", file=sys.stderr)
    some = "".join(f"_{name.replace(' ', '_')}" for name in asked.only or ())
    machine.write(asked.name or f"fuzz{some}", "\n".join(rows), str(__doc__))


if __name__ == "__main__":
    main()

"""Fingerprints of what the package computes: they stay the same when code is moved or renamed.

    python tools/fingerprint.py OUT.json                  measure the package that is imported (see PYTHONPATH)
    python tools/fingerprint.py --compare A.json B.json   print what differs; exit code 1 when a value differs

It trains small recipes on bundled and synthetic data, and calls every loss, miner, similarity, sampler and metric on
fixed inputs. Only the command line and public names are used, so that the same script measures older versions too.
The texts of the pages go to a folder beside OUT.json: changed words are reported apart from changed values.
One thread, seed 0, about two minutes on one core.
"""

import argparse
import contextlib
import difflib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fingerprint_digests import FIRST_NAMES, attempt, flat, sha
from fingerprint_runs import RECIPE_LINE, RECIPES, commands, numbers_in, train, write_data
from fingerprint_values import losses, metrics, miners, partners, samplers, similarities

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, help="the JSON file to write")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A.json", "B.json"))
    parser.add_argument("--only", default="", help="recipes and parts whose name contains this")
    options = parser.parse_args()
    if options.compare:
        return compare(*options.compare)
    if options.out is None:
        parser.error("give the JSON file to write, or --compare A.json B.json")
    for name in THREADS:
        os.environ[name] = "1"
    os.environ["MPLBACKEND"] = "Agg"
    measure(options.out.resolve(), options.only)
    return 0


def measure(out: Path, only: str) -> None:
    import torch

    torch.set_num_threads(1)
    sides = out.with_suffix("")
    sides.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[], Any]] = {
        "losses": losses, "partners": partners, "miners": miners, "similarities": similarities,
        "samplers": samplers, "metrics": metrics,
    }  # fmt: skip
    found: dict[str, Any] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        os.environ["LIKEWISE_DATA"] = os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")
        for name, part in parts.items():
            if only in name:
                found[name] = part()
        write_data()
        for name, changes in {"digits": None, **RECIPES}.items():
            if only in name:
                found[f"run {name}"] = attempt(lambda n=name, c=changes: train(n, c, sides))
        if only in "commands":
            found["commands"] = attempt(lambda: commands(sides))
    out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{out}: {sum(1 for _ in flat(found)):,} fingerprints in {time.monotonic() - began:.0f} s")


def compare(first: Path, second: Path) -> int:
    """Print what differs. Words alone are no difference of values."""
    a, b = measured(first), measured(second)
    differ = [path for path in {**a, **b} if a.get(path, "absent") != b.get(path, "absent")]
    words = [path for path in differ if path.endswith("/ words")]
    values = [path for path in differ if not path.endswith("/ words")]
    for path in values:
        print(f"{path}: {a.get(path, 'absent')} -> {b.get(path, 'absent')}")
    for path in words:
        name = a.get(path.removesuffix("words") + "text", "")
        print(f"{path}: the text differs")
        for line in changed(first.with_suffix("") / name, second.with_suffix("") / name):
            print(f"    {line}")
    print(f"{len(a):,} fingerprints, {len(values)} values differ, {len(words)} texts differ")
    return 1 if values else 0


def measured(file: Path) -> dict[str, Any]:
    """Fingerprints by path, under their first names. Lines of a recipe in a report are no results and are left out."""
    found = {}
    for path, value in flat(json.loads(file.read_text(encoding="utf-8"))):
        steps = path.split(" / ")
        found[" / ".join(FIRST_NAMES.get(step, step) for step in steps)] = value
    for path in [path for path in found if path.endswith("/ text")]:
        side = file.with_suffix("") / found[path]
        if side.is_file():
            text = RECIPE_LINE.sub("", side.read_text(encoding="utf-8"))
            stem = path.removesuffix("text")
            found |= {stem + key: value for key, value in numbers_in(text).items()} | {stem + "words": sha(text)}
    return found


def changed(first: Path, second: Path, most: int = 40) -> list[str]:
    if not (first.is_file() and second.is_file()):
        return ["(a text is missing)"]
    lines = [file.read_text(encoding="utf-8").splitlines() for file in (first, second)]
    return [line for line in difflib.unified_diff(*lines, lineterm="", n=0) if line[:2] not in ("--", "++", "@@")][
        :most
    ]


if __name__ == "__main__":
    sys.exit(main())

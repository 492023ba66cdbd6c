"""Mutation testing: single changes of the source, each with the tests that reach it. The working tree is not touched.

python tools/mutate.py [--count 200] [--seed 1] [--jobs 1] [--seconds 20] [--folder FOLDER]

Copies the repository into FOLDER (default: a temporary one) and finds out once which quick test reaches which line
(FOLDER/map). Then makes one change at a time in the copy and runs the tests that reach the changed lines, and those
that reach the rest of its function and its file, up to `--seconds`. A mutant is noticed when a test fails, or when the
run exceeds its time and the same tests without the change do not, for a busy machine is slow by itself. `--again
mutants.json` repeats the survivors of an earlier run with the tests of today; `--control` runs the chosen tests without
the changes, where nothing may be noticed. Writes FOLDER/mutants.json, prints a table.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue

from mutations import Mutant, choose

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("src", "likewise")
QUICK = "not slow and not system"
START = 120  # seconds for the imports of a test run, on a busy machine
LONGEST = 120  # seconds for one test, on a busy machine
TIME = "time"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="of tests for each mutant")
    parser.add_argument("--folder", type=Path, help="keeps the copy, the map and the results")
    parser.add_argument("--again", type=Path, help="results of an earlier run: repeat its survivors")
    parser.add_argument("--control", action="store_true", help="make no change")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mutate-")))
        report(run(options, folder), folder / "mutants.json")


def run(options: argparse.Namespace, folder: Path) -> list[dict]:
    copies: SimpleQueue[Path] = SimpleQueue()
    for job in range(options.jobs):
        copies.put(copied(folder / f"tree{job}"))
    first = folder / "tree0"
    find_tests(first, folder / "map")
    tests = ReachingTests(folder / "map", first / PACKAGE)
    sources = {p.relative_to(first / PACKAGE).as_posix(): p.read_bytes() for p in (first / PACKAGE).rglob("*.py")}
    mutants = survivors(options.again, sources) if options.again else choose(sources, options.count, options.seed)

    def result(mutant: Mutant) -> dict:
        tree = copies.get()
        try:
            return outcome(mutant, sources[mutant.path], tests(mutant, options.seconds), tree, options)
        finally:
            copies.put(tree)

    results = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for found in pool.map(result, mutants):
            results.append(found)
            (folder / "mutants.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
            print(f"{len(results)}/{len(mutants)} {found['by'] or 'SURVIVED'}: {title(found)}", file=sys.stderr)
    return results


def copied(tree: Path) -> Path:
    """A copy of what git tracks or would track."""
    shutil.rmtree(tree, ignore_errors=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    return tree


def find_tests(tree: Path, into: Path) -> None:
    """Run the quick tests once, with coverage; again where the code or the tests have changed since."""
    digest = hashlib.sha256()
    for path in sorted([*tree.glob("src/**/*.py"), *tree.glob("tests/**/*.py")]):
        digest.update(path.relative_to(tree).as_posix().encode() + path.read_bytes())
    mark = into / "source.sha256"
    if mark.is_file() and mark.read_text(encoding="utf-8") == digest.hexdigest():
        return
    shutil.rmtree(into, ignore_errors=True)
    command = [*pytest_in(tree), "-p", "reached_lines", "-n", "2", "--dist", "worksteal", "-m", QUICK]
    subprocess.run(command, cwd=tree, env=environment(tree, REACHED_LINES=str(into)), stdout=sys.stderr, check=False)
    mark.write_text(digest.hexdigest(), encoding="utf-8")


def pytest_in(tree: Path) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tree}"]


def environment(tree: Path, **more: str) -> dict[str, str]:
    path = os.pathsep.join([str(tree / "src"), str(tree / "tools")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


class ReachingTests:
    """The tests for a mutant, most telling first.

    Those that reach its lines; their neighbours in the same files of tests, which may see it through a shared fixture;
    those that reach its function, its file, and the files that import it. A default may also be noticed by a test that
    reads the source, and so reaches no line at all.
    """

    def __init__(self, folder: Path, package: Path):
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, dict[int, set[str]]] = {}
        for part in sorted(folder.glob("*.json")):
            content = json.loads(part.read_text(encoding="utf-8"))
            self.seconds.update(content["tests"])
            names = [name for name, _ in content["tests"]]
            for path, lines in content["files"].items():
                for line, tests in lines.items():
                    self.lines.setdefault(path, {}).setdefault(int(line), set()).update(names[i] for i in tests)
        self.texts = {p.relative_to(package).as_posix(): p.read_text(encoding="utf-8") for p in package.rglob("*.py")}

    def __call__(self, mutant: Mutant, limit: float) -> list[str]:
        chosen: dict[str, None] = {}
        spent = 0.0
        for tier in self.tiers(mutant):
            for name in interleaved(tier - chosen.keys(), self.seconds):
                if spent + self.seconds[name] <= limit:
                    chosen[name] = None
                    spent += self.seconds[name]
        return sorted(chosen, key=order_of_files(chosen))

    def tiers(self, mutant: Mutant) -> Iterable[set[str]]:
        if mutant.kind == "default":
            yield self.seconds.keys() - set().union(*(t for lines in self.lines.values() for t in lines.values()))
        reaching = self.between(mutant, mutant.reached)
        yield reaching
        files = {file_of(name) for name in reaching}
        yield {name for name in self.seconds if file_of(name) in files}
        yield self.between(mutant, mutant.body)
        yield from self.whole(mutant)

    def between(self, mutant: Mutant, span: Sequence[int] | None) -> set[str]:
        lines = self.lines.get(mutant.path, {}) if span else {}
        return {name for line, tests in lines.items() if span[0] <= line <= span[1] for name in tests}

    def whole(self, mutant: Mutant) -> Iterable[set[str]]:
        module = mutant.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        yield set().union(*self.lines.get(mutant.path, {}).values())
        importing = [path for path, text in self.texts.items() if f"likewise.{module}" in text]
        yield set().union(*(tests for path in importing for tests in self.lines.get(path, {}).values()))


def interleaved(tests: set[str], seconds: dict[str, float]) -> list[str]:
    """From each file of tests in turn the quickest one, so that no file takes all the time."""
    rank: Counter[str] = Counter()
    places = {}
    for name in sorted(tests, key=lambda name: (seconds[name], name)):
        rank[file_of(name)] += 1
        places[name] = rank[file_of(name)]
    return sorted(places, key=lambda name: (places[name], seconds[name]))


def file_of(test: str) -> str:
    return test.partition("::")[0]


def order_of_files(chosen: Iterable[str]):
    """Tests of one file stay together: their module is imported, and its fixtures made, once."""
    first: dict[str, int] = {}
    for i, name in enumerate(chosen):
        first.setdefault(file_of(name), i)
    return lambda name: first[file_of(name)]


def outcome(mutant: Mutant, source: bytes, tests: list[str], tree: Path, options: argparse.Namespace) -> dict:
    file = tree / PACKAGE / mutant.path
    names = tree.parent / f"{tree.name}.tests"
    names.write_text("\n".join(tests), encoding="utf-8")
    limit = 6 * options.seconds + START
    file.unlink()
    try:
        replace(file, source if options.control else mutant.apply(source))
        by = first_failure(tree, names, limit) if tests else ""
        replace(file, source)
        if by == TIME and not options.control and first_failure(tree, names, limit) == TIME:
            by = ""
    finally:
        replace(file, source)
    old = source[mutant.start : mutant.end].decode()
    return {**asdict(mutant), "old": old, "tests": len(tests), "by": by}


def replace(file: Path, content: bytes) -> None:
    """Leaves no stale bytecode, which is compared by time in whole seconds and size."""
    file.write_bytes(content)
    shutil.rmtree(file.parent / "__pycache__", ignore_errors=True)


def first_failure(tree: Path, names: Path, limit: float) -> str:
    """The first test that failed, or why else the run ended; empty where all passed."""
    command = [*pytest_in(tree), "-x", f"--timeout={LONGEST}", f"--basetemp={names.with_suffix('.tmp')}", f"@{names}"]
    output = names.with_suffix(".log")
    with output.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=tree, env=environment(tree), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = TIME
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if code == 0:
        return ""
    text = output.read_text(encoding="utf-8", errors="replace")
    if code == TIME or f"Timeout (>{LONGEST}" in text:
        return TIME
    lines = text.splitlines()
    failed = [line.split()[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return failed[0] if failed else f"exit code {code}"


def survivors(file: Path, sources: dict[str, bytes]) -> list[Mutant]:
    """The survivors of an earlier run whose files are as they were."""
    chosen = []
    for found in json.loads(file.read_text(encoding="utf-8")):
        old, by, _ = found.pop("old"), found.pop("by"), found.pop("tests")
        mutant = Mutant(**found)
        if by:
            continue
        if sources.get(mutant.path, b"")[mutant.start : mutant.end] == old.encode():
            chosen.append(mutant)
        else:
            print(f"changed since: {mutant.path}:{mutant.line}", file=sys.stderr)
    return chosen


def title(found: dict) -> str:
    old, new = (" ".join(found[key].split()) for key in ("old", "new"))
    return f"{found['path']}:{found['line']} {found['kind']}: {old} -> {new}"


def report(results: list[dict], kept: Path) -> None:
    package = [found["path"].partition("/")[0] for found in results]
    noticed = Counter(name for name, found in zip(package, results, strict=True) if found["by"])
    print("| package | mutants | noticed | survived |\n|---|---:|---:|---:|")
    for name, total in sorted(Counter(package).items()):
        print(f"| {name} | {total} | {noticed[name]} | {total - noticed[name]} |")
    share = noticed.total() / max(len(results), 1)
    print(f"| all | {len(results)} | {noticed.total()} ({share:.1%}) | {len(results) - noticed.total()} |\n")
    for found in results:
        if not found["by"]:
            print(f"- {title(found)} ({found['tests']} tests)")


if __name__ == "__main__":
    main()

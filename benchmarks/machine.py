"""What every benchmark's result says beside its numbers: the command, the commit and the machine."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def write(name: str, table: str, about: str) -> Path:
    """`results/<name>.md`: what was measured, on what, and the table; printed too."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    text = f"# {name}\n\n{about.strip()}\n\n{facts()}\n\n{table}\n"
    path.write_text(text, encoding="utf-8")
    print(text)
    return path


def facts() -> str:
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    said = {
        "command": f"`{command}`",
        "commit": commit(),
        "machine": f"{processor()}, {os.cpu_count()} cores, {memory_gib():.0f} GiB, {platform.system()}",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
    }
    return "\n".join(f"- {key}: {value}" for key, value in said.items())


def commit() -> str:
    """The commit, and whether the tree differed from it."""
    short = git("rev-parse", "--short", "HEAD") or "none"
    return short + (" with uncommitted changes" if git("status", "--porcelain", "--", "src", "benchmarks/*.py") else "")


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30

"""The quick tests against the lowest versions of every dependency that pyproject.toml allows: `make test-lowest`.

    python tools/test_lowest.py [--torch 2.7.0] [pytest arguments ...]

A virtual environment `.venv-lowest` is made with `name==X` for every `name>=X` of the core and of the extras dev and
view. torch and torchvision stay as constraints.txt has them: the lower ones come with gigabytes of CUDA libraries;
--torch installs that version all the same, with whatever torchvision fits it.
"""

import argparse
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".venv-lowest"
AS_PINNED = ("torch", "torchvision")


def lowest(torch: str = "") -> list[str]:
    """The requirements, each at its lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    listed = dict.fromkeys([*project["dependencies"], *extras["dev"], *extras["view"]])
    pinned = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    wanted = []
    for requirement in listed:
        name = re.match(r"[\w-]+", requirement)
        assert name is not None
        if name[0] not in AS_PINNED:
            wanted.append(requirement.replace(">=", "=="))
        elif not torch:
            wanted.append(f"{name[0]}=={pinned[name[0]]}")
        else:
            wanted.append(f"torch=={torch}" if name[0] == "torch" else name[0])
    return wanted


def install(torch: str) -> Path:
    """The Python of the environment, made anew where the requirements have changed."""
    folder, wanted = ENVIRONMENT, lowest(torch)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8").splitlines() != wanted:
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        stamp.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    return python


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", default="", metavar="VERSION")
    asked, rest = parser.parse_known_args()
    python = install(asked.torch)
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    # old versions beside the newest of what they depend on themselves are full of deprecations
    command = [python, "-m", "pytest", "-q", "-W", "ignore::DeprecationWarning", "-m", "not slow and not system"]
    command += rest or ["-n", "2", "--dist", "worksteal"]
    return subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

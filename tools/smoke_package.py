"""Builds wheel and sdist, installs each in a clean environment with the core alone, and uses it from outside the clone.

    python tools/smoke_package.py [--folder DIR] [--keep]

What is checked: the archives hold the package, its pages and py.typed, and no tests; `likewise --version` is that of
pyproject.toml; a training of digits, evaluate, predict, map and explain end with code 0; an error that names an extra
names this wheel. --folder: where environment and archives are made (default: a temporary one). Needs a package index
for the dependencies, which constraints.txt pins. Prints a line for each step; exit code 1 with the output of what
failed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HELD = ("py.typed", "viz/pages/style.css", "viz/pages/decide.js", "serve/page/index.html", "viz/viewers/atlas.py")
IMAGE = "from PIL import Image; Image.new('L', (8, 8), 120).save('one.png')"
COMMANDS = (
    ("likewise", "--version"),
    ("likewise", "train", "digits", "epochs=1", "--name", "d"),
    ("likewise", "evaluate", "runs/d", "--json"),
    ("python", "-c", IMAGE),
    ("likewise", "predict", "runs/d", "one.png"),
    ("likewise", "map", "runs/d", "--to", "projector", "-o", "projector", "--method", "pca"),
    ("likewise", "explain", "knn@1"),
    ("python", "-c", "import likewise, sys; assert 'torch' not in sys.modules; print(likewise.train.__doc__[:60])"),
)


class FailedError(Exception):
    """A step that ended otherwise than it should; its text is what it printed."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, metavar="DIR")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    asked = parser.parse_args()
    folder = (asked.folder or Path(tempfile.mkdtemp(prefix="likewise-smoke-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        check(folder)
    except FailedError as failed:
        print(failed)
        return 1
    finally:
        if not asked.keep and asked.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print("wheel and sdist install and work")
    return 0


def check(folder: Path) -> None:
    """All steps. Errors: FailedError."""
    builder = environment(folder / "builder")
    run([builder / "python", "-m", "pip", "install", "--quiet", *BUILD], folder)
    wheel, sdist = archives(builder, folder)
    held(wheel, sdist)
    clean = environment(folder / "clean")
    pip = [clean / "python", "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
    outside = folder / "outside"
    for archive, commands in ((wheel, COMMANDS), (sdist, COMMANDS[:1] + COMMANDS[-1:])):
        run([*pip, "--force-reinstall", "--no-deps", archive] if archive == sdist else [*pip, archive], folder)
        shutil.rmtree(outside, ignore_errors=True)
        outside.mkdir()
        for program, *words in commands:
            said = run([clean / program, *words], outside)
            if words == ["--version"] and said.strip() != f"likewise {PROJECT['version']}":
                raise FailedError(f"likewise --version printed {said.strip()!r}")
        said = run([clean / "likewise", "serve", "none.gallery"], outside, code=2)
        if f"pip install '{archive}[serve]'" not in said:
            raise FailedError(f"an error should name {archive.name}, and is: {said}")


BUILD = ("setuptools>=77", "wheel")


def environment(folder: Path) -> Path:
    """The folder of programs of a new virtual environment."""
    venv.create(folder, clear=True, with_pip=True)
    return folder / ("Scripts" if os.name == "nt" else "bin")


def archives(builder: Path, folder: Path) -> tuple[Path, Path]:
    """Wheel and sdist of a copy of the clone, so that nothing of an earlier build gets in."""
    source, out = folder / "source", folder / "dist"
    shutil.rmtree(source, ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    source.mkdir()
    out.mkdir()
    for name in ("src", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, source / name)
    for leftover in source.rglob("*.egg-info"):
        shutil.rmtree(leftover)
    # the backend changes sys.argv while it works
    script = "import sys; from setuptools.build_meta import *; out = sys.argv[1]; build_sdist(out); build_wheel(out)"
    run([builder / "python", "-c", script, out], source)
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def held(wheel: Path, sdist: Path) -> None:
    """Errors: FailedError where an archive lacks a file, or holds what it should not."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    with tarfile.open(sdist) as archive:
        sources = archive.getnames()
    missing = [name for name in HELD if f"likewise/{name}" not in names]
    missing += [name for name in HELD if not any(one.endswith(f"src/likewise/{name}") for one in sources)]
    foreign = [name for name in names if not name.startswith(("likewise/", "likewise-"))]
    if missing or foreign:
        raise FailedError(f"the archives lack {missing} and hold {foreign}")
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1e6:.1f} MB; {sdist.name}", flush=True)


def run(command: Sequence[str | Path], folder: Path, *, code: int = 0) -> str:
    """What a command prints. Errors: FailedError for another exit code."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LIKEWISE_DATA")
    variables = {name: value for name, value in os.environ.items() if name not in hidden}
    words = list(map(str, command))
    done = subprocess.run(
        words, cwd=folder, env=variables, capture_output=True, text=True, encoding="utf-8", check=False
    )
    said = done.stdout + done.stderr
    if done.returncode != code:
        raise FailedError(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{said[-3000:]}")
    print("ok ", " ".join(map(str, command[1:] if code == 0 else command))[:100], flush=True)
    return said


if __name__ == "__main__":
    sys.exit(main())

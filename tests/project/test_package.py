"""What wheel and sdist hold; `make package` installs them in a clean environment and uses them from there."""

import importlib.util
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE = ROOT / "src" / "likewise"


@pytest.fixture(scope="module")
def smoke():
    spec = importlib.util.spec_from_file_location("smoke_package", ROOT / "tools" / "smoke_package.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_every_file_of_the_package_is_declared():
    """Modules are found by themselves; other files need a pattern in pyproject.toml."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["likewise"]
    declared = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    others = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in others if path.suffix != ".py"} == declared
    assert {path.name for path in PACKAGE.rglob("*.py") if not (path.parent / "__init__.py").exists()} == set()


def test_names_of_files_suit_every_system():
    """Letters of both cases of one name, or a device's name, would be lost on Windows or macOS."""
    reserved = {"con", "prn", "aux", "nul"}
    for folder in ("src", "tests", "tools", "docs", "benchmarks"):
        names = [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*")]
        assert len({name.casefold() for name in names}) == len(names)
        for name in names:
            assert not set('<>:"|?*\\') & set(name), name
            assert not any(part.partition(".")[0].casefold() in reserved or part.endswith((".", " "))
                           for part in name.split("/")), name  # fmt: skip


@pytest.mark.slow
def test_the_archives_hold_the_package_and_nothing_else(smoke, tmp_path):
    pytest.importorskip("setuptools", minversion="77", reason="needs setuptools, which builds the archives")
    wheel, sdist = smoke.archives(Path(sys.executable).parent, tmp_path)
    smoke.held(wheel, sdist)
    with zipfile.ZipFile(wheel) as archive:
        held = {name.removeprefix("likewise/") for name in archive.namelist() if name.startswith("likewise/")}
        about = archive.read(f"likewise-{PROJECT['project']['version']}.dist-info/METADATA").decode()
    there = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*")
             if path.is_file() and "__pycache__" not in path.parts}  # fmt: skip
    assert held == there
    assert "License-Expression: MIT" in about
    assert "\nRequires-Dist: torch>=2.7\n" in about
    with tarfile.open(sdist) as archive:
        assert {name.partition("/")[2] for name in archive.getnames()} >= {"pyproject.toml", "LICENSE", "README.md"}


def test_a_file_that_is_missing_is_seen(smoke, tmp_path):
    with zipfile.ZipFile(tmp_path / "l.whl", "w") as archive:
        archive.writestr("likewise/py.typed", "")
        archive.writestr("tests/x.py", "")
    with tarfile.open(tmp_path / "l.tar.gz", "w"):
        pass
    with pytest.raises(smoke.FailedError, match=r"lack \['viz/pages/style.css'.*hold \['tests/x.py'\]"):
        smoke.held(tmp_path / "l.whl", tmp_path / "l.tar.gz")

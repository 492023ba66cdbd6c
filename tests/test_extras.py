"""The line that installs an extra: a clone, a wheel, a repository, the index; and that no message writes its own."""

import json
import re
import sys
import tomllib
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

import likewise
from likewise import extras

ROOT = Path(likewise.__file__).parent
windows = pytest.mark.skipif(sys.platform == "win32", reason="paths and quotes of POSIX")


def installed(folder: Path, record: object) -> PathDistribution:
    """A distribution as pip leaves it."""
    info = folder / "likewise-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: likewise\nVersion: 0.1.0\n", encoding="utf-8")
    if record is not None:
        text = record if isinstance(record, str) else json.dumps(record)
        (info / "direct_url.json").write_text(text, encoding="utf-8")
    return PathDistribution(info)


@windows
@pytest.mark.parametrize(
    ("record", "line"),
    [
        (None, "pip install 'likewise[serve]'"),
        ({"url": "file:///home/me/like%20wise", "dir_info": {}}, "pip install '/home/me/like wise[serve]'"),
        (
            {"url": "file:///tmp/likewise-0.1.0-py3-none-any.whl", "archive_info": {"hash": "sha256=00"}},
            "pip install '/tmp/likewise-0.1.0-py3-none-any.whl[serve]'",
        ),
        (
            {"url": "https://example.org/l.git", "vcs_info": {"vcs": "git", "commit_id": "12ab"}},
            "pip install 'likewise[serve] @ git+https://example.org/l.git@12ab'",
        ),
        (
            {"url": "https://example.org/likewise-0.1.0-py3-none-any.whl", "archive_info": {}},
            "pip install 'likewise[serve] @ https://example.org/likewise-0.1.0-py3-none-any.whl'",
        ),
        ("not JSON", "pip install 'likewise[serve]'"),
        ([1], "pip install 'likewise[serve]'"),
        ({"vcs_info": 3, "url": "u"}, "pip install 'likewise[serve]'"),
    ],
)
def test_the_line_follows_what_pip_installed(tmp_path, record, line):
    assert extras.line("serve", None, extras.origin_of(installed(tmp_path, record))) == line


@windows
def test_in_a_clone_the_line_installs_the_clone(tmp_path, monkeypatch):
    clone = tmp_path / "a clone"
    package = clone / "src" / "likewise"
    package.mkdir(parents=True)
    assert extras.clone_of(package) is None
    (clone / "pyproject.toml").write_text("", encoding="utf-8")
    assert extras.clone_of(package) == clone
    assert extras.clone_of(tmp_path / "lib" / "site-packages" / "likewise") is None
    assert extras.line("serve", clone, "") == f"pip install -e '{clone}[serve]'"
    monkeypatch.chdir(clone)
    assert extras.line("serve", clone, "file:///elsewhere") == "pip install -e '.[serve]'"


@windows
def test_quotes_hold_what_a_shell_would_read():
    import shlex

    for path in ("/it's/here", "/a b", "/$HOME/`x`"):
        assert shlex.split(extras.line("view", Path(path), ""))[-1] == f"{path}[view]"


def test_this_copy_has_its_line():
    assert re.fullmatch(r"pip install .*\[export\].*", extras.install_line("export"))


def test_every_message_asks_for_its_line_and_names_an_extra_that_there_is():
    there = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    named: set[str] = set()
    for path in ROOT.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named |= set(re.findall(r"install_line\([\"'](\w+)[\"']\)", text))
        code = re.sub(r'""".*?"""', "", text, flags=re.DOTALL)
        assert path.name == "extras.py" or "likewise[" not in code, f"{path} writes an install line of its own"
    assert {"serve", "export", "gallery", "tune", "yaml", "images", "view"} <= named
    assert named <= set(there["project"]["optional-dependencies"])

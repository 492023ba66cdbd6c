"""What the documents show is run, and the tree is true."""

import re
import tomllib
from pathlib import Path

import pytest

import likewise
from typed import parse, typed_commands

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGE = Path(likewise.__file__).parent
NUMBER = re.compile(r"-?\d+(?:\.\d*)?")


def python_blocks() -> list[str]:
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", README + page, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("code", python_blocks(), ids=["train", "sklearn", "loss"])
def test_python_in_the_readme_runs_and_prints_what_it_shows(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    shown = [line.removeprefix("# -> ") for line in code.splitlines() if line.startswith("# -> ")]
    assert shown
    for expected, printed in zip(shown, said[-len(shown) :], strict=True):
        assert NUMBER.sub("0", printed).split() == NUMBER.sub("0", expected).split()
        numbers = [float(x) for x in NUMBER.findall(expected)]
        assert [float(x) for x in NUMBER.findall(printed)] == pytest.approx(numbers, abs=0.05)


def commands() -> list[list[str]]:
    """What the documents tell to type, once each."""
    pages = [README, *(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")))]
    return [list(words) for words in dict.fromkeys(tuple(words) for page in pages for words in typed_commands(page))]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_in_the_documents_parse(words):
    parse(words)


def test_the_readme_names_the_two_commands():
    assert re.findall(r"^    make (\w+)", README, flags=re.MULTILINE) == ["demo", "test"]


def test_the_tree_of_the_architecture_is_true():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    tree = page.partition("    src/likewise/\n")[2].partition("\n\n")[0]
    said = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("      ") and line[6] != " "}
    there = {p.name for p in PACKAGE.iterdir() if not p.name.startswith("__") and p.name != "py.typed"}
    assert said == there


def test_links_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_public_names_are_there():
    for name in likewise.__all__:
        assert getattr(likewise, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        likewise.nothing  # noqa: B018


def test_every_dependency_is_explained_where_it_is_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"Core": declared["dependencies"]}
    wanted |= {f"`likewise[{name}]`": deps for name, deps in declared["optional-dependencies"].items() if name != "dev"}
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    sections = {part.partition("\n")[0]: part for part in page.split("## ")[1:]}
    for name, deps in wanted.items():
        named = set(re.findall(r"^\| ([a-z][\w-]*) \|", sections[name], flags=re.MULTILINE)) - {"package"}
        assert named == {re.split(r"[\[<>=]", dep)[0].lower() for dep in deps}, name

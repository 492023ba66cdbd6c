"""A forerunner's experiment with every part of its section replaced by a note of what it was given."""

from pathlib import Path
from types import ModuleType

import pytest

from likewise.reproduce.experiment import Experiment
from likewise.reproduce.section import Section

__all__ = ["EXPERIMENT", "replay"]

EXPERIMENT = "the experiment"


def replay(monkeypatch: pytest.MonkeyPatch, module: ModuleType, folder: Path, **answers) -> list[tuple]:
    """Run it: (name, what it was given beside the section) of each part, in the order of the calls.

    answers: other functions of the module by name.
    """
    called: list[tuple] = []

    def part(name: str):
        def noted(*given, **more):
            rest = given[1:] if given and isinstance(given[0], Section) else given
            named = tuple(EXPERIMENT if isinstance(one, Experiment) else one for one in (*rest, *more.values()))
            called.append((name, *named))
            return [name]

        return noted

    others = ("introduction", "crops", "slips", "their_words")
    for name in (name for name in vars(module) if name.startswith("of_") or name in others):
        monkeypatch.setattr(module, name, part(name))
    if hasattr(module, "load_images"):
        monkeypatch.setattr(module, "load_images", lambda recipe: "load_images")
    for name, answer in answers.items():
        monkeypatch.setattr(module, name, answer)
    monkeypatch.setattr(Section, "figure", lambda section, name, figure, caption: section.say(name))
    section = module.run(Experiment(folder, train=False))
    assert section.read_text(encoding="utf-8").split() == [name for name, *_ in called if name in others]
    return called

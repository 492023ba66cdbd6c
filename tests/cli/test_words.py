"""What the command line says of its own words: version, fields, scores, and options that are none."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

import likewise
from likewise.cli import main
from likewise.cli.fields import GROUPS, grouped
from likewise.cli.metric_texts import explained_metric, metrics
from likewise.experiment.recipe import Recipe


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["likewise", *words])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        return (code, *capsys.readouterr())

    return run


def test_a_shell_completes_the_commands():
    words = {"COMP_WORDS": "likewise tra", "COMP_CWORD": "1", "_LIKEWISE_COMPLETE": "complete_bash"}
    done = subprocess.run([sys.executable, "-c", "from likewise.cli import main; main()"], env={**os.environ, **words},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.stdout.split() == ["train", "translate"]


def test_the_version(call):
    assert call("--version") == (0, f"likewise {likewise.__version__}\n", "")


def test_every_field_is_listed_once_by_its_subject(call):
    groups = grouped()
    assert [field for group in groups.values() for field in group] == list(dataclasses.fields(Recipe))
    assert {group: fields[0].name for group, fields in groups.items()} == GROUPS
    listed = json.loads(call("list", "fields", "--json")[1])
    assert listed["lr=0.001"] == "peak learning rate"
    assert len(listed) == len(dataclasses.fields(Recipe))
    assert "pretrain_epochs" in call("train", "--help")[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("train", "digits", "--epochs", "3"),
            "--epochs is a field of the recipe, and fields are written without dashes: write epochs=3",
        ),
        (("tune", "digits", "--max-seconds=3"), "write max_seconds=3"),
        (("train", "digits", "--loss", "triplet(margin=0.1)"), "write loss='triplet(margin=0.1)'"),
        (("train", "digits", "--lr", "epochs=3"), "write, for example, lr=0.001"),
        (("train", "digits", "--out", "o", "--lr"), "write, for example, lr=0.001"),
        (("train", "digits", "--epoch", "3"), "No such option: --epoch; `likewise train --help` shows what it takes"),
        (("map", "x", "--epochs", "3"), "No such option: --epochs; `likewise map --help` shows"),
        (("predict",), "Missing argument 'RUN'; `likewise predict --help`"),
        (("nothing",), "No such command 'nothing'"),
        (("explain", "xyzzy"), "nothing is named 'xyzzy'; `likewise list KIND` has the names"),
        (("explain", "tripet"), "did you mean triplet"),
        (("list", "metric"), "did you mean metrics"),
    ],
)
def test_a_wrong_word_is_one_sentence(call, words, sentence):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_every_score_is_explained_by_its_name(call):
    for name, meaning in metrics().items():
        assert meaning in explained_metric(name)
        assert "{" not in explained_metric(name)
    assert "Each test image is assigned the class of its most similar training image." in call("explain", "knn@1")[1]
    assert "TAR at FAR 0.1 %" in explained_metric("tar@far=0.001")
    assert explained_metric("unheard@3") == ""

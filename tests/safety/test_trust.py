"""Nothing of a stranger's is run: what files name, what they announce, and what of them reaches a terminal."""

import ast
import json
import os
import random
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import likewise
from hostile import MARKER, command, fields, fresh, marker, values, watched
from likewise import spec
from likewise.cli import main
from likewise.experiment.recipe import Recipe
from likewise.experiment.train import train
from likewise.models import Embedder, description

ROOT = Path(likewise.__file__).parent


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A run, an image, and a folder with a module that leaves a trace when it is imported."""
    folder = tmp_path_factory.mktemp("stranger")
    marker(folder)
    recipe = Recipe(
        data="digits", max_per_class=12, epochs=1, network="mlp(widths=(16,))", dim=4, sampler="pk(classes=5, images=2)"
    )
    run = train(recipe, out=folder / "runs", name="theirs")[0].path
    image = folder / "image.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(image)
    sys.path.insert(0, str(folder))
    yield folder, run, image
    sys.path.remove(str(folder))


def called(words: list[str], monkeypatch) -> int:
    monkeypatch.setattr(sys, "argv", ["likewise", *words])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def tried(stranger, monkeypatch, capsys, chosen) -> list[str]:
    """What each (field, value, command) did that it must not."""
    folder, run, image = stranger
    every, wrong = fields(run), []
    monkeypatch.chdir(folder)
    for name, value, verb in chosen:
        copy = fresh(run, folder / "copy")
        every[name][0](copy, value)
        with watched(folder) as events:
            code = called(command(verb, copy, image), monkeypatch)
        out, err = capsys.readouterr()
        wrong += [f"{verb}, {name} = {value!r:.60}: {event}" for event in events]
        wrong += [f"{verb}, {name} = {value!r:.60}: exit code {code}"] * (code not in (0, 1, 2))
        wrong += [f"{verb}, {name} = {value!r:.60}: {err[:300]}"] * ("unexpected" in err or "Traceback" in err)
        wrong += [f"{verb}, {name} = {value!r:.60}: escapes printed"] * ("\x1b" in out + err)
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_no_field_of_a_run_runs_anything(stranger, monkeypatch, capsys, part):
    """Every third field, one value each; a sample of all values is below."""
    folder, run, _ = stranger
    names, rng = fields(run), random.Random(part)
    chosen = [
        (n, v, rng.choice(names[n][1])) for n in list(names)[part::12] for v in rng.sample(values(folder)[:12], 1)
    ]
    assert len(values(folder)) >= 20
    assert len(chosen) >= 5
    assert tried(stranger, monkeypatch, capsys, chosen) == []


WHOLE = os.environ.get("LIKEWISE_HOSTILE") == "whole"  # an hour on a busy core; a sample of it else
PARTS = 40


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS if WHOLE else 1))
def test_every_field_and_every_value(stranger, monkeypatch, capsys, part):
    """Each field with each value; the commands that read it take turns, so that every one sees every field."""
    folder, run, _ = stranger
    names = fields(run)
    every = [(n, v, names[n][1][i % len(names[n][1])]) for n in names for i, v in enumerate(values(folder))]
    chosen = every[part::PARTS] if WHOLE else random.Random(0).sample(every, 12)
    assert tried(stranger, monkeypatch, capsys, chosen) == []


def test_the_head_that_ran_a_shell_command(stranger, monkeypatch, capsys):
    folder, run, _ = stranger
    copy = fresh(run, folder / "copy")
    names = fields(run)
    names["model.json config head"][0](copy, "pydoc:pipepager")
    names["model.json config dim"][0](copy, f"touch {folder / 'TRACE'}")
    with watched(folder) as events, pytest.raises(ValueError, match="dim is a whole number from 0 to 65,536"):
        Embedder.load(copy)
    names["model.json config dim"][0](copy, 4)
    with (
        watched(folder) as more,
        pytest.raises(spec.SpecError, match=r"head 'pydoc:pipepager' of the module 'pydoc'; .* --trust-code"),
    ):
        Embedder.load(copy)
    assert events == more == []


@pytest.mark.slow
def test_trusted_code_is_run(stranger, monkeypatch, capsys):
    """The counterpart: with --trust-code the module is imported, so that the refusals above are seen to refuse."""
    folder, run, _ = stranger
    copy = fresh(run, folder / "copy")
    fields(run)["recipe loss"][0](copy, f"{MARKER}:touch")
    with watched(folder) as events:
        assert called(["report", str(copy)], monkeypatch) == 2
    assert (events, f"{MARKER}:touch" in capsys.readouterr().err) == ([], True)
    with watched(folder) as events:
        called(["report", str(copy), "--trust-code"], monkeypatch)
    assert f"import {MARKER}" in events
    spec.TYPED.clear()
    with watched(folder) as events:
        Recipe.load(copy / "recipe.toml", trust_code=True)
    assert events
    spec.TYPED.clear()


def test_what_the_user_typed_stays_as_it_was(stranger):
    recipe = Recipe(loss=f"{MARKER}:touch")
    assert Recipe.from_toml(recipe.to_toml()) == recipe  # named in this process by its user, hence no stranger's
    spec.TYPED.clear()
    with pytest.raises(spec.SpecError, match="names code outside likewise"):
        Recipe.from_toml(recipe.to_toml())
    with spec.trusting():
        assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert not spec.trusted()
    spec.TYPED.clear()


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("network", "mlp(widths=(99999999,))", "widths is 99999999"),
        ("network", f"mlp(widths={(1,) * 65})", "has 65 entries"),
        ("network", "mlp(widths='abc')", "widths is a list"),
        ("network", "mlp(bias=1)", "bias is True or False"),
        ("network", "mlp(dropout=1e999)", "numbers from"),
        ("head", "projection(hidden=2.5)", "hidden is a whole number"),
        ("loss", "sum(losses=['a:b'])", "of the module 'a'"),
        ("augment", "chain(steps=[\"chain(steps=['a:b'])\"])", "of the module 'a'"),
        ("sampler", "os:system", "of the module 'os'"),
        ("sim", "cosine(" + "a" * 20_000, "at most 10,000 characters"),
        ("loss", 3, "is a name such as"),
        ("split", "likewise.recipes.faces:other", "names code outside"),
    ],
)
def test_names_from_files(kind, text, why):
    with pytest.raises(spec.SpecError, match=why.replace("(", r"\(")):
        spec.from_file(kind, text, "model.json")


def test_members_of_the_package_are_accepted():
    for kind, text in (
        ("network", "mlp(widths=(64, 64))"),
        ("loss", "sum(losses=['triplet(margin=0.2)', 'softmax'], weights=[1, 0.5])"),
        ("split", "likewise.recipes.faces:tenth(at=0)"),
        ("data", "/some/folder: with a colon"),
        ("network", "timm:resnet18(pooling='gem')"),
        ("loss", "pml:FastAPLoss(num_bins=10)"),
    ):
        assert spec.from_file(kind, text, "recipe.toml") == text


# Who reads what: a file that opens such content itself, with the reason. Everything else goes through `safety`.
READERS = {
    "json.loads": {
        "safety/bounds.py",
        "extras.py",  # what pip wrote about this installation
        "data/name_groups.py",  # what its own process answers
        "models/pretrained.py",
        "models/huggingface.py",
        "data/cache.py",
        "reproduce/section.py",
    },
    "tomllib.loads": {"safety/bounds.py"},
    "yaml.safe_load": {"safety/yaml_files.py"},
    "np.load": {"data/arrays.py"},
    "torch.load": {"models/weights.py"},
    "pq.read_table": set(),
    "pq.ParquetFile": {"safety/parquet.py"},
    "safe_open": {"models/weights.py", "experiment/checkpoint.py"},
    "load_file": set(),
    "Image.open": {"export/reading.py", "reproduce/section.py", "serve/uploads.py"},
    "importlib.import_module": {"spec.py", "losses/interop.py", "models/pretrained.py", "models/libraries.py"},
}
NEVER = {"pickle.load", "pickle.loads", "yaml.load", "eval", "exec", "os.system", "marshal.loads", "shelve.open"}


def test_files_are_read_in_few_places():
    """So that no reader forgets to check names and bounds: a new one is added here, or goes through `safety`."""
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name, where = ast.unparse(node.func), path.relative_to(ROOT).as_posix()
                assert name not in NEVER, f"{where} calls {name}"
                assert where in READERS.get(name, {where}), f"{where} calls {name}: read through likewise.safety"
                asks = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert name != "torch.load" or asks.get("weights_only") == "True"
                assert name != "np.load" or asks.get("allow_pickle") == "False"
                assert asks.get("trust_remote_code", "False") == "False"
                assert asks.get("shell", "False") == "False"


@pytest.mark.parametrize("length", [description.NAME, description.NAME + 1])
def test_texts_of_an_architecture_up_to_the_bound(length):
    fields = {"model_type": "vit", "act": "x" * length}
    expected = nullcontext() if length == description.NAME else pytest.raises(ValueError, match="more than 4,096 char")
    with expected:
        description.check_architecture(fields, "m")


@pytest.mark.slow
def test_no_field_of_an_export_runs_anything(stranger, monkeypatch, capsys):
    """Each field of model.onnx's metadata with a sample of the values, for each command that reads one."""
    import onnx

    folder, run, image = stranger
    assert called(["export", str(run), "--to", "onnx"], monkeypatch) == 0
    proto, rng, wrong = onnx.load(run / "export" / "model.onnx"), random.Random(0), []
    about = json.loads(proto.metadata_props[0].value)
    (run / "export" / "SHA256SUMS").unlink()
    for key in (*about, "unknown"):
        for value in rng.sample(values(folder), 8):
            onnx.helper.set_model_props(proto, {"likewise": json.dumps(about | {key: value})})
            onnx.save(proto, run / "export" / "model.onnx")
            model, made = str(run / "export" / "model.onnx"), folder / "made.gallery"
            for words in (
                ["embed", model, str(image), "-o", str(folder / "out.parquet")],
                ["gallery", "create", str(made), "--model", model],
                ["gallery", "enroll", str(made), str(image), "--label", "a"],
            ):
                with watched(folder) as events:
                    code = called(words, monkeypatch)
                out, err = capsys.readouterr()
                bad = [*events, *["escapes printed"] * ("\x1b" in out + err), *[err] * ("Traceback" in err)]
                wrong += [f"{words[:2]}, {key} = {value!r:.60}: {x}" for x in bad + [code] * (code not in (0, 1, 2))]
            for path in folder.glob("made.gallery*"):
                path.unlink()
    assert wrong == []

"""Export: the file gives the run's own vectors, runs without torch, and is whole or not there."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from likewise import api, load_data
from likewise.cli import main
from likewise.evaluate import Embeddings
from likewise.export import making, session
from likewise.export.making import ExportError, export
from likewise.export.session import SUMS, Session, exported
from likewise.models import Embedder

pytestmark = pytest.mark.slow  # a training or several processes for each part of it

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SETTINGS = {"size": 16, "epochs": 1, "dim": 8, "max_per_class": 30}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A small convolutional run on real digits."""
    recipe = api.load_recipe("digits").replace(**SETTINGS)
    return api.train(recipe, out=tmp_path_factory.mktemp("runs"), name="d").path


@pytest.fixture(scope="module")
def made(run):
    """The run, exported with int8."""
    return export(run, int8=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for i, pixels in enumerate(load_data("digits", size=16).part("test").pixels[:5]):
        Image.fromarray(pixels[0].numpy()).resize((40, 30)).save(folder / f"{i}.png")
    return folder


def test_the_file_gives_the_vectors_of_the_run_for_any_batch(run, made):
    pixels = load_data("digits", size=16).part("test").pixels[:7]
    wanted = Embedder.load(run).embed(pixels).numpy()
    opened = Session(made.folder / "model.onnx")
    for n in (1, 2, 7):
        given = pixels[:n].permute(0, 2, 3, 1).numpy()
        assert np.abs(opened(given) - wanted[:n]).max() < 1e-5
    assert made.difference < 1e-5
    assert opened.shape == (1, 16, 16)
    assert opened.about["sim"] == "cosine"


def test_what_lies_in_the_folder(run, made):
    names = {p.name for p in made.folder.iterdir()}
    assert names == {"model.onnx", "model.int8.onnx", "README.md", SUMS}
    assert not [p for p in run.iterdir() if p.name.startswith(".export")]
    checked = subprocess.run(["sha256sum", "-c", SUMS], cwd=made.folder, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    card = (made.folder / "README.md").read_text(encoding="utf-8")
    scores = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["scores"]
    assert f"| knn@1 | {scores['knn@1']['value']:.4f} (" in card
    for word in ("## Data", "## Scores", "## Threshold", "## Licence", "## int8", "uint8 [N, H, W, C]"):
        assert word in card


def test_int8_is_smaller_and_keeps_the_score(made):
    sizes = [(made.folder / f"model{kind}.onnx").stat().st_size for kind in ("", ".int8")]
    assert sizes[1] < 0.5 * sizes[0]
    before, after = made.int8["knn@1"]
    assert after["value"] > before["value"] - 0.1
    assert before["n"] == after["n"] > 0


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "timm", "sklearn"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
from likewise.cli import main
sys.argv = ["likewise", *sys.argv[1:]]
main()
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("source", ["model.onnx", "run"])
def test_embed_runs_where_torch_cannot_be_imported(run, made, pictures, tmp_path, source):
    given = run if source == "run" else made.folder / source
    words = [sys.executable, "-c", BLOCKED, "embed", str(given), str(pictures), "-o", str(tmp_path / "out.parquet")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("5 images, 8 numbers each")
    found = Embeddings.load(tmp_path / "out.parquet")
    wanted = Embedder.load(run).embed(sorted(pictures.iterdir()))
    assert found.ids == tuple(map(str, sorted(pictures.iterdir())))
    assert (found.vectors - wanted).abs().max() < 2e-3, "a byte of a resized image may differ by one"


def test_embed_of_a_run_with_other_weights_takes_the_run(run, made, tmp_path):
    assert exported(run) == made.folder / "model.onnx"
    model = Embedder.load(run)
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    other = tmp_path / "other"
    model.save(other / "model")
    (other / "export").symlink_to(made.folder, target_is_directory=True)
    assert exported(other) is None
    assert exported(tmp_path) is None


def test_beyond_the_limit_there_is_no_export(run, monkeypatch, capsys):
    kept = contents(run)
    monkeypatch.setattr(making, "Session", Off)
    with pytest.raises(ExportError, match="differs from the run's own by"):
        export(run)
    monkeypatch.setattr(sys, "argv", ["likewise", "export", str(run), "--to", "onnx"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert contents(run) == kept


def contents(run: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.rglob("*") if path.is_file()}


class Off(Session):
    """A runtime that is a little off."""

    def __call__(self, given):
        return super().__call__(given) + 3e-4


def test_a_changed_file_is_refused(made, tmp_path):
    for name in ("model.onnx", SUMS):
        (tmp_path / name).write_bytes((made.folder / name).read_bytes())
    content = bytearray((tmp_path / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ValueError, match="damaged or was changed"):
        Session(tmp_path / "model.onnx")


def test_what_is_wrong_is_one_sentence(run, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="--to is onnx, got 'tflite'"):
        export(run, to="tflite")
    with pytest.raises(ValueError, match="there is no file"):
        Session(tmp_path / "none.onnx")
    (tmp_path / "no.onnx").write_bytes(b"no")
    with pytest.raises(ValueError, match="does not load as ONNX"):
        Session(tmp_path / "no.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install .*\[export\]'"):
        session.extra("onnxruntime")


def test_vectors_are_exported_as_numbers(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    np.savez(tmp_path / "rows.npz", X=(rng.normal(size=(3, 6))[y] + rng.normal(size=(120, 6))).astype(np.float32), y=y)
    recipe = api.load_recipe(str(tmp_path / "rows.npz")).replace(dim=4, epochs=1, sampler="pk(classes=3, images=8)")
    assert (recipe.size, recipe.network) == (0, "mlp(widths=(256,))")
    run = api.train(recipe, out=tmp_path / "runs", name="rows")
    made = export(run.path)
    opened = Session(made.folder / "model.onnx")
    assert opened.about["input"] == "float32 [N, 6]"
    with pytest.raises(ValueError, match="not image files"):
        opened.embed(["a.png"])
    assert exported(run.path) is None

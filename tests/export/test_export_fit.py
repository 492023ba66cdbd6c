"""A run that pads images of another aspect: its gallery, its evaluation and its exported model pad them too."""

import numpy as np
import pytest
from PIL import Image

from likewise import api
from likewise.experiment.recipe import Recipe
from likewise.export.making import export
from likewise.export.session import Session
from likewise.gallery.encoder import open_encoder
from likewise.imaging.decode import decode
from likewise.models import Embedder

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.mark.slow
def test_wide_images_are_padded_everywhere(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(24):
        path = tmp_path / "data" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = (20, 60) if i % 3 else (70, 30)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    recipe = Recipe(
        data=str(tmp_path / "data"), size="32x40", fit="pad", network="efficientnet_lite", dim=4, epochs=1,
        sampler="pk(classes=2, images=4)", eval_every_epochs=0, doctor=False, split="ratio(val=0.2, test=0.2)",
    )  # fmt: skip
    run = api.train(recipe, out=tmp_path, name="run")
    model, paths = Embedder.load(run.path), sorted((tmp_path / "data").rglob("*.png"))
    assert model.fit == "pad"
    vectors = model.embed(paths).numpy()
    padded = np.stack([decode(path, (3, 32, 40), mode="pad").numpy() for path in paths])
    np.testing.assert_allclose(vectors, model.embed(padded).numpy(), atol=1e-6)
    assert np.abs(vectors - model.embed(np.stack([decode(p, (3, 32, 40)).numpy() for p in paths])).numpy()).max() > 1e-3
    made = export(run.path)
    session = Session(made.folder / "model.onnx")
    assert session.fit == "pad"
    np.testing.assert_allclose(session.embed(paths), vectors, atol=5e-3)
    np.testing.assert_allclose(open_encoder(made.folder / "model.onnx").embed(paths), vectors, atol=5e-3)
    on_itself = api.evaluate_on(run.path, tmp_path / "data")
    assert on_itself["scores"]["knn@1"]["value"] == 1.0

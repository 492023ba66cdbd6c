"""A model that pads images of another aspect does so as a run, on other images, and exported."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from likewise.data import load
from likewise.experiment.evaluate_on import read_images
from likewise.export.making import SUMS, write_onnx
from likewise.export.session import BYTES, Session
from likewise.gallery.encoder import open_encoder
from likewise.imaging.decode import decode
from likewise.models import Embedder

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["small_resnet(width=4)", "efficientnet_lite"])
def test_wide_images_are_padded_everywhere(tmp_path, network):
    rng = np.random.default_rng(0)
    for i in range(6):
        path = tmp_path / "data" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = (20, 60) if i % 3 else (70, 30)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    torch.manual_seed(0)
    model = Embedder(network, shape=(3, 32, 40), dim=4, fit="pad", normalize=False).eval()
    images = load(str(tmp_path / "data"), size="32x40", fit="pad")
    paths = [tmp_path / "data" / name for name in images.ids]
    padded = torch.stack([decode(path, (3, 32, 40), mode="pad") for path in paths])
    assert torch.equal(images.batch(torch.arange(6)), padded)
    assert torch.equal(read_images(tmp_path / "data", model).batch(torch.arange(6)), padded)
    vectors = model.embed(paths)
    torch.testing.assert_close(vectors, model.embed(padded))
    stretched = model.embed(torch.stack([decode(path, (3, 32, 40)) for path in paths]))
    assert (vectors - stretched).abs().max() > 1e-4
    metadata = {"shape": [3, 32, 40], "dim": 4, "sim": "dot", "classes": ["a", "b"], "input": BYTES, "fit": model.fit}
    file = tmp_path / "model.onnx"
    write_onnx(model, images, file, metadata)
    (tmp_path / SUMS).write_text(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  model.onnx\n")
    session = Session(file)
    assert session.fit == "pad"
    given = padded.permute(0, 2, 3, 1).contiguous().numpy()
    np.testing.assert_allclose(session(given), vectors.numpy(), atol=1e-4)
    # a byte of a resized image may differ by one without torch
    np.testing.assert_allclose(session.embed(paths), vectors.numpy(), atol=0.02 * float(vectors.abs().max()))
    np.testing.assert_allclose(open_encoder(file).embed(paths), session.embed(paths))

"""A run for other viewers: what is written by hand-worked values, and whether their own packages read it."""

import base64
import dataclasses
import io
import json
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from likewise.audit import audit, read_findings, write_csv
from likewise.cli import main
from likewise.data import load
from likewise.data.images import Images
from likewise.embeddings import Embeddings
from likewise.experiment.run import Run
from likewise.viz.viewers import VIEWERS, projector, write_for
from likewise.viz.viewers.atlas import neighbours
from likewise.viz.viewers.points import points
from report_run import digits, embeddings, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run on 60 digits with an audit."""
    images = digits(60)
    made = Run.open(write_run(tmp_path_factory.mktemp("runs") / "six digits", embeddings(images, progress=1.0)))
    write_csv(made, audit(made, Embeddings.load(made.embeddings), images))
    return made


@pytest.fixture(scope="module")
def written(run, tmp_path_factory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("out")
    for name in VIEWERS:
        write_for(name, run, digits(60), out / name, method="pca")
    return {name: out / name for name in VIEWERS}


def grey(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)[..., 0]


def test_the_nearest_neighbour_of_four_images(tmp_path):
    """On a circle: 0 and 10 degrees of class a, 30 of b in training; 12 degrees of class b held out."""
    at = torch.deg2rad(torch.tensor([0.0, 10.0, 30.0, 12.0]))
    held = Embeddings(
        torch.stack([at.cos(), at.sin()], 1), torch.tensor([0, 0, 1, 1]), ("a0", "a10", "b30", "t"),
        torch.tensor([0, 0, 0, 2], dtype=torch.uint8), ("a", "b"),
    )  # fmt: skip
    found = points(Run.open(write_run(tmp_path / "r", held, dim=2)), None, method="pca", most=9, numbers=9)
    assert found.nearest == [("a10", "a", "right"), ("a0", "a", "right"), ("a10", "a", "wrong"), ("a10", "a", "wrong")]
    rows, far = neighbours(found)
    assert rows.tolist() == [[0, 1, 2], [1, 0, 2], [2, 1, 0], [3, 1, 0]]
    wanted = 1 - np.cos(np.deg2rad([[0, 10, 30], [0, 10, 20], [0, 20, 30], [0, 2, 12]]))
    np.testing.assert_allclose(far, wanted, atol=1e-6)
    fewer = found._replace(rows=np.array([[1, -1], [0, -1], [-1, -1], [1, 2]]), sims=found.sims[:, :2])
    assert neighbours(fewer)[0].tolist() == [[0, 0, 1], [1, 1, 0], [2, 2, 2], [3, 1, 2]]


def test_atlas_holds_every_column(written, run):
    table = pq.read_table(written["atlas"] / "images.parquet")
    held = Embeddings.load(run.embeddings)
    assert table["id"].to_pylist() == list(held.ids)
    assert table["class"].to_pylist() == [held.classes[label] for label in held.labels.tolist()]
    assert set(table["part"].to_pylist()) == {"train", "val", "test"}
    assert set(table["nearest_neighbour"].to_pylist()) <= {"right", "wrong"}
    ids = np.array([row["ids"] for row in table["neighbours"].to_pylist()])
    assert ids.shape == (60, 11)
    assert (ids[:, 0] == np.arange(60)).all()
    assert [table["id"][n].as_py() for n in ids[:, 1]] == table["nearest_id"].to_pylist()
    first = Image.open(io.BytesIO(table["image"][0].as_py()["bytes"]))
    assert (np.asarray(first)[..., 0] == digits(60).pixels[0, 0].numpy()).all()
    names = pq.read_table(written["atlas"] / "classes.parquet").to_pydict()
    assert sorted(names["text"]) == sorted(held.classes)
    assert sum(names["priority"]) == 60
    assert set(zip(names["x"], names["y"], strict=True)) <= set(
        zip(table["map_x"].to_pylist(), table["map_y"].to_pylist(), strict=True)
    )


def test_projector_holds_vectors_metadata_and_thumbnails(written, run):
    folder, held = written["projector"], Embeddings.load(run.embeddings)
    vectors = np.loadtxt(folder / "tensors.tsv", delimiter="\t")
    np.testing.assert_allclose(vectors, torch.nn.functional.normalize(held.vectors, dim=1).numpy(), atol=1e-5)
    lines = (folder / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == list(projector.COLUMNS)
    assert [line.split("\t")[-1] for line in lines[1:]] == list(held.ids)
    sheet = grey(folder / "sprite.png")
    assert sheet.shape == (64, 64)  # 60 images of 8 x 8 pixels, 8 a row
    assert (sheet[8:16, 16:24] == digits(60).pixels[10, 0].numpy()).all()
    assert 'image_path: "sprite.png" single_image_dim: 8 single_image_dim: 8' in (
        folder / "projector_config.pbtxt"
    ).read_text(encoding="utf-8")


def test_fiftyone_holds_labels_predictions_tags_and_vectors(written, run):
    folder, held = written["fiftyone"], Embeddings.load(run.embeddings)
    about = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    assert "version" not in about  # by which FiftyOne knows the form that all its releases read
    samples = json.loads((folder / "samples.json").read_text(encoding="utf-8"))["samples"]
    assert [one["likewise_id"] for one in samples] == list(held.ids)
    assert set(samples[0]) == set(about["sample_fields"])
    vector = np.load(io.BytesIO(zlib.decompress(base64.b64decode(samples[7]["embedding"]["$binary"]["base64"]))))
    assert (vector == held.vectors[7].numpy()).all()
    assert (np.stack([grey(folder / one["filepath"]) for one in samples]) == digits(60).pixels[:, 0].numpy()).all()
    found = read_findings(run.path / "audit.csv")
    assert found
    for one in samples:
        assert one["tags"][1:] == list(found.get(one["likewise_id"], ()))


def test_images_in_files_are_named_and_not_copied(tmp_path):
    for n in range(6):
        (tmp_path / "data" / "ab"[n % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 40 * n).save(tmp_path / "data" / "ab"[n % 2] / f"{n}.png")
    images = load(str(tmp_path / "data"), val=0.0)
    vectors = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    held = Embeddings(vectors, images.labels, images.ids, images.split, images.classes)
    run = Run.open(write_run(tmp_path / "r", held, dim=3))
    recipe = run.recipe.replace(data=str(tmp_path / "data"))
    run.recipe_file.write_text(recipe.to_toml(), encoding="utf-8")
    write_for("fiftyone", run, images, tmp_path / "o", method="pca")
    samples = json.loads((tmp_path / "o" / "samples.json").read_text(encoding="utf-8"))["samples"]
    assert [one["filepath"] for one in samples] == [str((tmp_path / "data" / name).resolve()) for name in images.ids]
    assert not (tmp_path / "o" / "data").exists()


def test_what_is_left_out_is_counted(run, tmp_path, monkeypatch):
    monkeypatch.setitem(VIEWERS, "projector", VIEWERS["projector"]._replace(numbers=20 * 8))
    done = write_for("projector", run, None, tmp_path / "o", method="pca")
    assert (done.images, done.of) == (20, 60)
    assert len((tmp_path / "o" / "metadata.tsv").read_text(encoding="utf-8").splitlines()) == 21
    assert not (tmp_path / "o" / "sprite.png").exists()
    assert done.bytes == sum(path.stat().st_size for path in (tmp_path / "o").iterdir())


def test_names_of_strangers_stay_in_their_cells(tmp_path):
    images = dataclasses.replace(
        digits(200), ids=tuple(f'{n}\t"}}\n\u2028{{x' for n in range(200)), classes=tuple(f"c\t{n}" for n in range(10))
    )
    run = Run.open(write_run(tmp_path / "r", embeddings(images, progress=0.5)))
    write_for("projector", run, images, tmp_path / "p", method="pca")
    lines = (tmp_path / "p" / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 201
    assert {line.count("\t") for line in lines} == {len(projector.COLUMNS) - 1}
    write_for("fiftyone", run, images, tmp_path / "f", method="pca")
    samples = json.loads((tmp_path / "f" / "samples.json").read_text(encoding="utf-8"))["samples"]
    assert [one["likewise_id"] for one in samples] == list(images.ids)
    assert {path.name for path in (tmp_path / "f" / "data").iterdir()} == {f"{n:06d}.png" for n in range(200)}


def rows() -> Images:
    return dataclasses.replace(digits(60), pixels=torch.zeros(60, 4))


@pytest.mark.parametrize(
    ("viewer", "images", "method", "why"),
    [
        ("atlsa", None, "pca", "no viewer is named 'atlsa'; did you mean atlas"),
        ("atlas", None, "pcb", "no map method is named 'pcb'"),
        ("fiftyone", None, "pca", "the run's images are no longer there"),
        ("fiftyone", rows(), "pca", "FiftyOne shows images"),
        ("fiftyone", digits(50), "pca", "no longer those that were embedded"),
    ],
)
def test_what_cannot_be_written_is_said_and_leaves_nothing(run, tmp_path, viewer, images, method, why):
    with pytest.raises(ValueError, match=why):
        write_for(viewer, run, images, tmp_path / "o", method=method)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_new_folder_only(run, tmp_path, monkeypatch, capsys):
    def called(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["likewise", "map", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    out = tmp_path / "for the projector"
    code, said, _ = called(str(run.path), "--to", "projector", "-o", str(out), "--method", "pca")
    assert (code, said.splitlines()[1]) == (0, f'    tensorboard --logdir "{out}"')
    assert "all 60 images" in said
    code, _, error = called(str(run.path), "--to", "projector", "-o", str(out))
    assert (code, error.count("\n")) == (2, 1)
    assert "is not an empty folder" in error
    for words in (["--to", "atlas"], ["-o", str(tmp_path / "x")], ["--to", "atlas", "-o", "x", "--open"]):
        code, _, error = called(str(run.path), *words)
        assert (code, "goes with -o FOLDER" in error) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


# The viewers' own packages


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboards_projector_reads_it(written):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    from tensorboard.backend.application import TensorBoardWSGI
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.projector import projector_plugin
    from werkzeug.test import Client

    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    context = base_plugin.TBContext(
        logdir=str(written["projector"]), data_provider=data_provider.MultiplexerDataProvider(multiplexer, "")
    )
    plugin = projector_plugin.ProjectorPlugin(context)
    client = Client(TensorBoardWSGI([plugin]))
    assert client.get("/data/plugin/projector/runs").json == ["."]
    info = client.get("/data/plugin/projector/info?run=.").json["embeddings"][0]
    assert (info["tensorName"], info["tensorShape"]) == ("embedding", [60, 8])
    query = "?run=.&name=embedding"
    tensor = client.get(f"/data/plugin/projector/tensor{query}").data
    assert np.frombuffer(tensor, np.float32).shape == (480,)
    assert client.get(f"/data/plugin/projector/metadata{query}").data.count(b"\n") == 61
    assert client.get(f"/data/plugin/projector/sprite_image{query}").data[:4] == b"\x89PNG"


@pytest.mark.slow
def test_embedding_atlas_reads_it(written, run, tmp_path):
    pytest.importorskip("embedding_atlas.cli", reason="needs embedding-atlas")
    command = VIEWERS["atlas"].opens(written["atlas"], points(run, digits(60), method="pca", most=99, numbers=9999))[0]
    words = command.replace('"', "").split()[1:]
    script = "import sys; from embedding_atlas.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *words, "--export-application", str(tmp_path / "app")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    props = json.loads((tmp_path / "app" / "data" / "metadata.json").read_text(encoding="utf-8"))["props"]
    assert props["data"]["projection"] == {"x": "map_x", "y": "map_y"}
    assert props["data"]["neighbors"] == "neighbours"
    assert len(props["embeddingViewLabels"]) == 10
    exported = pq.read_table(tmp_path / "app" / "data" / "dataset.parquet")
    assert exported["image"][0].as_py()["bytes"][:4] == b"\x89PNG"


@pytest.mark.slow
@pytest.mark.system
def test_fiftyone_imports_it(written):
    fiftyone = pytest.importorskip("fiftyone", reason="needs fiftyone and its database")
    dataset = fiftyone.Dataset.from_dir(str(written["fiftyone"]), fiftyone.types.FiftyOneDataset, progress=False)
    try:
        assert len(dataset) == 60
        assert dataset.count_sample_tags()["train"] == 42
        assert all(Path(path).is_file() for path in dataset.values("filepath"))
        assert np.array(dataset.values("embedding")).shape == (60, 8)
        assert dataset.distinct("ground_truth.label") == list("0123456789")
        right = [a == b for a, b in zip(*dataset.values(["ground_truth.label", "prediction.label"]), strict=True)]
        assert dataset.values("right") == right
    finally:
        dataset.delete()

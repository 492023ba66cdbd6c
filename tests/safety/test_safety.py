"""Bounds, and output made harmless: small files that ask for much, names, cells, escapes, failures in one sentence."""

import errno
import gzip
import io
import json
import os
import struct
import sys
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.cli.failures import explained
from likewise.cli.terminal import Plain, plain
from likewise.data.arrays import arrays
from likewise.data.idx import mnist
from likewise.data.options import LoadOptions
from likewise.embeddings import Embeddings
from likewise.evaluate import pair_files
from likewise.experiment.run import RESERVED, folder_in, portable
from likewise.experiment.run_files import checked_metrics, records
from likewise.imaging.decode import ImageError, decode
from likewise.models import weights
from likewise.reproduce.translate import translate
from likewise.safety import bounds
from likewise.safety.offline import SWITCHES, quiet_libraries
from likewise.safety.spreadsheets import csv_text, harmless, restored


def test_a_list_of_pairs_that_announces_many(tmp_path):
    (tmp_path / "pairs.txt").write_text("50000 9999\na 1 2\n")
    with pytest.raises(ValueError, match="announces 999,900,000 pairs, and 1 lines follow"):
        pair_files.read(tmp_path / "pairs.txt")


def parquet(path, rows=1, label=0, dim=2):
    vector = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * dim, np.float32)), dim)
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), ["a"])
    labels = pa.array(np.full(rows, label))
    pq.write_table(pa.table({"id": names, "label": labels, "vector": vector}), path)


def test_embeddings_that_announce_much(tmp_path):
    parquet(tmp_path / "label.parquet", label=30_000_000)
    with pytest.raises(ValueError, match="largest label: 30,000,000, and at most 1,000,000 are accepted"):
        Embeddings.load(tmp_path / "label.parquet")
    parquet(tmp_path / "rows.parquet", rows=1_100_000, dim=1)
    with pytest.raises(ValueError, match="announces 1,100,000 rows; at most 1,000,000"):
        Embeddings.load(tmp_path / "rows.parquet")
    (tmp_path / "short.parquet").write_bytes(b"PAR1PAR1")
    with pytest.raises(ValueError, match=r"cannot read embeddings from .*cut short or no Parquet"):
        Embeddings.load(tmp_path / "short.parquet")


@pytest.mark.slow
def test_embeddings_whose_ids_announce_much(tmp_path):
    text = pa.array(["x" * 1_000_000] * 2_000).dictionary_encode()
    pq.write_table(pa.table({"id": text, "label": [0] * 2_000, "vector": [[0.0]] * 2_000}), tmp_path / "text.parquet")
    with pytest.raises(ValueError, match=r"at most 268\.4 MB are accepted"):
        Embeddings.load(tmp_path / "text.parquet")


def png(width: int, height: int) -> bytes:
    """A PNG whose header announces these sides; its pixels are zeros, as many as fit in a small file."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b""))
    body = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.filterwarnings("ignore:Image size")  # Pillow says so too, from 89 megapixels on
@pytest.mark.parametrize(("sides", "bound"), [((13_000, 13_000), "16,000,000"), ((5_000, 4_000), "16,000,000")])
def test_an_image_that_announces_many_pixels(sides, bound):
    with pytest.raises(ImageError, match=rf"announces .* pixels in .*, and at most {bound} are decoded"):
        decode(png(*sides))


def test_an_image_beyond_the_fixed_bound():
    with pytest.raises(ValueError, match="at most 100,000,000 are decoded"):
        bounds.image_size(10_001, 10_000, 10**9)
    bounds.image_size(10_000, 10_000, 10**9)
    bounds.image_size(4_000, 4_000, 10)


@pytest.mark.slow
def test_archives_that_announce_much(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file, file.open("X.npy", "w") as x:
        np.lib.format.write_array_header_1_0(x, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 20)})
        for _ in range(300):
            x.write(bytes(1 << 20))
    with pytest.raises(ValueError, match=r"a\.npz.*at most 268.4 MB are accepted"):
        arrays(LoadOptions(root=tmp_path), path=str(tmp_path / "a.npz"))
    with zipfile.ZipFile(tmp_path / "many.npz", "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("X", "y", "z"):  # each is within the bound, all of them are not
            with file.open(f"{name}.npy", "w") as x:
                np.lib.format.write_array_header_1_0(x, {"descr": "|u1", "fortran_order": False, "shape": (100 << 20,)})
                for _ in range(100):
                    x.write(bytes(1 << 20))
    with pytest.raises(ValueError, match=r"many\.npz is .* and announces 314\.6 MB of content; at most 268.4 MB"):
        arrays(LoadOptions(root=tmp_path), path=str(tmp_path / "many.npz"))
    (tmp_path / "mnist").mkdir()
    for part in ("train", "t10k"):
        head = b"\0\0\x08\3" + struct.pack(">III", 20_000_000, 28, 28)
        (tmp_path / "mnist" / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head))
        (tmp_path / "mnist" / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(head))
    with pytest.raises(ValueError, match=r"announces 15\.7 GB of content; at most 268\.4 MB"):
        mnist(LoadOptions(root=tmp_path))


def test_yaml_with_aliases_of_aliases():
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    with pytest.raises(ValueError, match=r"aliases expanded: .* at most 100,000"):
        translate(f"l0: &l0 [x]\n{levels}\n")
    with pytest.raises(ValueError, match="at most 100,000"):
        translate("a: &a [*a]\n")
    with pytest.raises(ValueError, match="nested too deeply"):
        translate("a: " + "[" * 5_000)


def test_a_safetensors_header_longer_than_the_file(tmp_path):
    (tmp_path / "w.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="announces a header of 1,099,511,627,776 bytes and has 2"):
        weights.read(tmp_path / "w.safetensors")


def test_json_and_logs(tmp_path):
    (tmp_path / "metrics.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        checked_metrics(tmp_path / "metrics.json")
    good = {"kind": "train", "step": 1, "loss": 0.5}
    lines = [good, [1], good | {"step": "x"}, good | {"loss": {}}, {"kind": 3, "step": 1}, good | {"step": 2}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [record["step"] for record in records(tmp_path / "metrics.jsonl")] == [1, 2]


@pytest.mark.parametrize(
    "name", ["../../x", "/x", ".", "..", "", " ", "a/b", "a\\b", "C:x", "nul", "x.", "a\nb", "x" * 300, "what?", "a|b"]
)
def test_names_that_are_no_folder(name, tmp_path):
    with pytest.raises(ValueError, match=r"cannot be the name of a folder in .* give another --name"):
        folder_in(tmp_path, name)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_a_name_that_nobody_typed_is_made_one_of_a_folder(name):
    made = portable(name)
    if made.partition(".")[0].upper() not in RESERVED and len(made.encode()) <= 200:
        assert folder_in("runs", made).name == made


def test_portable_names():
    names = ("digits", "a:b?c", "..", "my data (new).", "")
    assert [portable(name) for name in names] == ["digits", "a-b-c", "run", "my data (new)", "run"]


def test_names_that_are():
    assert [folder_in("runs", name).name for name in ("digits-2", "a b", ".x", "v1.2", "ß")]


@pytest.mark.parametrize("cell", ["=1+1", "+1+1", "-cmd", "@SUM(A1)", "\tx", "\rx"])
def test_cells_that_a_spreadsheet_would_run(cell):
    assert harmless(cell) == f"'{cell}"
    assert restored(harmless(cell)) == cell


def test_other_cells_stay():
    assert [harmless(x) for x in ("a=b", "-1.5", -1.5, None, "+3", "'a")] == ["a=b", "-1.5", -1.5, None, "+3", "'a"]
    assert csv_text([("id", "why"), ("=x", "a,b")]) == 'id,why\r\n\'=x,"a,b"\r\n'


def test_escapes_are_spelled_out():
    told = "a\x1b[31mb\x9b2Jc\u202ed\ud800\x7f\te\n"
    assert plain(told) == "a\\u001b[31mb\\u009b2Jc\\u202ed\\ud800\\u007f\te\n"
    assert json.loads(plain(json.dumps(told, ensure_ascii=False))) == told


def test_a_stream_that_lacks_a_letter():
    below = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = Plain(below, returns=False)
    stream.write("é\x1b")
    below.flush()
    assert below.buffer.getvalue() == b"\\u00e9\\u001b"  # type: ignore[attr-defined]
    stream.writelines(["a\x1b", "b\n"])
    below.flush()
    assert below.buffer.getvalue().endswith(b"a\\u001bb\n")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "why", "code"),
    [
        (OSError(errno.ENOSPC, "x", "runs/a"), "runs/a: the disk is full; free some space", 1),
        (PermissionError(errno.EACCES, "x", "f"), "f: permission denied; change", 2),
        (NotADirectoryError(errno.ENOTDIR, "x", "f/g"), "where a folder is expected", 2),
        (IsADirectoryError(errno.EISDIR, "x", "f"), "it is a folder", 2),
        (OSError(errno.EMFILE, "x"), "ulimit -n 4096", 1),
        (OSError(errno.ENAMETOOLONG, "x", "f"), "shorter --name", 2),
        (MemoryError(), "not enough memory", 1),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory", 1),
        (RuntimeError("CUDA out of memory. Tried"), "the GPU has not", 1),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "use UTF-8", 2),
        (type("SafetensorError", (Exception,), {})("header"), "damaged", 1),
        (KeyError("x"), "unexpected KeyError", 1),
        (ValueError("ours"), "ours", 2),
    ],
)
def test_every_failure_is_one_sentence(error, why, code):
    sentence, found = explained(error)
    assert why in sentence
    assert found == code
    assert "\n" not in sentence


def test_the_command_line_has_no_tracebacks(monkeypatch, tmp_path, capsys):
    from likewise.cli import main

    (tmp_path / "file").write_text("")
    for words in (["report", str(tmp_path / "file" / "x")], ["train", "digits", "--out", str(tmp_path / "file")]):
        monkeypatch.setattr(sys, "argv", ["likewise", *words, *["epochs=1"] * (words[0] == "train")])
        with pytest.raises(SystemExit) as ended:
            main()
        err = capsys.readouterr().err
        assert ended.value.code in (1, 2)
        assert err.startswith("likewise: ")
        assert "Traceback" not in err
        assert "unexpected" not in err


def test_telemetry_is_off_and_what_is_set_stays(monkeypatch):
    assert all(name in os.environ for name in SWITCHES)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    quiet_libraries()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"

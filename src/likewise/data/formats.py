"""What to do with a file of a kind that is not read: one sentence each."""

import os
from pathlib import Path

from likewise.imaging.find import is_image_name, legible

__all__ = ["READ", "refused"]

READ = "a folder of class folders, a table (.csv, .tsv, .parquet), or arrays (.npz)"
ADVICE = {
    **dict.fromkeys(
        (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"),
        "an archive; unpack it and give the folder",
    ),
    ".npy": "one array without labels; save both with numpy.savez('data.npz', X=..., y=...)",
    **dict.fromkeys(
        (".h5", ".hdf5", ".mat", ".arff", ".tfrecord", ".tfrecords", ".arrow", ".feather", ".lmdb"),
        "not read; save images and labels with numpy.savez('data.npz', X=..., y=...)",
    ),
    **dict.fromkeys(
        (".pkl", ".pickle", ".pt", ".pth", ".joblib"),
        "not read, since loading it may run code; save images and labels with numpy.savez('data.npz', X=..., y=...)",
    ),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet; save it as CSV"),
    **dict.fromkeys((".jsonl", ".ndjson", ".xml"), "not read; write a CSV with the columns image and label"),
    ".txt": "not read; a table ends in .csv or .tsv and has a column of images and one of labels",
}


def refused(path: str | os.PathLike) -> str:
    """Why this file is no data and what to do instead; empty where it does not exist or its kind says nothing."""
    path = Path(path)
    if not path.is_file():
        return ""
    if is_image_name(path):
        return f"{legible(path)} is one image; give {READ}"
    advice = ADVICE.get(path.suffix.lower(), "")
    return f"{legible(path)} is {advice}; what is read is {READ}" if advice else ""

"""A model on disk: `model.safetensors` (tensors) and `model.json` (their description), written atomically.

The two files are renamed one after the other, so a crash between them could pair new tensors with an old description.
Hence the description also travels in the tensors' own header, and a checksum of the tensors tells which belongs to
which. Nothing is ever unpickled; published `.pth` files are read with `weights_only=True`.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from likewise.atomic import replacing
from likewise.models.description import Description, checked_config, checked_info
from likewise.safety import bounds

__all__ = ["checksum", "find", "load", "misfits", "opened", "read", "save"]

FORMAT = 1
TENSORS, DESCRIPTION = "model.safetensors", "model.json"


def save(folder: str | os.PathLike, tensors: Mapping[str, Tensor], about: Mapping[str, object]) -> None:
    """Write both files atomically. `about` must be JSON. Errors: ValueError naming what is not."""
    # A copy each: safetensors refuses strided and shared memory.
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    try:
        text = json.dumps({"format": FORMAT, "crc32": checksum(plain), **about}, indent=2)
    except TypeError as error:
        raise ValueError(f"a model's info holds numbers, text, lists and dicts only: {error}") from None
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / TENSORS, to_bytes(plain, {"likewise": text}))
    _replace(folder / DESCRIPTION, text.encode())


def find(path: str | os.PathLike) -> Path:
    """The folder of a model, from its own path or that of its run. Errors: ValueError if there is no model."""
    for folder in (Path(path), Path(path) / "model"):
        if (folder / TENSORS).is_file():
            return folder
    raise ValueError(f"no model at {path}; give a run folder or its model folder, the one that holds {TENSORS}")


def is_ours(path: str | os.PathLike) -> bool:
    """Whether this is a model's folder, or the run around one."""
    return any((folder / DESCRIPTION).is_file() for folder in (Path(path), Path(path) / "model"))


def only_file(folder: Path) -> Path:
    """The file of weights in a folder of another library. Errors: ValueError for none, or several."""
    there = sorted(folder.iterdir())
    endings = (".safetensors", ".bin", ".pth", ".pt")
    kinds = [[file for file in there if file.suffix.lower() == ending] for ending in endings]
    candidates = next((files for files in kinds if files), [])
    if len(candidates) != 1:
        names = ", ".join(file.name for file in candidates) or "none"
        raise ValueError(f"{folder} holds no model of ours and not one file of weights but {names}; name the file")
    return candidates[0]


def load(folder: Path) -> tuple[dict[str, Tensor], Description]:
    """Tensors and description as saved. Errors: ValueError for another format, or a damaged or missing file."""
    tensors, inside = opened(folder / TENSORS)
    try:
        content = bounds.text(folder / DESCRIPTION, bounds.JSON_FILE, "the description of a model")
    except OSError as error:
        raise ValueError(f"{folder} has no readable {DESCRIPTION}: {error.strerror}") from None
    about = _described(content, folder)
    if inside and about["crc32"] != (own := _described(inside, folder))["crc32"]:
        about = own  # a save was stopped between the two renames
    if about["crc32"] != checksum(tensors):
        raise ValueError(f"{folder / TENSORS} is damaged: its checksum is not the one saved with it; copy it again")
    return tensors, about


def _described(text: str, folder: Path) -> Description:
    about = bounds.parsed_json(text, f"the description of the model in {folder}", object)
    came = about.get("format") if isinstance(about, dict) else None
    if not isinstance(about, dict) or came != FORMAT:
        raise ValueError(f"{folder} has model format {came!r} and this version reads {FORMAT}; update likewise")
    if lost := {"crc32", "config", "info"} - about.keys():
        raise ValueError(f"the description of the model in {folder} has lost its {' and '.join(sorted(lost))}")
    where = folder / DESCRIPTION
    config, info = checked_config(about["config"], where), checked_info(about["info"], where)
    return Description(format=FORMAT, crc32=about["crc32"], config=config, info=info)


def read(path: str | os.PathLike) -> dict[str, Tensor]:
    """Tensors by name from a model of ours, a .safetensors or .pth file, or a folder with one. Errors: ValueError."""
    path = Path(path)
    if path.is_dir():
        if is_ours(path):
            return load(find(path))[0]
        path = only_file(path)
    if path.suffix.lower() == ".safetensors":
        return opened(path)[0]
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                bounds.expanded(sum(one.file_size for one in archive.infolist()), path.stat().st_size, path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for one cause: not a file of plain tensors
        raise ValueError(f"cannot read {path} as plain tensors (nothing else is ever unpickled): {error}") from None
    content = content.get("state_dict", content) if isinstance(content, dict) else {}
    if not isinstance(content, dict):
        content = {}
    return {str(name).removeprefix("module."): t for name, t in content.items() if isinstance(t, Tensor)}


def misfits(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[str]:
    """Why tensors do not fit the network, in words; empty if they fit."""
    both = [name for name in ours if name in theirs and ours[name].shape != theirs[name].shape]
    problems = {
        "missing": [name for name in ours if name not in theirs],
        "unknown": [name for name in theirs if name not in ours],
        "of another shape": [f"{n} {list(theirs[n].shape)} where {list(ours[n].shape)} is needed" for n in both],
    }
    return [f"{kind}: {_some(names)}" for kind, names in problems.items() if names]


def _some(names: list[str], most: int = 4) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def opened(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """Tensors of a .safetensors file, and our text in its header. Errors: ValueError for a damaged or missing file."""
    check_header(path)
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, (file.metadata() or {}).get("likewise")
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None


def check_header(path: Path) -> None:
    """Errors: ValueError when the header of a .safetensors file does not fit in the file, or is beyond the bound."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        there = path.stat().st_size - 8
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if not 0 < length <= min(max(there, 0), bounds.SAFETENSORS_HEADER):
        raise ValueError(
            f"{path} announces a header of {length:,} bytes and has {max(there, 0):,} behind the announcement; "
            f"at most {bounds.SAFETENSORS_HEADER:,} are accepted: it is damaged or no .safetensors file"
        )


def checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 over names and bytes of tensors on the CPU."""
    crc = 0
    for name in sorted(tensors):
        content = tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes() if tensors[name].numel() else b""
        crc = zlib.crc32(content, zlib.crc32(name.encode(), crc))
    return crc


def _replace(path: Path, content: bytes) -> None:
    """Write atomically: the file has its old content or the new one."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)

"""Vision models of transformers: configuration, preprocessing, published tensors, and features."""

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from likewise.models.libraries import Makers, brief, close, library, summary
from likewise.spec import SpecError

__all__ = ["CONFIG", "config_of_hf", "fetch_hf", "of_hf", "patches", "preprocessor_of_hf", "resized", "summary_of_hf"]

Shape = Sequence[int]


class HFConfig(Protocol):
    """The configuration of a model of transformers."""

    model_type: str

    def to_json_string(self) -> str: ...


PREPROCESSOR, CONFIG = "preprocessor_config.json", "config.json"


def config_of_hf(name: str) -> HFConfig:
    """The configuration of the vision model. Errors: SpecError."""
    if not name:
        raise SpecError("hf: needs the name of a model on the hub, or a folder: hf:facebook/dinov2-small")
    try:
        config = library("transformers").AutoConfig.from_pretrained(name, trust_remote_code=False)
    except SpecError:
        raise
    except Exception as error:  # the hub fails in every way there is
        folder = Path(name)
        beside = [p.name for p in folder.parent.iterdir() if (p / CONFIG).is_file()] if folder.parent.is_dir() else []
        why = close(folder.name, beside) or f": {brief(error)}"
        raise SpecError(f"hf:{name} is neither a folder with a {CONFIG} nor to be had from the hub{why}") from None
    return getattr(config, "vision_config", config)


def of_hf(name: str) -> Makers:
    config_of_hf(name)
    return preprocessor_of_hf(name)


def preprocessor_of_hf(name: str) -> Makers:
    look = library("transformers.utils").cached_file
    path = look(name, PREPROCESSOR, _raise_exceptions_for_missing_entries=False)
    fields = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    size = side(fields.get("crop_size") if fields.get("do_center_crop", True) else None) or side(fields.get("size"))
    if not fields.get("do_normalize", True):
        return Makers((0.0,), (1.0,), size)
    mean, std = fields.get("image_mean"), fields.get("image_std")
    return Makers(tuple(mean), tuple(std), size) if mean and std else Makers(size=size)


def side(size: object) -> int:
    """The longest side of a size as preprocessors write it: a number, or a dict of sides."""
    if isinstance(size, Mapping):
        return max((v for v in size.values() if isinstance(v, int)), default=0)
    return size if isinstance(size, int) else 0


def fetch_hf(name: str, config: HFConfig, where: str | None = None) -> Mapping[str, Tensor]:
    """The published tensors; one of another shape is returned as an empty tensor, so that the error can name it."""
    with quiet():
        model, info = library("transformers").AutoModel.from_pretrained(
            where or name,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
        )
    other = {key: torch.empty(theirs, device="meta") for key, theirs, _ in info["mismatched_keys"]}
    there = {key: t for key, t in model.state_dict().items() if key not in info["missing_keys"]}
    return there | other


def summary_of_hf(body: nn.Module, x_NCHW: Tensor, *, pooling: str, patches: int, how: dict[str, bool]) -> Tensor:
    out = body(pixel_values=x_NCHW, **how)
    if pooling == "own" and out.pooler_output is not None:
        return out.pooler_output.flatten(1)
    features = out.last_hidden_state
    before = max(0, features.shape[1] - patches) if features.ndim == 3 and patches else 0
    return summary(features, ("cls" if before else "average") if pooling == "own" else pooling, before)


def patches(config: HFConfig, shape: Shape) -> int:
    """How many patch tokens an image has; 0 where the network does not say the side of a patch."""
    patch = getattr(config, "patch_size", None)
    return (shape[-2] // patch) * (shape[-1] // patch) if isinstance(patch, int) and len(shape) == 3 else 0


def resized(body: nn.Module, config: HFConfig, shape: Shape) -> dict[str, bool]:
    """Keywords that resize the position embeddings, where the images have another size than theirs."""
    made = getattr(config, "image_size", None)
    fits = list(shape[1:]) == ([made, made] if isinstance(made, int) else list(made or shape[1:]))
    takes = "interpolate_pos_encoding" in inspect.signature(body.forward).parameters
    return {"interpolate_pos_encoding": True} if takes and not fits else {}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars of transformers and its report of unused tensors; errors are raised here."""
    logging = library("transformers").logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()

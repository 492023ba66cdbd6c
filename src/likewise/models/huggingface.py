"""Vision models of transformers: configuration, preprocessing, published tensors, and features."""

import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from likewise.models.libraries import Makers, brief, close, library, summary
from likewise.safety.bounds import Fields
from likewise.spec import SpecError

__all__ = [
    "CONFIG",
    "check_sides",
    "config_of_hf",
    "fetch_hf",
    "inputs_of",
    "of_hf",
    "patches",
    "preprocessor_of_hf",
    "resized",
    "summary_of_hf",
]

Shape = Sequence[int]


class HFConfig(Protocol):
    """The configuration of a model of transformers."""

    model_type: str

    def to_json_string(self) -> str: ...


PREPROCESSOR, PROCESSOR, CONFIG = "preprocessor_config.json", "processor_config.json", "config.json"
Inputs = Callable[[Tensor], dict[str, Tensor | None]]


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
    fields = published_fields(name, PREPROCESSOR) or published_fields(name, PROCESSOR).get("image_processor") or {}
    size = side(fields.get("crop_size") if fields.get("do_center_crop", True) else None) or side(fields.get("size"))
    size = size or naflex_side(fields)
    if not fields.get("do_normalize", True):
        return Makers((0.0,), (1.0,), size)
    mean, std = fields.get("image_mean"), fields.get("image_std")
    return Makers(tuple(mean), tuple(std), size) if mean and std else Makers(size=size)


def published_fields(name: str, file: str) -> Fields:
    """A JSON object beside the model; empty where there is none."""
    path = library("transformers.utils").cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    fields = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    return fields if isinstance(fields, dict) else {}


def naflex_side(fields: Fields) -> int:
    """The side of the largest square of whole patches, for models that take any number of patches up to a limit."""
    most, patch = fields.get("max_num_patches"), fields.get("patch_size")
    return math.isqrt(most) * patch if isinstance(most, int) and isinstance(patch, int) and most > 0 else 0


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


def summary_of_hf(
    body: nn.Module, x_NCHW: Tensor, *, pooling: str, patches: int, how: dict[str, bool], inputs: Inputs
) -> Tensor:
    out = body(**inputs(x_NCHW), **how)
    if pooling == "own" and out.pooler_output is not None:
        return out.pooler_output.flatten(1)
    features = out.last_hidden_state
    before = max(0, features.shape[1] - patches) if features.ndim == 3 and patches else 0
    return summary(features, ("cls" if before else "average") if pooling == "own" else pooling, before)


def patches(config: HFConfig, shape: Shape) -> int:
    """How many patch tokens an image has; 0 where the network does not say the side of a patch."""
    patch = getattr(config, "patch_size", None)
    return (shape[-2] // patch) * (shape[-1] // patch) if isinstance(patch, int) and len(shape) == 3 else 0


def inputs_of(body: nn.Module, config: HFConfig) -> Inputs:
    """What a network is given for images: their pixels, or patches (the NaFlex models of SigLIP 2)."""
    if "spatial_shapes" in inspect.signature(body.forward).parameters:
        return partial(as_patches, patch=getattr(config, "patch_size", 16))
    return as_pixels


def as_pixels(x_NCHW: Tensor) -> dict[str, Tensor | None]:
    return {"pixel_values": x_NCHW}


def as_patches(x_NCHW: Tensor, *, patch: int) -> dict[str, Tensor | None]:
    """Every patch as a row of its pixels, and how many there are downwards and across; none is padding to be masked."""
    n, _, *sides = x_NCHW.shape
    rows, columns = (one // patch for one in sides)
    cut = x_NCHW.unflatten(2, (rows, patch)).unflatten(4, (columns, patch))  # [N, C, rows, patch, columns, patch]
    pixels_NPX = cut.permute(0, 2, 4, 3, 5, 1).reshape(n, rows * columns, -1)
    device = "cpu" if x_NCHW.is_meta else x_NCHW.device  # the network looks at these numbers
    shape_N2 = torch.tensor([rows, columns], device=device).expand(n, 2)
    return {"pixel_values": pixels_NPX, "pixel_attention_mask": None, "spatial_shapes": shape_N2}


def check_sides(config: HFConfig, shape: Shape, title: str) -> None:
    """Errors: ValueError for a size that leaves a rest beside whole patches, which a transformer would not see.

    The size that a network was made for is accepted as it is, and so are networks that shrink a map step by step.
    """
    patch, made = getattr(config, "patch_size", None), getattr(config, "image_size", None)
    if not isinstance(patch, int) or hasattr(config, "depths") or len(shape) != 3:
        return
    sides = list(shape[1:])
    if not any(one % patch for one in sides) or sides == ([made, made] if isinstance(made, int) else made):
        return
    below = [max(patch, one - one % patch) for one in sides]
    above = [-(-one // patch) * patch for one in sides]
    fits = [str(one[0]) if one[0] == one[1] else f"{one[0]}x{one[1]}" for one in (below, above)]
    raise ValueError(
        f"{title} cuts images into patches of {patch} x {patch} pixels, and {sides[0]} x {sides[1]} leaves a rest that "
        f"it would not see; give size={' or size='.join(dict.fromkeys(fits))}"
    )


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

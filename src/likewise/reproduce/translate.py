"""EmbeddingNet's YAML configurations, all three generations, as recipes, with a note on every key.

2019: flat, 17 keys. January 2020: flat, with mining, softmax pre-training, class filters and encodings. August 2020:
sections MODEL, DATALOADER, GENERATOR, TRAIN, SOFTMAX_PRETRAINING, ENCODINGS, GENERAL.
"""

from collections.abc import Mapping

from likewise.experiment.recipe import Recipe, checked_names
from likewise.reproduce.translate_rules import BEGINNINGS, RULES
from likewise.reproduce.translation import Translation, Work
from likewise.safety.yaml_files import parsed_yaml
from likewise.spec import SpecError, near

__all__ = ["translate"]


SECTIONS = ("model", "dataloader", "generator", "train", "softmax_pretraining", "encodings", "general")
LATER = ("negatives_selection_mode", "mining_n_classes", "decay_factor", "n_epochs", "work_dir", "knn_k")
# One name for keys that the generations spell differently.
ALIASES = {
    "backbone": "backbone_name",
    "augmentation_type": "augmentations",
    "augmentations_type": "augmentations",
    "mining_n_classes": "k_classes",
    "mining_n_samples": "k_samples",
    "n_steps_per_epoch": "n_batches",
    "to_validate": "validate",
    "csv_file": "train_csv_file",
    "softmax_epochs": "softmax.n_epochs",
    "softmax_pretraining": "softmax.wanted",
}


def translate(text: str) -> Translation:
    """Read a configuration. Errors: SpecError for what is no such YAML, or a value that makes no recipe."""
    config_keys, written, generation = keys(parsed(text))
    work = Work(config_keys, written)
    for key in config_keys:
        rule = RULES.get(key) or next((r for start, r in BEGINNINGS.items() if key.startswith(start)), None)
        if rule is None:
            work.refuse(key, f"no such key is known{near(key, RULES)}")
        else:
            rule(work, key)
    recipe = Recipe.from_dict(checked_names(work.fields, "the configuration"))
    return Translation(recipe, str(work.get("project_name", "")), generation, tuple(work.lines))


def parsed(text: str) -> dict[str, object]:
    try:
        config = parsed_yaml(text)
    except ValueError as error:
        raise SpecError(f"the configuration is not valid YAML: {error}") from None
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise SpecError("a configuration consists of keys and values, such as `mode: triplet`; this file has none")
    return config


def keys(config: Mapping[str, object]) -> tuple[dict[str, object], dict[str, str], str]:
    """Every key in one flat dict under one name, how each was written, and the generation that wrote it."""
    nested = [key for key, value in config.items() if key.lower() in SECTIONS and isinstance(value, dict)]
    flat: dict[str, object] = {}
    written: dict[str, str] = {}
    for key, value in config.items():
        section = key.lower() if key in nested else ""
        inside = value if section and isinstance(value, dict) else {key: value}
        start = "softmax." if section == "softmax_pretraining" else ""
        for name, entry in inside.items():
            plain = str(name).lower()
            plain = start + plain if start else ALIASES.get(plain, plain)
            plain = plain.replace("softmax_", "softmax.", 1) if plain.startswith("softmax_") else plain
            flat[plain], written[plain] = entry, f"{key}.{name}" if section else str(name)
        if section == "softmax_pretraining":
            flat.setdefault("softmax.wanted", True)
            written.setdefault("softmax.wanted", key)
    generation = "2020-08" if nested else "2020-01" if any(key in config for key in LATER) else "2019"
    return flat, written, generation

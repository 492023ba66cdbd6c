"""One rule per key of an EmbeddingNet configuration: the recipe field or command it becomes, or why it is refused."""

from collections.abc import Callable
from math import ceil

from likewise.reproduce.translation import Work
from likewise.spec import SpecError

__all__ = ["BEGINNINGS", "RULES"]

# Their mode: our pick, and the miner before it. Their hardest mode takes the nearest negative of each positive.
PICKS = {"semihard": ("semihard", ""), "hardest": ("all", "nearest(k=1)"), "random_hard": ("random-hard", "")}

OWN_NETWORKS = ("simple", "simple2")

OPTIMIZERS = {"adam": "adam", "radam": "radam", "rms_prop": "rmsprop", "sgd": "sgd"}

AUGMENTATIONS = {
    "none": "",
    "default": "chain(steps=['colour()', 'blur()', 'noise()'])",
    "plates": "chain(steps=['flip(vertical=0.5)', 'random_resized_crop(least=0.44)', 'colour()', 'blur()', 'noise()'])",
    "plates2": "chain(steps=['random_resized_crop(least=0.44)', 'colour()', 'blur()', 'noise()'])",
    "deepfake": "flip()",
}


def input_shape(work: Work, key: str) -> None:
    shape = work.get(key)
    if not (isinstance(shape, list) and len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)):
        raise SpecError(f"input_shape is [height, width, channels], got {shape!r}")
    height, width, channels = shape
    if channels not in (1, 3):
        raise SpecError(f"input_shape ends in 1 or 3 channels, got {shape!r}")
    size, why = max(height, width), ""
    if height != width:
        why = f"images are made square, {size} x {size}"
    if work.get("backbone_name") == "simple" and size < 65:
        size, why = 105, "Koch's network needs a side of at least 65; images are enlarged to its original 105"
    work.take(key, why=why, size=size, channels=channels)


def backbone(work: Work, key: str) -> None:
    name, dim = str(work.get(key)).lower(), work.whole("encodings_len", 256)
    student = str(work.get("backbone_weights", "")).replace("_", "-") == "noisy-student"
    published = work.get("backbone_weights") not in (None, "none", "None", "")
    if name == "simple":
        work.take(key, network=f"koch(width={dim}, activation='relu')", dim=0)
    elif name == "simple2":
        work.take(key, network="simple2")
    elif name.startswith("efficientnet-b"):
        number = name.removeprefix("efficientnet-b")
        network = f"timm:tf_efficientnet_b{number}.ns_jft_in1k" if student else f"timm:efficientnet_b{number}"
        work.take(key, network=network, head=f"projection(hidden={max(1, dim // 2)})", why=HEAD)
    elif name.startswith(("resnet", "resnext", "mobilenet", "densenet", "vgg", "seresnet", "senet", "inception")):
        network = {"mobilenetv2": "timm:mobilenetv2_100", "resnext50": "timm:resnext50_32x4d"}.get(name, f"timm:{name}")
        work.take(key, network=network, head=f"projection(hidden={max(1, dim // 2)})", why=HEAD)
    else:
        work.refuse(key, "no such network is known; set network= yourself")
    if not published and str(work.fields.get("network", "")).startswith("timm:"):
        work.fields["weights"] = "none"


HEAD = "no ReLU after the last layer: the original's confined embeddings to positive values, and units could die"


def weights(work: Work, key: str) -> None:
    value = work.get(key)
    if value is None or str(value).lower() in ("none", ""):
        work.take(key, "weights=none")
    elif work.get("backbone_name") in OWN_NETWORKS:
        work.take(key, "weights=none", "there are none for this network, and the original loads none")
    elif str(value).replace("_", "-") in ("imagenet", "noisy-student"):
        work.take(key, "the network's published weights")
    else:
        work.refuse(key, "Keras weights cannot be loaded; give weights= a .pth or .safetensors file")


def mode(work: Work, key: str) -> None:
    value = work.get(key)
    if value == "triplet":
        pick, miner = PICKS.get(str(work.get("negatives_selection_mode", "semihard")), PICKS["semihard"])
        margin = float(work.number("margin", 0.5))
        loss = f"triplet(margin={margin}, pick='{pick}')"
        batch = f"pk(classes={work.whole('k_classes', 2)}, images={work.whole('k_samples', 4)})"
        work.take(key, loss=loss, sim="sqeuclidean", sampler=batch, **({"miner": miner} if miner else {}))
    elif value == "siamese":
        absolute = work.get("distance_type", "l2") == "l1"
        loss, sim = ("siamese_bce()", "manhattan") if absolute else ("contrastive(margin=1.0)", "euclidean")
        work.take(key, loss=loss, sim=sim, sampler=f"pairs(batch={work.whole('batch_size', 32)})")
    else:
        raise SpecError(f"mode is siamese or triplet, got {value!r}")


def part_of_mode(work: Work, key: str) -> None:
    if key == "negatives_selection_mode" and str(work.get(key)) not in PICKS:
        raise SpecError(f"negatives_selection_mode is {', '.join(PICKS)}; got {work.get(key)!r}")
    siamese = work.get("mode") == "siamese"
    if key == "margin" and siamese:
        work.take(key, "contrastive(margin=1.0)", "the original always uses 1 in siamese mode")
    elif key in ("distance_type", "batch_size") and not siamese:
        work.refuse(key, "it has no effect in triplet mode")
    elif key in ("k_classes", "k_samples", "negatives_selection_mode") and siamese:
        work.refuse(key, "it has no effect in siamese mode")
    elif key == "negatives_selection_mode":
        work.take(
            key,
            "loss and miner",
            "the original mines by the distance and computes the loss with its square; here both use the square",
        )
    else:
        work.take(key, "sampler" if key in ("k_classes", "k_samples", "batch_size") else "loss")


def optimizer(work: Work, key: str) -> None:
    name = str(work.get(key)).lower()
    known = name in OPTIMIZERS
    work.take(
        key, optimizer=OPTIMIZERS.get(name, "sgd"), why="" if known else ("as in the original, any other name is SGD")
    )


def schedule(work: Work, key: str) -> None:
    epochs, size = work.number("n_epochs", 1000), work.number("step_size", 1)
    steps = max(1, ceil(epochs / max(1, size)))
    work.take(key, schedule=f"step(steps={steps}, factor={float(work.number(key))})")


def epochs(work: Work, key: str) -> None:
    count = work.whole(key)
    why = "an epoch here shows every image once" if "n_batches" in work.config else ""
    later = keys_are_later(work)
    work.take(key, epochs=count, patience=10 if later else 50, why=why)


def keys_are_later(work: Work) -> bool:
    return "negatives_selection_mode" in work.config or "decay_factor" in work.config


def augmentations(work: Work, key: str) -> None:
    name = str(work.get(key, "none")).lower()
    if name not in AUGMENTATIONS:
        work.refuse(key, f"augmentations are {', '.join(AUGMENTATIONS)}; set augment= yourself")
    elif name == "none":
        work.take(key, "augment=", augment="")
    else:
        why = "in the original it never ran, because the code reads another key; here it does"
        work.take(key, augment=AUGMENTATIONS[name], why=why)


def dataset(work: Work, key: str) -> None:
    if "train_csv_file" in work.config:
        work.take(key, "data")
    else:
        work.take(key, data=str(work.get(key)))


def csv_file(work: Work, key: str) -> None:
    columns = f"image={work.get('image_id_column', 'image_id')!r}, label={work.get('label_column', 'label')!r}"
    root = f", root={work.get('dataset_path')!r}" if work.get("dataset_path") else ""
    if work.get("is_google"):
        work.refuse(
            key,
            ("paths built from the image's first letters (is_google) are not supported; write full paths in the CSV"),
        )
    else:
        work.take(key, data=f"table(path={work.get(key)!r}, {columns}{root})")


def part_of_data(work: Work, key: str) -> None:
    work.take(key, "data")


def val_csv(work: Work, key: str) -> None:
    if work.get(key):
        why = (
            "the original reads the training rows again; put both in one file with a column split, and add "
            "split='split'"
        )
        work.refuse(key, why)
    else:
        work.take(key, "val")


def at_least(name: str) -> Callable[[Work, str], None]:
    """A field that takes the number as it is; none or 0 is no limit."""

    def rule(work: Work, key: str) -> None:
        work.put(key, {name: work.whole(key, 0) or (1 if name == "min_per_class" else 0)})

    return rule


def as_field(name: str, kind: type) -> Callable[[Work, str], None]:
    def rule(work: Work, key: str) -> None:
        work.put(key, {name: kind(work.number(key)) if kind is not bool else bool(work.get(key))})

    return rule


def fixed(ours: str, why: str = "") -> Callable[[Work, str], None]:
    """A key without a recipe field: a command, or fixed behaviour."""
    return lambda work, key: work.take(key, ours, why)


def freeze(work: Work, key: str) -> None:
    if work.get(key) and work.get("backbone_name") in OWN_NETWORKS:
        work.take(
            key, "frozen_epochs=0", ("the original never freezes its own networks, which are trained from scratch")
        )
    else:
        why = "the original leaves the last two layers trainable" if work.get(key) else ""
        work.take(key, why=why, frozen_epochs=-1 if work.get(key) else 0)


def too_many(work: Work, key: str) -> None:
    if work.get(key):
        why = (
            "the original drops classes with this many images or more; here max_per_class limits the images of a class"
        )
        work.refuse(key, why)
    else:
        work.take(key, "no limit")


def encodings_len(work: Work, key: str) -> None:
    if work.get("backbone_name") == "simple":
        work.take(key, "network")
    else:
        work.take(key, dim=work.whole(key))


def pretraining(work: Work, key: str) -> None:
    wanted = bool(work.get("softmax.wanted"))
    if key == "softmax.n_epochs" and wanted:
        work.take(key, pretrain_epochs=work.whole(key))
    elif key == "softmax.wanted":
        work.take(key, "pretrain_epochs")
    elif key == "softmax.learning_rate" and wanted:
        work.take(key, "lr", "both stages have the recipe's lr and schedule")
    else:
        work.refuse(key, "the softmax stage uses the recipe's settings" if wanted else "no softmax stage is enabled")


def centers_only(work: Work, key: str) -> None:
    work.take(key, "likewise embed RUN --centres" if work.get(key) else "likewise embed RUN")


def most_encodings(work: Work, key: str) -> None:
    work.take(key, f"likewise embed RUN --most-per-class {work.whole(key)}")


FOLDER = fixed("--out and --name", "a run keeps its model, plots, log and embeddings in one folder")

WHOLE = fixed("", "validation uses all held-out images, not a number of batches")

RULES: dict[str, Callable[[Work, str], None]] = {
    "input_shape": input_shape,
    "encodings_len": encodings_len,
    "backbone_name": backbone,
    "backbone_weights": weights,
    "freeze_backbone": freeze,
    "embeddings_normalization": as_field("normalize", bool),
    "mode": mode,
    **dict.fromkeys(
        ("margin", "distance_type", "negatives_selection_mode", "k_classes", "k_samples", "batch_size"), part_of_mode
    ),
    "optimizer": optimizer,
    "learning_rate": as_field("lr", float),
    "decay_factor": schedule,
    "step_size": fixed("schedule"),
    "n_epochs": epochs,
    "n_batches": fixed("epochs", "an epoch here shows every image once, however many batches that takes"),
    "augmentations": augmentations,
    "dataset_path": dataset,
    "train_csv_file": csv_file,
    "val_csv_file": val_csv,
    **dict.fromkeys(("image_id_column", "label_column", "is_google"), part_of_data),
    "val_ratio": as_field("val", float),
    "min_n_obj_per_class": at_least("min_per_class"),
    "max_n_obj_per_class": too_many,
    "select_max_n_obj_per_class": at_least("max_per_class"),
    "validate": fixed("val", "validation is on by default; val=0 turns it off"),
    "n_batches_val": WHOLE,
    "val_steps": WHOLE,
    "val_batch_size": WHOLE,
    "project_name": fixed("--name"),
    **dict.fromkeys(
        ("work_dir", "weights_save_path", "plots_path", "encodings_path", "model_save_name", "encodings_save_name"),
        FOLDER,
    ),
    "tensorboard_log_path": fixed("RUN/tensorboard"),
    "tensorboard_callback": fixed("RUN/tensorboard", "always written where tensorboard is installed"),
    "plot_history": fixed("RUN/report.html", "always written"),
    "save_encodings": fixed("RUN/embeddings.parquet", "always written, every image with its label"),
    "centers_only": centers_only,
    "max_num_samples_of_each_class": most_encodings,
    "knn_k": fixed("likewise predict RUN IMAGE --k"),
    "gpu_ids": fixed("device", "a GPU is used automatically; device=cuda:1 selects another"),
}

BEGINNINGS: dict[str, Callable[[Work, str], None]] = {
    "softmax.": pretraining,
    "wandb": lambda work, key: work.refuse(key, "wandb is not supported; TensorBoard reads the run folder"),
}

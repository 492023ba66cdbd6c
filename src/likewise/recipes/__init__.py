"""Shipped recipes: one function each; the docstring has command, result and time."""

from likewise.recipes.digits import digits
from likewise.recipes.epoch_series import series_cnn, series_siamese, series_triplet
from likewise.recipes.faces import faces
from likewise.recipes.fashion_mlp import mlp3_contrastive, mlp3_pairs, mlp4_contrastive, mlp4_pairs
from likewise.recipes.folder import folder, rows
from likewise.recipes.folder_trainer import (
    trainer_frozen,
    trainer_pretrained,
    trainer_siamese_l1,
    trainer_siamese_l2,
    trainer_simple,
    trainer_simple2,
    trainer_two_stages,
)
from likewise.recipes.friends import (
    lenet_2d_bce,
    lenet_2d_contrastive,
    lenet_2d_softmax,
    lenet_2d_triplet,
    lenet_2d_vae,
)
from likewise.recipes.groceries import groceries, groceries_new
from likewise.recipes.mnist import fashion_mnist, fashion_mnist_2d, mnist, mnist_2d
from likewise.recipes.omniglot import omniglot, omniglot_quick
from likewise.recipes.signatures import signatures
from likewise.recipes.video_objects import video_alexnet, video_small

__all__ = [
    "digits",
    "faces",
    "fashion_mnist",
    "fashion_mnist_2d",
    "folder",
    "groceries",
    "groceries_new",
    "lenet_2d_bce",
    "lenet_2d_contrastive",
    "lenet_2d_softmax",
    "lenet_2d_triplet",
    "lenet_2d_vae",
    "mlp3_contrastive",
    "mlp3_pairs",
    "mlp4_contrastive",
    "mlp4_pairs",
    "mnist",
    "mnist_2d",
    "omniglot",
    "omniglot_quick",
    "rows",
    "series_cnn",
    "series_siamese",
    "series_triplet",
    "signatures",
    "trainer_frozen",
    "trainer_pretrained",
    "trainer_siamese_l1",
    "trainer_siamese_l2",
    "trainer_simple",
    "trainer_simple2",
    "trainer_two_stages",
    "video_alexnet",
    "video_small",
]

"""scikit-learn's handwritten digits: real, small, and there without a download."""

import numpy as np
import torch

from likewise.data.images import SPLITS, Images
from likewise.data.options import LoadOptions

__all__ = ["digits"]


def digits(options: LoadOptions) -> Images:
    """1,797 handwritten digits that come with scikit-learn, 8 x 8, grey, ink bright on dark, 10 classes, closed set.

    Pixels of 0..16 are scaled to 0..255. The test part is every fifth image of each class, in the order scikit-learn
    has them: 355 images, always the same. (Alpaydin and Kaynak, UCI optdigits, 1998)
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    split = np.zeros(len(labels), np.uint8)
    for digit in range(10):
        split[np.flatnonzero(labels == digit)[4::5]] = SPLITS.index("test")
    return Images(
        pixels=torch.from_numpy(np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)),
        labels=torch.from_numpy(labels.astype(np.int64)),
        classes=tuple("0123456789"),
        ids=tuple(f"{SPLITS[part]}/{i:05d}" for i, part in enumerate(split)),
        split=torch.from_numpy(split),
        name="digits",
    )

"""What canonical forms share: the smallest of several images of a grid."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def smallest_images(images: Iterable[np.ndarray]) -> np.ndarray:
    """For each grid the smallest of its images, read row by row as the digits of a number.

    Args:
        images: at least one uint8[N, H, W]; the images of grid i are the i-th of each.

    Returns:
        uint8[N, H, W], a new array.
    """
    smallest: np.ndarray | None = None
    for image in images:
        if smallest is None:
            smallest = image.copy()
            continue
        new, old = image.reshape(len(image), -1), smallest.reshape(len(smallest), -1)
        rows = np.arange(len(new))
        place = (new != old).argmax(axis=1)  # the first cell that differs
        better = new[rows, place] < old[rows, place]
        smallest[better] = image[better]
    assert smallest is not None
    return smallest

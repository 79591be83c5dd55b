"""Images that the commands learn from and are judged by: digits, MNIST, or a folder of files like MNIST's."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from skrbm.datasets import LabelledImages, load_digits, load_mnist


class Images(NamedTuple):
    """Images to learn from and to be judged by, grey in [0, 1]."""

    name: str
    train: np.ndarray
    test: np.ndarray
    image_shape: tuple[int, int]


def read_images(data: str) -> tuple[LabelledImages, LabelledImages | None]:
    """The images of "digits", which aren't split: (all, None); of "mnist" or a folder of idx files: (training, test).

    Raises
    ------
    OSError, ValueError
        If they can't be read or fetched, or are damaged.
    """
    if data == "digits":
        return load_digits(), None
    folder = None if data == "mnist" else data
    if folder is not None and not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder!r} is neither 'digits' nor 'mnist' nor a folder that exists")
    return load_mnist(folder, subset="train"), load_mnist(folder, subset="test")


def load_images(data: str, random_state: int = 0) -> Images:
    """Images without their labels; a fifth of the digits is for testing.

    Raises
    ------
    OSError, ValueError
        As :func:`read_images`.
    """
    learned, held_out = read_images(data)
    if held_out is None:
        train, test = train_test_split(learned.data, test_size=0.2, stratify=learned.target, random_state=random_state)
        return Images("scikit-learn's digits", train, test, learned.image_shape)
    return Images("MNIST" if data == "mnist" else data, learned.data, held_out.data, learned.image_shape)

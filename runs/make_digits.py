"""Writes digits.npz: the handwritten digits of scikit-learn, odd (+1) against even (-1), for runs/digits.toml.

1797 images of 8 x 8 pixels with values 0 to 16. Pixels that are the same in every image are left out: 61 remain.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path, default=Path(__file__).with_name("digits.npz"))
    output = parser.parse_args().output
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        parser.error("scikit-learn is needed for this data set: pip install scikit-learn")
    digits = load_digits()
    pixels = digits.data.astype(np.int8)
    pixels = pixels[:, pixels.min(axis=0) < pixels.max(axis=0)]
    labels = np.where(digits.target % 2 == 1, 1, -1).astype(np.int8)
    np.savez_compressed(output, inputs=pixels, labels=labels)
    print(f"{output}: {pixels.shape[0]} patterns of {pixels.shape[1]} inputs")


if __name__ == "__main__":
    main()

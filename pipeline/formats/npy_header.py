"""The header of NumPy's `.npy`: what an array is, before any memory is taken for it.  Never unpickled."""

from __future__ import annotations

import io
import warnings
from typing import Any, NamedTuple

import numpy as np

HEADER_BYTES = 4096


class Header(NamedTuple):
    """What a `.npy` file says of its array.

    Attributes:
        shape: without leading axes of length 1 beyond two axes.
        fortran: whether the first index runs fastest.
        kind: the type of its numbers.
        whole: the shape as the file has it.
    """

    shape: tuple[int, ...]
    fortran: bool
    kind: np.dtype[Any]
    whole: tuple[int, ...]


def read_header(file: io.BytesIO) -> Header:
    """The header; the file stands at the beginning of the numbers then.

    Raises:
        ValueError: this is no `.npy` file, or it holds Python objects.
    """
    from numpy.lib import format as npy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"version {version} of .npy")
        try:
            whole, fortran, kind = read(file)
        except (
            Exception
        ) as error:  # it is parsed as Python, whose tokenizer and parser have errors of their own
            raise ValueError(f"the header cannot be read: {error}"[:120]) from error
    if kind.hasobject:
        raise ValueError("it holds Python objects, which are not unpickled")
    shape = tuple(whole)
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return Header(shape, fortran, kind, tuple(whole))

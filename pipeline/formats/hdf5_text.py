"""Texts as attributes of HDF5 files, by h5py's functions for single steps.

A checkpoint has a text for each of its datasets and half a dozen of its own, and they are read again with its digest.
`attrs` finds out each time of which type a value is, which takes several times as long as to write or to read it.  What
lies in the file is the same, byte for byte.
"""

from __future__ import annotations

import h5py
import numpy as np
from h5py import h5a, h5s, h5t

_DTYPE = h5py.string_dtype()
_OF_MEMORY = h5t.py_create(_DTYPE)
_OF_FILE = h5t.py_create(_DTYPE, logical=True)
_SCALAR = h5s.create_simple(())


def attribute_names(holder: h5py.HLObject) -> list[str]:
    """Names of the attributes of a file, group or dataset."""
    names: list[bytes] = []
    h5a.iterate(holder.id, names.append)
    return [name.decode("utf-8", "surrogateescape") for name in names]


def write_text(holder: h5py.HLObject, name: str, text: str) -> None:
    """Add an attribute; there must be none of that name."""
    attribute = h5a.create(holder.id, name.encode(), _OF_FILE, _SCALAR)
    attribute.write(np.array(text, _DTYPE), mtype=_OF_MEMORY)


def read_text(holder: h5py.HLObject, name: str) -> str:
    """The text of an attribute, what in it is no UTF-8 as surrogates (PEP 383).

    Raises:
        TypeError: it is no single text of variable length, as `write_text` and `attrs` write them.
        KeyError: there is none of that name.
    """
    attribute = h5a.open(holder.id, name.encode("utf-8", "surrogateescape"))
    kind = attribute.get_type()
    if not (isinstance(kind, h5t.TypeStringID) and kind.is_variable_str() and attribute.shape == ()):
        raise TypeError(f"the attribute '{name}' is no text")
    found = np.empty((), object)
    attribute.read(found, mtype=_OF_MEMORY)
    data: bytes = found.item()
    return data.decode("utf-8", "surrogateescape")

"""Loops that numpy cannot fuse, compiled by numba when a module that has some is imported.

No loop runs in parallel and none may be reordered (no `fastmath`), so that the bytes are the same on every machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any, TypeVar

from mimicme.pipeline.numerics.memory import LLVM_BYTES, SPARE_BYTES, ask_for

Compiled = TypeVar("Compiled", bound=Callable[..., Any])


def compiled(*signatures: str, abreast: bool = False) -> Callable[[Compiled], Compiled]:
    """Compile a function for each of some signatures, once a machine: the result is kept beside the module, or wherever
    numba finds a place for it; where there is none, or no room in it, each process compiles it again (some seconds).

    Whether what is kept is still true is told by the module's own file alone: who changes a compiled function that
    other modules call (`normals.sides`, `normals.cross`) touches these too.

    Args:
        abreast: what is done alike with four numbers side by side in memory is done at once.  It reorders nothing.

    Raises:
        MemoryError: there is no room for numba and its compiler, which would abort the process.
    """
    ask_for(SPARE_BYTES if "numba" in sys.modules else LLVM_BYTES, "numba")
    import numba

    def decorate(function: Compiled) -> Compiled:
        options: dict[str, Any] = {"error_model": "numpy", "nogil": True}
        njit: Any = numba.njit
        with _abreast() if abreast else nullcontext():
            try:
                made: Compiled = njit(list(signatures), cache=True, **options)(function)
            except (RuntimeError, OSError):  # no folder that can be written, a full disk
                made = njit(list(signatures), **options)(function)
        return made

    return decorate


@contextmanager
def _abreast() -> Iterator[None]:
    """With LLVM's vectoriser of neighbouring statements, which numba leaves out by default, and has no option for.

    Where a numba to come no longer asks for it, the loops take as long as they did.
    """
    config: Any = import_module("numba.core.config")
    before = getattr(config, "SLP_VECTORIZE", 0)
    config.SLP_VECTORIZE = 1
    try:
        yield
    finally:
        config.SLP_VECTORIZE = before

"""What can still be had is asked before libraries that do not get over its want."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mimicme.pipeline.errors import InputError, UsageError, no_memory_in
from mimicme.pipeline.numerics import memory

pytest.importorskip("resource")

LIMITED = """
import resource, sys
from mimicme.pipeline.numerics import memory
import numpy as np, scipy.linalg.blas, h5py
with open("/proc/self/statm") as statm:
    own = int(statm.read().split()[0]) * resource.getpagesize()
def allow(more):
    resource.setrlimit(resource.RLIMIT_AS, (own + more, resource.RLIM_INFINITY))
"""


def limited(code: str) -> str:
    """What a process says that runs this after `LIMITED`; it has ended by itself, in time."""
    if not sys.platform.startswith("linux"):
        pytest.skip("no other system tells how much address space a process has, or keeps to the limit")
    done = subprocess.run([sys.executable, "-c", LIMITED + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_cannot_be_had_is_an_error_before_it_is_needed():
    said = limited(
        "allow(64 << 20)\n"
        "print(memory.has_room(16 << 20), memory.has_room(128 << 20))\n"
        "try: memory.ask_for(128 << 20, 'packing')\n"
        "except MemoryError as error: print(error)\n"
        "print(memory.for_want_of_memory(KeyError('x')))\n"
        "allow(8 << 20); print(memory.for_want_of_memory(KeyError('x')), memory.not_enough())"
    )
    assert said.splitlines()[:3] == ["True False", "packing takes up to 128 MB more", "False"]
    assert said.splitlines()[3].startswith("True There was not enough memory; a process may have")
    assert "`ulimit -v`" in said


def test_what_is_kept_back_is_there_when_it_is_let_go():
    said = limited(
        "kept = memory.Reserve(16 << 20, 'writing'); kept.grow(8 << 20, 'writing')\n"
        "with open('/proc/self/statm') as statm: own = int(statm.read().split()[0]) * resource.getpagesize()\n"
        "allow(4 << 20)\n"
        "print(memory.has_room(12 << 20)); kept.let_go(); print(memory.has_room(12 << 20))\n"
        "try: kept.grow(64 << 20, 'writing')\n"
        "except MemoryError as error: print(error)\n"
        "print(memory.has_room(12 << 20))"  # what could not grow keeps nothing back
    )
    assert said.splitlines() == ["False", "True", "writing takes up to 64 MB more", "True"]


def test_openblas_that_finds_no_room_is_an_error_and_no_endless_loop():
    said = limited(
        "allow(16 << 20)\n"
        "try: memory.hold_blas_buffers()\n"
        "except MemoryError as error: print(error)\n"
        "allow(400 << 20); memory.hold_blas_buffers()\n"
        "allow(0 << 20); print('held')"
    )
    assert said.splitlines() == ["OpenBLAS takes up to 48 MB more", "held"]


def test_buffers_that_are_held_are_enough_for_a_factorisation_later():
    said = limited(
        "from scipy.sparse import identity; from scipy.sparse.linalg import splu\n"
        "memory.hold_blas_buffers()\n"
        "with open('/proc/self/statm') as statm: own = int(statm.read().split()[0]) * resource.getpagesize()\n"
        "allow(24 << 20)\n"  # less than a buffer takes
        "splu(identity(200, np.float32, format='csc')); np.ones((300, 300)) @ np.ones((300, 300)); print('done')"
    )
    assert said == "done\n"


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (OSError("Can't read data (memory allocation failed for raw data chunk)"), True),
        (ImportError("x.so: failed to map segment from shared object"), True),
        (InputError("the file is damaged"), False),
        (KeyError("x"), False),
    ],
)
def test_libraries_say_it_in_their_own_words(error, is_it):
    assert no_memory_in(error) == is_it
    assert no_memory_in(ValueError("later")) is False
    later = ValueError("later")
    later.__cause__ = error
    assert no_memory_in(later) == is_it


def test_without_a_limit_fewer_jobs_are_advised(monkeypatch):
    monkeypatch.setattr(memory, "address_space_mb", lambda: None)
    assert memory.not_enough() == "There was not enough memory; run with fewer --jobs."


def test_a_limit_below_what_the_libraries_take_refuses_a_run(monkeypatch):
    for limit in (None, memory.LEAST_BYTES >> 20, 1 << 20):
        monkeypatch.setattr(memory, "address_space_mb", lambda limit=limit: limit)
        memory.refuse_too_little()
    monkeypatch.setattr(memory, "address_space_mb", lambda: 1360)
    with pytest.raises(UsageError, match=r"seen 1,360 MB of address space, expected 1,600 MB.*ulimit -v"):
        memory.refuse_too_little()


def test_what_asks_for_too_much_is_told_from_a_process_that_has_too_little():
    said = limited(
        "allow(400 << 20); print([memory.short_of_memory(e) for e in (MemoryError(), KeyError('x'))])\n"
        "allow(128 << 20); print([memory.short_of_memory(e) for e in (MemoryError(), KeyError('x'))])\n"
        "allow(8 << 20); print([memory.short_of_memory(e) for e in (MemoryError(), KeyError('x'))])"
    )
    assert said.splitlines() == ["[False, False]", "[True, False]", "[True, True]"]


def test_numba_that_finds_no_room_is_an_error_and_no_abort():
    said = limited(
        "import mimicme.pipeline.numerics.compiled as compiled; allow(96 << 20)\n"
        "try: compiled.compiled('f8(f8)')\n"
        "except MemoryError as error: print(error)\n"
        "print('numba' in sys.modules)"
    )
    assert said.splitlines() == ["numba takes up to 256 MB more", "False"]

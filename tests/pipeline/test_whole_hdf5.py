"""HDF5 files that are there whole or not at all, also where there is no room or somebody presses Ctrl-C."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from mimicme.pipeline.whole_hdf5 import whole_hdf5


def test_an_hdf5_file_is_read_by_hdf5_itself_and_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(40, 300))
    for name in ("one.h5", "two.h5"):
        with whole_hdf5(tmp_path / name) as handle:
            data = handle.create_dataset(
                "a",
                numbers.shape,
                "f8",
                chunks=(1, 300),
                compression="gzip",
                fletcher32=True,
                track_times=False,
            )
            for row, values in enumerate(numbers):
                data[row] = values
            handle.attrs["text"] = "x" * 300
    with h5py.File(tmp_path / "one.h5", "r") as handle:
        assert (handle["a"][:] == numbers).all() and handle.attrs["text"] == "x" * 300
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from mimicme.pipeline.errors import OutputError
from mimicme.pipeline.whole_hdf5 import whole_hdf5

limit = int(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with whole_hdf5(Path(sys.argv[1])) as handle:
        data = handle.create_dataset("a", (50, 1000), "f8", chunks=(1, 1000))
        for row in range(50):
            data[row] = np.random.default_rng(row).normal(size=1000)
        handle.create_group("b").attrs["a"] = [float(x) for x in data[:5, 0]]
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [0, 100, 5_000, 100_000, 200_000])
def test_hdf5_survives_a_full_disk(tmp_path: Path, limit: int) -> None:
    """In a process of its own: HDF5 by itself ends it with a segmentation fault."""
    path = tmp_path / "a.h5"
    done = subprocess.run([sys.executable, "-c", FULL, path, str(limit)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the file cannot be written; seen File too large" in done.stdout
    assert not list(tmp_path.iterdir())


INTERRUPTED = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from mimicme.pipeline import whole_hdf5 as module
from mimicme.pipeline.run.interrupt import interruptible

at, count, real = int(sys.argv[2]), 0, module._Disk.write

def write(disk, data):
    global count
    count += 1
    if count == at:
        os.kill(os.getpid(), signal.SIGINT)
    return real(disk, data)

module._Disk.write = write
module._OF_DISK = module._OF_DISK | {write.__code__}
with interruptible():
    try:
        with module.whole_hdf5(Path(sys.argv[1])) as handle:
            data = handle.create_dataset("a", (60, 1000), "f8", chunks=(1, 1000))
            for row in range(60):
                data[row] = np.random.default_rng(row).normal(size=1000)
                handle.flush()
                time.sleep(0.002)  # what a stage does between two frames
            if at < 1000:
                time.sleep(5)  # one that h5py dropped in a finaliser comes again after two seconds
        print("ended", count)
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize("at", [1, 2, 10, 40])
def test_an_interrupt_while_a_file_is_written_ends_it(tmp_path: Path, at: int) -> None:
    """It comes inside of HDF5, which would take the exception for a failed write and go on."""
    path = tmp_path / "a.h5"
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, path, str(at)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "interrupted\n"
    assert not list(tmp_path.iterdir())


def test_an_interrupt_after_the_last_write_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, path, "1000000"], capture_output=True, text=True
    )
    assert done.stdout.startswith("ended") and not done.stderr
    with h5py.File(path, "r") as handle:
        assert np.isfinite(handle["a"][:]).all()

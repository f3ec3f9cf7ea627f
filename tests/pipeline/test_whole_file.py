"""Files that are there whole or not at all, also where there is no room for them."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from mimicme.pipeline.errors import OutputError
from mimicme.pipeline.whole_file import whole_file, whole_hdf5, write_whole


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "before")
    with contextlib.suppress(KeyError), whole_file(path) as temporary:
        temporary.write_text("after")
        raise KeyError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_what_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "before")
    path.chmod(0o640)
    write_whole(path, "after")
    assert path.read_text() == "after" and path.stat().st_mode & 0o777 == 0o640


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


def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with (
        pytest.raises(OutputError, match=r"a\.txt: the file cannot be written; seen .*Make room"),
        whole_file(path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), whole_file(path):
        raise PermissionError(errno.EACCES, "Permission denied")


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from mimicme.pipeline.errors import OutputError
from mimicme.pipeline.whole_file import whole_hdf5

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

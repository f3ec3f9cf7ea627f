"""Checkpoints: every dataset is checksummed, notes keep whole codes, and equal content gives equal bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from mimicme.commands.verify import verify
from mimicme.pipeline.checkpoint import (
    MESSAGE_BYTES,
    NOTE_BYTES,
    ONE_MESSAGE_BYTES,
    Checkpoint,
    FrameStatus,
    damage,
    fingerprint,
    fingerprint_of_many,
    frame_numerics,
    guarded_file,
    joined_codes,
    status_after,
    without_damage,
    writing,
)
from mimicme.pipeline.errors import CheckpointError, FrameRejected, MissingDependencyError, ReleaseError
from mimicme.pipeline.release import Release
from mimicme.pipeline.run.checkpoint_index import CheckpointIndex


def write(path: Path, frames: int = 1) -> Path:
    with writing(path, stage="s", item="a/b", made_by={}) as out:
        out.frames(range(frames))
        out.array("whole", np.arange(5.0), "mm")
        out.array("one", [3], "1")
        out.array("scalar", 3.0)
        out.array("empty", np.zeros((0, 3)))
        out.rows("value", (), "f4")[:] = 1
        out.put(0, "image", np.array([7], np.uint8))
        out.reject(0, FrameRejected("dark", "it is dark"))
    return path


@pytest.mark.parametrize("frames", [1, 3])
def test_every_dataset_that_holds_anything_is_checksummed(tmp_path: Path, frames: int) -> None:
    bare = []
    with h5py.File(write(tmp_path / "a.h5", frames)) as file:
        file.visititems(
            lambda name, node: bare.append(name) if getattr(node, "fletcher32", True) is False else None
        )
        assert all(file[name].chunks for name in ("frame", "status"))
    assert sorted(bare) == ["empty", "scalar"]


@pytest.mark.parametrize("name", ["frame", "status"])
def test_a_flipped_byte_does_not_change_a_status(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path) as file:
        chunk = file[name].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(data)
    with Checkpoint(path) as checkpoint, pytest.raises(OSError, match="checksum|filter"):
        checkpoint.numbers if name == "frame" else checkpoint.statuses  # noqa: B018


def written(path: Path) -> Path:
    """A checkpoint with attributes of every kind that stages write."""
    with writing(path, stage="s", item="a/b", made_by={"settings": {"x": 1.5}}) as out:
        out.frames(range(3))
        out.attrs["fps"] = 59.94
        out.attrs["unit_decision"] = "The unit is mm, by 61 mm between the eyes: é."
        out.attrs["siblings"] = ["smile", "sad"]
        out.attrs["codings"] = np.arange(4.0)
        out.attrs["mirrored"] = True
        out.attrs["none"] = []
        out.figure("residual", "mm")[:] = [0.1, 0.2, 0.3]
        out.rows("vertices", (40, 3), "f4", "mm")[:] = np.random.default_rng(0).normal(size=(3, 40, 3))
        out.put(1, "texture", np.arange(999, dtype=np.uint8))
    return path


def everything(path: Path) -> dict[str, bytes]:
    """All that stages and pack read of a checkpoint, by name."""
    with Checkpoint(path) as opened:
        found = {f"@{name}": repr(np.asarray(opened.attrs[name]).tolist()).encode() for name in opened.attrs}
        for name in ("frame", "status", "vertices", "frames/000001/texture", "quality/residual"):
            found[name] = opened[name][()].tobytes()
        assert opened.has(1, "texture") and not opened.has(0, "texture")
    return found


FLIPS_A_PROCESS = """
import json, random, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from test_checkpoint import everything
from mimicme.pipeline.checkpoint import DAMAGE, damage

good = Path(sys.argv[3])
data, want, path, draw = good.read_bytes(), everything(good), good.with_name("spoiled.h5"), random.Random(7)
silent, found, removed = [], 0, 0
for _ in range(int(sys.argv[4])):
    at, bit = draw.randrange(len(data)), draw.randrange(8)
    spoiled = bytearray(data)
    spoiled[at] ^= 1 << bit
    path.write_bytes(spoiled)
    try:
        same = everything(path) == want
    except DAMAGE:
        found += 1
        removed += damage(path) is not None
    else:
        silent += [] if same else [(at, bit)]
print(json.dumps([silent, found, removed]))
"""


def test_a_flipped_byte_is_an_error_or_changes_no_value(tmp_path: Path) -> None:
    """In a process of its own: HDF5 may end on one."""
    good = written(tmp_path / "good.h5")
    assert damage(good) is None
    here = Path(__file__).parent
    command = [sys.executable, "-c", FLIPS_A_PROCESS, here, here.parent, good, 300]
    done = subprocess.run(
        [str(one) for one in command], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    silent, found, named = json.loads(done.stdout)
    assert silent == [] and found > 50
    assert named == found


def test_what_is_no_damage_removes_nothing(tmp_path: Path) -> None:
    good, error = written(tmp_path / "good.h5"), ValueError("a mistake of a stage")
    assert without_damage([good, tmp_path / "missing.h5"], error) is error and good.exists()
    assert without_damage([good], OSError(28, "No space left on device")).args[0] == 28
    with h5py.File(good) as file:
        chunk = file["vertices"].id.get_chunk_info(1)
    spoiled = bytearray(good.read_bytes())
    spoiled[chunk.byte_offset + 9] ^= 1
    good.write_bytes(spoiled)
    told = without_damage([good], OSError("Can't synchronously read data"))
    assert isinstance(told, CheckpointError) and "good.h5" in str(told) and "Run again" in str(told)
    assert not good.exists()


IN_WANT = """
import os, sys
from pathlib import Path
import resource
import numpy as np
from mimicme.pipeline.checkpoint import Checkpoint, without_damage, writing

folder, when, *more = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
values = np.random.default_rng(0).normal(size=(2, 60_000, 3))

def allow(kilobytes):
    with open("/proc/self/statm") as statm:
        own = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + (kilobytes << 10), resource.RLIM_INFINITY))

def write(path, kilobytes):
    if when == "before":
        allow(kilobytes)
    with writing(path, stage="s", item="a/b", made_by={}) as out:
        out.frames([0, 1])
        if when == "meanwhile":
            allow(kilobytes)
        rows = out.rows("rows", values.shape[1:], values.dtype)
        for row, one in enumerate(values):
            rows[row] = one
            out.put(row, "own", one[:, 0])

def read(path, kilobytes):
    with Checkpoint(path) as made:
        allow(kilobytes)
        try:
            made["rows"][:], made.get(0, "own")
        except OSError as error:
            assert without_damage([path], error) is error and path.exists()

for kilobytes in more:
    child = os.fork()
    if child == 0:  # its end is Python's own: HDF5 closes what is open then
        try:
            (read if when == "read" else write)(folder / "made.h5", kilobytes)
        except (MemoryError, OSError, RuntimeError, ValueError):
            sys.exit(3)
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), end=" ", flush=True)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no other system keeps to such a limit")
@pytest.mark.parametrize("when", ["before", "meanwhile", "read"])
def test_want_of_memory_is_an_error_and_no_crash_of_hdf5(tmp_path: Path, when: str) -> None:
    """At every amount that crashed it once, and with enough."""
    if when == "read":
        write_many(tmp_path / "made.h5")
    more = [0, 500, 1000, 2500, 4000, 5500, 6500, 8000, 64_000]
    done = subprocess.run(
        [sys.executable, "-c", IN_WANT, str(tmp_path), when, *map(str, more)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    codes = [int(code) for code in done.stdout.split()]
    assert len(codes) == len(more), done.stderr
    assert set(codes) <= {0, 3}, (codes, done.stderr)
    assert codes[0] == 3 and codes[-1] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["made.h5"]


def write_many(path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(2, 60_000, 3))
    with writing(path, stage="s", item="a/b", made_by={}) as out:
        out.frames([0, 1])
        out.rows("rows", values.shape[1:], values.dtype)[:] = values
        out.put(0, "own", values[0, :, 0])


def test_a_checkpoint_of_before_has_no_digest(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path / "a.h5"), "r+") as file:
        del file.attrs["sha256"]
        file.attrs["fps"] = 30.0
    with Checkpoint(tmp_path / "a.h5") as opened:
        assert opened.attrs["fps"] == 30.0


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    assert write(tmp_path / "a.h5").read_bytes() == write(tmp_path / "b.h5").read_bytes()


def test_codes_are_never_cut() -> None:
    assert joined_codes([]) == ""
    assert joined_codes(["a", "", "b", "a"]) == "a,b"
    assert joined_codes(["x" * NOTE_BYTES]) == "x" * NOTE_BYTES
    assert joined_codes(["x" * NOTE_BYTES, "y"]) == "more"
    assert joined_codes(["a", "more", "b"]) == "a,b,more"  # of two stages, the first had no room
    many = [f"code-{k:03d}" for k in range(40)]
    kept = joined_codes(many).split(",")
    assert len(",".join(kept)) <= NOTE_BYTES
    assert kept == [*many[: len(kept) - 1], "more"]
    assert len(kept) > 15


def test_a_code_that_had_no_room_may_be_there():
    assert FrameStatus(note="a,textures-joined").may_have("textures-joined")
    assert FrameStatus(note="a,more").may_have("textures-joined")
    assert not FrameStatus(note="textures").may_have("textures-joined")
    assert not FrameStatus().may_have("textures-joined")


@pytest.mark.parametrize(
    "error",
    [np.linalg.LinAlgError("Singular matrix"), FloatingPointError("overflow"), ValueError(), IndexError("7")],
)
def test_numbers_reject_their_frame(error: Exception) -> None:
    with pytest.raises(FrameRejected, match=type(error).__name__) as caught, frame_numerics():
        raise error
    assert caught.value.reason == "numerical-failure"
    assert caught.value.todo


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError("disk"), CheckpointError("damaged"), MissingDependencyError("no Open3D")],
)
def test_what_is_no_fault_of_the_frame_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)), frame_numerics():
        raise error


def test_what_hdf5_says_of_memory_rejects_no_frame() -> None:
    with pytest.raises(MemoryError), frame_numerics():
        raise ValueError("Unable to synchronously create dataset (memory allocation failed for chunk)")


def test_a_file_that_another_program_holds_open_is_said_to_be(tmp_path):
    path = tmp_path / "held.h5"
    code = f"import h5py; f = h5py.File({str(path)!r}, 'w'); f.flush(); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(CheckpointError, match="another program holds this file open"):
            guarded_file(path)
        with pytest.raises(ReleaseError, match="another program holds this file open"):
            verify(path)
        with pytest.raises(ReleaseError, match="another program holds this file open"), Release(path):
            pass
        other.stdin.write(b"\n")
    guarded_file(path).close()


def test_what_is_no_number_for_every_frame_is_no_figure(tmp_path: Path) -> None:
    """Neither for those who open a checkpoint nor for the index, which reads its summary alone."""
    path = tmp_path / "a.h5"
    with writing(path, stage="ingest", item="S/q", made_by={}) as out:
        out.frames([4, 7])
        out.figure("width", "mm")[:] = 1, 3
        out.array("quality/short", np.zeros(1), "mm")
        out.array("quality/wide", np.zeros((2, 3)), "mm")
        out.array("quality/words", np.array([b"a", b"b"]))
        out.array("quality/group/inner", np.zeros(2))
        out.array("quality/bare", np.ones(2))
        del out._h5["quality/bare"].attrs["unit"]
    with Checkpoint(path) as made:
        figures = made.quality
    assert {name: figure.unit for name, figure in figures.items()} == {"bare": "1", "width": "mm"}
    assert figures["width"].values.tolist() == [1, 3]
    summary = CheckpointIndex(tmp_path, tmp_path / "heads.jsonl").read(path)
    assert summary is not None
    assert [(figure.name, figure.unit, figure.mean) for figure in summary.figures] == [
        ("width", "mm", 2),
        ("bare", "1", 1),
    ]


def test_a_message_that_is_too_long_loses_words_of_its_middle_and_shows_it(tmp_path: Path) -> None:
    short, long = "a" * ONE_MESSAGE_BYTES, "Zähne " * 300 + "zu sehen. Copy it again"
    with writing(tmp_path / "a.h5", stage="ingest", item="S/q", made_by={}) as out:
        out.frames([0, 1])
        out.reject(0, FrameRejected("bad", short[:-1]))
        out.reject(1, FrameRejected("bad", long))
    with Checkpoint(tmp_path / "a.h5") as found:
        whole, cut = (status.message for status in found.statuses)
    assert whole == short[:-1] + "."
    assert cut.startswith("Zähne Zähne ") and " Zähne … Zähne " in cut
    assert cut.endswith("zu sehen. Copy it again.")  # what is to be done stands last
    assert ONE_MESSAGE_BYTES - 30 < len(cut.encode()) <= ONE_MESSAGE_BYTES


def test_every_note_on_a_frame_is_said_whole(tmp_path: Path) -> None:
    """Each stage adds to what those before it said; what stands last, as of an odd neutral, is not cut off."""
    said = [f"Note {k}: " + "what is seen here, " * 18 + f"do {k}." for k in range(4)]
    with writing(tmp_path / "a.h5", stage="a", item="S/q", made_by={}) as out:
        out.frames([0, 1])
        for k in (0, 1):
            out.note(0, f"code-{k}", said[k])
    with (
        Checkpoint(tmp_path / "a.h5") as before,
        writing(tmp_path / "b.h5", stage="b", item="S/q", made_by={}) as out,
    ):
        assert out.continue_from(before) == [0, 1]
        for k in (2, 3):
            out.note(0, f"code-{k}", said[k])
    assert sum(map(len, said)) > 3 * MESSAGE_BYTES
    with Checkpoint(tmp_path / "b.h5") as found:
        assert found.statuses[0].message == " ".join(said) and found.statuses[1].message == ""
    summary = CheckpointIndex(tmp_path, tmp_path / "heads.jsonl").read(tmp_path / "b.h5")
    assert summary is not None and summary.flagged[0].message == " ".join(said)


def test_a_table_in_which_nobody_has_much_to_say_is_as_narrow_as_ever(tmp_path: Path) -> None:
    for name, length in (("a", MESSAGE_BYTES - 4), ("b", MESSAGE_BYTES + 1)):
        with writing(tmp_path / f"{name}.h5", stage="s", item="S/q", made_by={}) as out:
            out.frames([0])
            out.note(0, "noted", "ä" + "x" * length)
    with h5py.File(tmp_path / "a.h5") as short, h5py.File(tmp_path / "b.h5") as long:
        assert short["status"].dtype["message"].itemsize == MESSAGE_BYTES
        assert long["status"].dtype["message"].itemsize == 2 * MESSAGE_BYTES


def test_what_a_stage_that_does_not_shape_rejects_hides_nothing() -> None:
    registered = FrameStatus(True, "", "odd", "It is odd. Look at it.")
    unbaked = FrameStatus(False, "no-uv", "odd", "It has no texture coordinates.")
    both = status_after(registered, unbaked, "bake", shapes=False)
    assert both == FrameStatus(
        True, "", "odd,bake:no-uv", "It is odd. Look at it. It has no texture coordinates."
    )
    # a later stage, which follows from register, repeats what that said and adds its own
    projected = FrameStatus(True, "", "odd,far", "It is odd. Look at it. Points lie far off.")
    after = status_after(both, projected, "project", shapes=False)
    assert after.note == "odd,bake:no-uv,far"
    assert after.message == f"{both.message} Points lie far off."
    assert status_after(after, registered, "intensity", shapes=False).message == after.message


@pytest.mark.parametrize(
    "entries", [{}, {"a/b": {"x": None}}, {"b": 1.5, "a\u00e9": ["\u00fc", float("nan")], "a": {}}]
)
@pytest.mark.parametrize("others", [{}, {"created": "today", "zeta": {"b": 1, "a": [True]}}])
def test_a_fingerprint_of_many_is_that_of_the_whole_record(entries, others) -> None:
    told = ((key, entries[key]) for key in sorted(entries))
    assert fingerprint_of_many(others, "items", told) == fingerprint({**others, "items": entries})

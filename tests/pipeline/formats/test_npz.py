"""Archives of arrays: plain ones are read, nothing is unpickled, and nothing takes more memory than it holds."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from typing import Any

import numpy as np
import pytest

from mimicme.pipeline.formats.npz import read_npz

ARRAYS: dict[str, Any] = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "turned": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "names": np.array(["skin", "é"]),
    "one": np.array(3.5),
    "none": np.zeros((0, 4)),
    "truth": np.array([True, False]),
}


def saved(save: Any = np.savez_compressed, **arrays: Any) -> bytes:
    target = io.BytesIO()
    save(target, **arrays)
    return target.getvalue()


def archived(content: bytes, name: str = "a.npy", how: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", how) as archive:
        archive.writestr(name, content)
    return target.getvalue()


def one(array: Any) -> bytes:
    target = io.BytesIO()
    np.save(target, array, allow_pickle=True)
    return target.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_plain_arrays_come_back(save: Any) -> None:
    found = read_npz(saved(save, **ARRAYS))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    found["a"][0, 0] = 9  # it is the caller's own
    assert list(read_npz(saved(save, **ARRAYS), ["one"])) == ["one"]


def test_what_is_not_read() -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return (print, ("unpickled",))

    good = one(np.zeros(4))
    bad = {
        "no such archive": b"nothing",
        "an array alone": good,
        "objects": archived(one(np.array([Harm()], object))),
        "shorter than it says": archived(good[:-1]),
        "longer than it says": archived(good + b"\0"),
        "complex": archived(one(np.zeros(2, complex))),
        "a table": archived(one(np.zeros(2, [("a", "f4")]))),
        "times": archived(one(np.zeros(2, "M8[s]"))),
        "a header that is no Python": archived(good.replace(b"'descr'", b"'descr(")),
        "less than nothing": archived(good.replace(b"(4,), }", b"(-4,),}")),
        "a missing one": saved(b=np.zeros(2)),
    }
    for data in bad.values():
        with pytest.raises(ValueError, match=r"."):
            read_npz(data, ["a"])


def test_what_it_declares_is_bounded_before_memory_is_taken() -> None:
    large = archived(one(np.zeros(1 << 24)))
    with pytest.raises(ValueError, match="too large"):
        read_npz(large, most=1 << 20)
    # says that it is a gigabyte, and holds a hundred bytes
    data = bytearray(archived(one(np.zeros(4))))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (1 << 27).to_bytes(4, "little")
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than the archive holds"):
        read_npz(bytes(data))
    head = one(np.zeros(4)).replace(b"(4,), }", b"(9999999999,), }")
    with pytest.raises(ValueError, match=r"."):
        read_npz(archived(head))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_damage_is_always_said_the_same_way() -> None:
    rng = np.random.default_rng(0)
    for save in (np.savez, np.savez_compressed):
        data = saved(save, **ARRAYS)
        for _ in range(400):
            spoiled = bytearray(data[: rng.integers(len(data))] if rng.random() < 0.2 else data)
            for at in rng.integers(0, max(1, len(spoiled)), 3) if spoiled else ():
                spoiled[at] = rng.integers(256)
            try:
                read_npz(bytes(spoiled))
            except ValueError:
                continue

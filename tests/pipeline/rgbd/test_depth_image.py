from __future__ import annotations

import pickle
import zlib

import numpy as np
import pytest
from rgbd_files import CENTRE, PLAIN, Ball, depth_of, npy, png

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.formats.image import encode
from mimicme.pipeline.rgbd.depth_image import read_depth
from mimicme.pipeline.rgbd.recipe import Depth, Files

BALL = depth_of(Ball(CENTRE), PLAIN)


def depth(ending: str, unit_mm: float = 1.0, kind: str = "") -> Depth:
    return Depth(Files("", "", ending), PLAIN, unit_mm, kind)


def as_u2(unit_mm: float) -> np.ndarray:
    return np.rint(BALL / unit_mm).astype(np.uint16)


@pytest.mark.parametrize(
    ("data", "spec", "step"),
    [
        (png(BALL, 0.1), depth(".png", 0.1), 0.1),
        (png(BALL, 1.0), depth(".PNG", 1.0), 1.0),
        (npy(as_u2(0.1)), depth(".npy", 0.1), 0.1),
        (npy(BALL.astype(np.float32) / 1000), depth(".npy", 1000.0), 0.0),
        (npy(np.asfortranarray(BALL)), depth(".npy"), 0.0),
        (npy(BALL.astype(">f4")[None]), depth(".npy"), 0.0),
        (as_u2(0.1).astype("<u2").tobytes(), depth(".raw", 0.1, "uint16"), 0.1),
        ((BALL / 1000).astype("<f4").tobytes(), depth(".depth", 1000.0, "float32"), 0.0),
    ],
)
def test_every_form_holds_the_same(data: bytes, spec: Depth, step: float) -> None:
    found = read_depth(data, spec, "a")
    assert found.step_mm == step
    np.testing.assert_allclose(found.mm, BALL, atol=max(0.51 * step, 0.001))


def test_what_was_not_measured() -> None:
    whole = as_u2(1.0)
    whole[0, :3] = 0, 65535, 700
    found = read_depth(npy(whole), depth(".npy"), "a").mm
    assert np.isnan(found[0, :2]).all() and found[0, 2] == 700
    real = BALL.astype(np.float32)
    real[0, :5] = np.nan, np.inf, -np.inf, -3, 0
    assert np.isnan(read_depth(npy(real), depth(".npy"), "a").mm[0, :5]).all()
    with pytest.raises(FrameRejected, match="nothing was measured"):
        read_depth(npy(np.zeros_like(whole)), depth(".npy"), "a")


class Spy:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("it was unpickled",))


def header(text: str) -> bytes:
    raw = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + crc

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x10\0\0\0\0"
    body = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "spec", "said"),
    [
        (png(BALL[:-1]), depth(".png"), "another size"),
        (bomb(60_000, 60_000), depth(".png"), "decoded"),
        (bomb(160, 120)[:-400], depth(".png"), "16-bit"),
        (encode(np.zeros((120, 160, 3), np.uint8), "png"), depth(".png"), "16-bit"),
        (encode(np.zeros((120, 160), np.uint8), "png"), depth(".png"), "16-bit"),
        (encode(np.zeros((120, 160, 3), np.uint8), "jpeg"), depth(".png"), "16-bit"),
        (b"", depth(".png"), "empty"),
        (npy(BALL.T), depth(".npy"), "another shape"),
        (npy(BALL)[:-8], depth(".npy"), "not whole"),
        (npy(BALL) + b"x", depth(".npy"), "not whole"),
        (npy(BALL.astype(complex)), depth(".npy"), "no numbers"),
        (npy(np.full((120, 160), "a")), depth(".npy"), "no numbers"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 99999999)}"), depth(".npy"),
         "another shape"),
        (header("{'descr': '|O', 'fortran_order': False, 'shape': (120, 160)}") + pickle.dumps([Spy()]),
         depth(".npy"), "not unpickled"),
        (pickle.dumps(Spy()), depth(".npy"), "cannot be read"),
        (as_u2(1.0).tobytes()[:-1], depth(".raw", 1.0, "uint16"), "another length"),
    ],
)  # fmt: skip
def test_what_cannot_be_used(data: bytes, spec: Depth, said: str) -> None:
    with pytest.raises(FrameRejected) as error:
        read_depth(data, spec, "0001")
    assert error.value.reason == "depth-image" and said in str(error.value) and "0001" in str(error.value)

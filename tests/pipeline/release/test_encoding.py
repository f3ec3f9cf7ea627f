"""Vertices as whole numbers: what they lose is what is stated, what they cannot hold is said by name."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from mimicme.commands.verify import has_errors, verify
from mimicme.commands.withdraw import withdraw_release
from mimicme.pipeline.errors import CheckpointError, ConfigError, ReleaseError
from mimicme.pipeline.release import Release, digest, guard
from mimicme.pipeline.release.encoding import ENCODINGS, INT16, INT32UM, OutOfReachError
from mimicme.stages.pack import PackSettings

SMILE = "subjects/S001/smile"


@pytest.mark.parametrize("name", ENCODINGS)
def test_vertices_come_back_within_the_bound(fakes: ModuleType, tmp_path: Path, name: str) -> None:
    path = tmp_path / "r.h5"
    fakes.packed(path, fakes.inputs(tmp_path), vertices=name)
    assert verify(path) == []
    how = ENCODINGS[name]
    with Release(path) as release:
        for row, number in ((1, 0), (3, 2)):
            off = np.abs(
                release.vertices(row) - fakes.registered(fakes.SMILE, number, fakes.template())
            ).max()
            assert (off == 0) if how.is_float else (0 < off <= how.bound_mm)
        (rejected,) = release.select(status="rejected")
        assert np.isnan(release.vertices(int(rejected))).all()
        whole = release.values(fakes.SMILE, "vertices")
        assert whole.dtype == np.float32 and np.isnan(whole[1]).all()
        np.testing.assert_array_equal(whole[2], release.vertices(3))
    with h5py.File(path) as file:
        assert file[f"{SMILE}/vertices"].dtype == np.dtype(how.dtype)
    withdraw_release(path, "S002")
    assert verify(path) == [] and len(Release(path)) == 4


@pytest.mark.parametrize("how", [INT32UM, INT16])
def test_the_bound_holds_anywhere_within_reach(how: object) -> None:
    rng = np.random.default_rng(0)
    template = rng.normal(scale=80, size=(500, 3)).astype(np.float32)
    for reach in (0.004, 30, 320):
        vertices = (template + rng.uniform(-reach, reach, template.shape)).astype(np.float32)
        back = how.decode(how.encode(vertices, template), template)
        assert np.abs(back.astype(float) - vertices).max() <= how.bound_mm
    assert np.abs(how.decode(how.encode(template, template), template) - template).max() == 0
    nothing = np.full((2, 500, 3), how.nothing, how.dtype)
    assert np.isnan(how.decode(nothing, template)).all()


def test_what_is_out_of_reach_is_named() -> None:
    template = np.zeros((3, 3), np.float32)
    vertices = np.float32([[0, 0, 0], [0, 400, 0], [0, 0, 1]])
    with pytest.raises(OutOfReachError, match="vertex 1 .* seen 400.0 mm, expected at most 327.7 mm"):
        INT16.encode(vertices, template)
    assert INT32UM.encode(vertices, template)[1, 1] == 400_000
    for bad in (np.float32([[np.nan, 0, 0]]), np.float32([[3e6, 0, 0]])):
        with pytest.raises(OutOfReachError):
            INT32UM.encode(bad, np.zeros((1, 3), np.float32))


def far(fakes: ModuleType, root: Path, by: float) -> list[object]:
    """Inputs in which one vertex of one frame lies far away."""
    given = fakes.inputs(root)
    with h5py.File(given[1].checkpoints["refine"], "r+") as file:
        frame = file["vertices"][2]
        frame[7, 0] += by
        file["vertices"][2] = frame
    return given


def test_one_frame_out_of_reach_makes_its_sequence_a_finer_one(fakes: ModuleType, tmp_path: Path) -> None:
    given = far(fakes, tmp_path, 350)
    result = fakes.packed(tmp_path / "r.h5", given, vertices="int16")
    (said,) = [m for m in result.messages if "int16" in m]
    assert "S001/smile row 2" in said and "vertex 7" in said and "stored as 'int32um'" in said
    with h5py.File(tmp_path / "r.h5") as file:
        kinds = {str(file[f"subjects/{s}/vertices"].dtype) for s in ("S001/neutral", "S002/smile")}
        assert kinds == {"int16"} and file[f"{SMILE}/vertices"].dtype == "int32"
    with Release(tmp_path / "r.h5") as release:
        expected = fakes.registered(fakes.SMILE, 2, fakes.template())
        expected[7, 0] += 350
        assert np.abs(release.vertices(3) - expected).max() <= INT32UM.bound_mm
        assert (
            np.abs(release.vertices(1) - fakes.registered(fakes.SMILE, 0, fakes.template())).max() <= 0.00055
        )


def test_what_no_encoding_holds_ends_with_its_name(fakes: ModuleType, tmp_path: Path) -> None:
    given = far(fakes, tmp_path, 5e6)
    with pytest.raises(CheckpointError, match="S001/smile row 2.*float32"):
        fakes.packed(tmp_path / "r.h5", given, vertices="int16")
    assert not (tmp_path / "r.h5").exists()


def test_an_encoding_that_says_something_else_is_refused(fakes: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    fakes.packed(path, fakes.inputs(tmp_path), vertices="int16")
    for name, value in (("encoding", "int12"), ("value_scale", 0.02), ("max_error_mm", 0.0)):
        spoiled = tmp_path / f"{name}.h5"
        spoiled.write_bytes(path.read_bytes())
        with h5py.File(spoiled, "r+", libver="v110") as file:
            guard.put(file[f"{SMILE}/vertices"].attrs, name, value)
            digest.seal(file)
        with pytest.raises(ReleaseError, match="encoding"):
            Release(spoiled).vertices(1)
        assert has_errors(verify(spoiled))


def test_textures_are_encoded_again_or_copied(fakes: ModuleType, tmp_path: Path) -> None:
    found = {}
    for name in ("baked", "png", "jpeg:95", "webp:80"):
        path = tmp_path / f"{name.replace(':', '')}.h5"
        fakes.packed(path, fakes.inputs(tmp_path), textures=name)
        assert verify(path, every_image=True) == []
        with Release(path) as release:
            found[name] = (*release.image_bytes(1), release.texture(1), release.image_bytes(1, "coverage")[1])
            assert release.image_bytes(2)[0] == b""
    assert found["baked"][:2] == found["png"][:2]
    assert [f[1] for f in found.values()] == ["png", "png", "jpeg", "webp"]
    assert all(f[3] == "png" for f in found.values())
    off = np.abs(found["jpeg:95"][2].astype(int) - found["png"][2])
    assert 0 < off.mean() < 12  # of noise, which no photograph is


@pytest.mark.parametrize("wrong", ["jpeg", "png:95", "jpeg:0", "jpeg:101", "gif:90", "jpeg:x", ""])
def test_settings_that_are_none(wrong: str) -> None:
    with pytest.raises(ConfigError, match="pack.textures"):
        PackSettings(textures=wrong)
    with pytest.raises(ConfigError, match="pack.vertices"):
        PackSettings(vertices="int8")


def test_equal_content_gives_equal_bytes(fakes: ModuleType, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        fakes.packed(
            tmp_path / f"{folder}.h5", fakes.inputs(tmp_path / folder), vertices="int16", textures="jpeg:90"
        )
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()

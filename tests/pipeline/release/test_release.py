"""The release file: what is in it, that equal content gives equal bytes, and its reader."""

from __future__ import annotations

import io
import multiprocessing
import pickle
import time
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
import sequence_release as known
from PIL import Image

from mimicme.commands.verify import verify
from mimicme.pipeline.errors import InputError, ReleaseError, UsageError
from mimicme.pipeline.items import Item
from mimicme.pipeline.release import Release, layout
from mimicme.pipeline.release.layout import IndexEntry, index_table
from mimicme.pipeline.release.writer import ReleaseWriter


@pytest.fixture
def path(good_release: Path) -> Path:
    return good_release


def datasets(path: Path) -> dict[str, h5py.Dataset]:
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            found[name] = node

    h5py.File(path).visititems(visit)
    return found


def test_names_types_and_shapes_are_the_designs(path: Path) -> None:
    v, t, n = 49, 72, 4
    smile = "subjects/S001/smile"
    expected = {
        "template/vertices": ("f4", (v, 3)),
        "template/faces": ("u4", (t, 3)),
        "template/uv": ("f4", (v, 2)),
        "template/uv_faces": ("u4", (t, 3)),
        "template/landmark_vertices": ("u4", (n, 3)),
        "template/landmark_weights": ("f4", (n, 3)),
        f"{smile}/frame": ("i8", (3,)),
        f"{smile}/time_s": ("f8", (3,)),
        f"{smile}/vertices": ("f4", (3, v, 3)),
        f"{smile}/pose": ("f8", (3, 4, 4)),
        f"{smile}/landmarks": ("f4", (3, n, 3)),
        f"{smile}/landmark_source": ("u1", (3, n)),
        f"{smile}/landmark_confidence": ("f4", (3, n)),
        f"{smile}/texture/offset": ("u8", (4,)),
        f"{smile}/coverage/offset": ("u8", (4,)),
    }
    found = datasets(path)
    for name, (kind, shape) in expected.items():
        assert (found[name].dtype, found[name].shape) == (np.dtype(kind), shape), name
    assert found[f"{smile}/texture/bytes"].dtype == "u1"
    assert found["template/landmark_names"].asstr()[0] == "chin"
    quality = found[f"{smile}/quality"].dtype
    assert (quality["status"], quality["reason"], quality["s2m_p95"]) == ("S8", "S64", "f4")
    names = ("subject", "sequence", "row", "frame", "expression", "status", "landmark_sources")
    assert found["index"].dtype.names == names
    assert found["sequence_index"].shape == (3,)
    with h5py.File(path) as file:
        assert set(file.attrs) == {*layout.ROOT_ATTRIBUTES, "sha256"}
        assert file.attrs["units"] == b"mm"
        assert file[smile].attrs["expression"] == b"happiness"
        assert file["subjects/S001"].attrs["age"] == 31
        assert file["subjects/S001"].attrs["site"] == b"Ulm"


def test_every_dataset_is_compressed_checksummed_and_has_a_unit(path: Path) -> None:
    for name, data in datasets(path).items():
        assert isinstance(data.attrs["unit"], bytes), name  # text of fixed length
        if data.size:
            assert data.compression == "gzip", name
            assert data.fletcher32, name
    vertices = datasets(path)["subjects/S001/smile/vertices"]
    assert vertices.chunks == (1, *vertices.shape[1:])


def test_a_sequence_of_one_frame_is_checksummed_too(path: Path) -> None:
    found = datasets(path)
    for name in ("frame", "quality", "message", "pose"):
        data = found[f"subjects/S001/neutral/{name}"]
        assert len(data) == 1
        assert data.fletcher32, name


def test_equal_content_gives_equal_bytes(fakes: ModuleType, tmp_path: Path, path: Path) -> None:
    time.sleep(1.1)  # HDF5's own times have a resolution of a second
    fakes.packed(tmp_path / "again.h5", fakes.inputs(tmp_path)[::-1])
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_a_failed_write_leaves_what_was_there(fakes: ModuleType, tmp_path: Path) -> None:
    target = tmp_path / "release.h5"
    target.write_bytes(b"old")
    texts = {"created": "", "licence": "", "config": "{}", "fingerprint": ""}

    def stopped() -> None:
        with ReleaseWriter(target, **texts) as out:
            out.template(fakes.template())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stopped()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_frames_come_back(fakes: ModuleType, path: Path) -> None:
    with Release(path) as release:
        assert len(release) == 6
        shape = fakes.template()
        frame = release.frame(3)
        assert (frame.subject, frame.sequence, frame.number, frame.expression) == (
            "S001",
            "smile",
            2,
            "happiness",
        )
        assert frame.ok
        np.testing.assert_array_equal(frame.vertices, fakes.registered(fakes.SMILE, 2, shape))
        np.testing.assert_array_equal(frame.pose, fakes.pose_of(2))
        np.testing.assert_allclose(frame.landmarks, shape.landmarks(frame.vertices), atol=1e-5)
        assert frame.landmark_source.tolist() == [3] * 4
        assert frame.quality["s2m_median"] == 0.25
        assert frame.texture is not None
        rng = np.random.default_rng(2)
        np.testing.assert_array_equal(frame.texture, rng.integers(0, 255, frame.texture.shape, np.uint8))
        assert frame.coverage is not None
        assert frame.coverage.shape == (32, 32)
        assert release.frame(3, images=False).texture is None
        assert [f.number for f in release] == [0, 0, 1, 2, 5, 7]
        with pytest.raises(IndexError):
            release[6]


def test_a_rejected_row_stays_with_its_reason(path: Path) -> None:
    with Release(path) as release:
        (row,) = release.select(status="rejected")
        frame = release[int(row)]
        assert (frame.number, frame.reason) == (1, "large-residual")
        assert "Look at the scan" in frame.message
        assert np.isnan(frame.vertices).all()
        assert np.isnan(frame.pose).all()
        assert frame.texture is None
        assert not frame.landmark_source.any()


def test_selection_and_overview(fakes: ModuleType, path: Path) -> None:
    release = Release(path)
    assert release.select(expression="happiness", status="ok").tolist() == [1, 3, 4, 5]
    assert release.select(subject="S00[2-9]").tolist() == [4, 5]
    assert release.select(subject="S001", frames=[0]).tolist() == [0, 1]
    assert [str(s.item) for s in release.sequences()] == ["S001/neutral", "S001/smile", "S002/smile"]
    info = release.sequence("S002", "smile")
    assert list(info.rows) == [4, 5]
    assert info.fps == 60
    assert info.file_from_scan[0, 0] == 0.1
    assert info.attributes["unit_decision"] == "The unit is mm."
    assert release.subjects["S002"]["ethnicity"] == "asian"
    assert release.units(fakes.SMILE)["s2m_p95"] == "mm"
    with pytest.raises(UsageError, match="S003"):
        release.sequence("S003", "smile")


def test_times_are_seconds_since_the_first_frame_in_older_releases_too(
    fakes: ModuleType, path: Path, tmp_path: Path
) -> None:
    older = tmp_path / "older.h5"
    older.write_bytes(path.read_bytes())
    fakes.make_older(older)
    with h5py.File(older, "r+") as file:
        for item in (fakes.NEUTRAL, fakes.SMILE, fakes.OTHER):
            del file[f"subjects/{item}/time_s"]
        file["subjects"][str(fakes.OTHER)].attrs["fps"] = np.nan
    for file in (path, older):
        with Release(file) as release:
            np.testing.assert_allclose(release.times(fakes.SMILE), np.arange(3) / 60)
            assert release.frame(3).time_s == pytest.approx(2 / 60)
    with Release(older) as release:
        assert np.isnan(release.times(fakes.OTHER)).all() and np.isnan(release.frame(4).time_s)


def test_the_template_comes_back(fakes: ModuleType, path: Path) -> None:
    given, found = fakes.template(), Release(path).template
    for name in ("vertices", "uv", "landmark_weights"):
        np.testing.assert_allclose(getattr(found, name), getattr(given, name), atol=1e-5)
    for name in ("faces", "uv_faces", "landmark_vertices"):
        np.testing.assert_array_equal(getattr(found, name), getattr(given, name))
    assert found.landmark_names == given.landmark_names
    np.testing.assert_array_equal(found.masks["nose"], given.masks["nose"])


def test_polygons_of_a_template_come_back_and_are_checked(tmp_path: Path) -> None:
    template = known.face(quads=True)
    path = known.written(tmp_path / "release.h5", template)
    with Release(path) as release:
        found = release.template.polygons
        assert found is not None
        np.testing.assert_array_equal(found, template.polygons)
    assert not [one for one in verify(path) if one.level == "error"]
    with Release(known.written(tmp_path / "triangles.h5", known.face())) as release:
        assert release.template.polygons is None
    with h5py.File(path, "r+") as file:
        del file["template/polygons"]
        file["template/polygons"] = np.zeros(3, "u4")
    with Release(path) as release, pytest.raises(ReleaseError, match="polygons"):
        _ = release.template
    assert any("polygons" in one.where for one in verify(path))


def _sum(release: Release) -> float:
    return float(sum(release.vertices(row).sum() for row in release.select(status="ok")))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_release_in_use_can_be_handed_to_workers(path: Path, method: str) -> None:
    with Release(path) as release:
        expected = _sum(release)
        copy = pickle.loads(pickle.dumps(release))
        assert _sum(copy) == expected
        if method == "fork":  # workers of a loader inherit the open file
            with multiprocessing.get_context("fork").Pool(2) as pool:
                assert pool.map(_sum, [release, release]) == [expected] * 2
        assert _sum(release) == expected


def test_what_is_no_release_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    for name, said in (("text.h5", "HDF5"), ("other.h5", "schema_version"), ("none.h5", "HDF5")):
        with pytest.raises(ReleaseError, match=said):
            Release(tmp_path / name).index  # noqa: B018


@pytest.mark.parametrize("kind", ["external", "soft", "storage"])
def test_a_reader_never_leaves_the_file(path: Path, tmp_path: Path, kind: str) -> None:
    hostile, secret = tmp_path / "hostile.h5", tmp_path / "secret"
    hostile.write_bytes(path.read_bytes())
    secret.write_bytes(bytes(49 * 3 * 4))
    with h5py.File(hostile, "r+") as file:
        group = file["subjects/S001/neutral"]
        del group["vertices"]
        if kind == "external":
            group["vertices"] = h5py.ExternalLink(str(path), "/subjects/S001/neutral/vertices")
        elif kind == "soft":
            group["vertices"] = h5py.SoftLink("/subjects/S002/smile/vertices")
        else:
            group.create_dataset("vertices", (1, 49, 3), "f4", external=[(str(secret), 0, 49 * 12)])
    with Release(hostile) as release:
        with pytest.raises(ReleaseError, match="leaves its place|another file"):
            release.vertices(0)
        assert np.isfinite(release.vertices(1)).all()


def test_damage_is_an_error_of_that_frame_alone(path: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.h5"
    data = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        chunk = file["subjects/S001/smile/vertices"].id.get_chunk_info(1)
    data[chunk.byte_offset + chunk.size // 2] ^= 1
    damaged.write_bytes(data)
    with Release(damaged) as release:
        with pytest.raises(ReleaseError, match="S001/smile/vertices"):
            release.vertices(3)
        assert np.isfinite(release.vertices(1)).all()


def test_the_index_is_sorted_and_holds_any_text() -> None:
    numbers = np.array([3, 4])
    entries = [
        IndexEntry(Item("S2", "b"), "Überraschung", numbers, ["ok", "rejected"]),
        IndexEntry(Item("S1", "long_name"), "pain", numbers, ["ok", "ok"]),
    ]
    table = layout.decoded(index_table(entries))
    assert table["subject"].tolist() == ["S1", "S1", "S2", "S2"]
    assert table["expression"].tolist() == ["pain", "pain", "Überraschung", "Überraschung"]
    assert table["status"].tolist() == ["ok", "ok", "ok", "rejected"]
    assert len(index_table([])) == 0


def test_maps_come_back_in_their_units(fakes: ModuleType, tmp_path: Path, path: Path) -> None:
    from mimicme.pipeline.texture.surface_maps import coding

    target = tmp_path / "maps.h5"
    fakes.packed(target, fakes.inputs(tmp_path, maps=("normal", "displacement")))
    with h5py.File(target) as file:
        group = file["subjects/S001/smile/displacement"]
        assert (group.attrs["unit"], group.attrs["format"]) == (b"mm", b"png")
        step = group.attrs["value_scale"]
        assert group.attrs["value_offset"].tolist() == [-32768 * step]
        assert len(group["offset"]) == 4
    with Release(target) as release:
        (rejected,) = release.select(status="rejected")
        for row in (1, 3):
            assert list(release.maps(row)) == ["normal", "displacement"]
            at = int(release.index["row"][row])
            for name, shape in (("normal", (32, 32, 3)), ("displacement", (32, 32))):
                found = release.surface_map(row, name)
                assert found is not None
                assert (found.shape, found.dtype) == (shape, np.float32)
                code = coding(name, fakes.template(), 4.0)
                scale, offset = np.float32(code.scale), np.float32(code.offset)
                expected = fakes.map_numbers(name, at).reshape(32, 32, -1) * scale + offset
                np.testing.assert_allclose(found.reshape(32, 32, -1), expected, atol=code.scale / 10)
        assert release.surface_map(1, "position") is None
        assert release.surface_map(int(rejected), "normal") is None
    with Release(path) as release:  # nobody asked for any
        assert release.maps(0) == {}
        assert release.surface_map(0, "normal") is None


@pytest.mark.parametrize("kind", ["tiff", "bmp", "tga"])
def test_no_other_kind_of_image_is_read(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, format=kind)
    monkeypatch.setattr(Release, "image_bytes", lambda *_: (data.getvalue(), "png"))
    with Release(path) as release:
        for look in (release.texture, release.coverage):
            with pytest.raises(InputError, match="expected png, jpeg, webp"):
                look(0)


def test_a_long_message_is_read_whole(tmp_path: Path) -> None:
    said = tuple("Ä look at it; " * n + "then scan again." for n in (0, 10, 60, 200))
    path = known.written(tmp_path / "release.h5", known.face(), messages=said)
    with Release(path) as release:
        assert [release.frame(row).message for row in range(4)] == list(said)
    assert not [one for one in verify(path) if one.level == "error" and "message" in one.where]

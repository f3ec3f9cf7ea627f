"""Files made to harm: what is refused is refused by name, before it is read, by the reader and by verify."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

import mimicme.commands.verify as verifying
from mimicme.commands.verify import has_errors, verify
from mimicme.commands.verify.apart import verify_apart
from mimicme.commands.verify.datasets import check_chunks
from mimicme.pipeline.errors import MimicmeError, ReleaseError
from mimicme.pipeline.items import Item
from mimicme.pipeline.release import Release, digest, guard, layout, packing

SMILE = "subjects/S001/smile"
Change = Callable[[h5py.File], object]


@pytest.fixture
def copy(good_release: Path, tmp_path: Path) -> Path:
    target = tmp_path / "copy.h5"
    target.write_bytes(good_release.read_bytes())
    return target


def again(name: str, shape: tuple[int, ...], kind: object, **options: object) -> Change:
    """Another dataset in the place of one."""

    def change(file: h5py.File) -> None:
        del file[name]
        made = file.create_dataset(name, shape, kind, **options)
        guard.put_text(made.attrs, "unit", "mm")

    return change


def list_of_lists(file: h5py.File) -> None:
    del file[f"{SMILE}/vertices"]
    kind = h5py.h5t.vlen_create(h5py.h5t.vlen_create(h5py.h5t.NATIVE_DOUBLE))
    h5py.h5d.create(file.id, f"{SMILE}/vertices".encode(), kind, h5py.h5s.create_simple((3,)))


def plugin(number: int) -> Change:
    """Vertices that only the filter of a plug-in could read."""

    def change(file: h5py.File) -> None:
        del file[f"{SMILE}/vertices"]
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((1, 49, 3))
        plan.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
        space = h5py.h5s.create_simple((3, 49, 3))
        made = h5py.h5d.create(file.id, f"{SMILE}/vertices".encode(), h5py.h5t.IEEE_F32LE, space, plan)
        made.write_direct_chunk((0, 0, 0), bytes(588))

    return change


def overlapping(file: h5py.File) -> None:
    """A gigabyte of rows, each of them the same few bytes of zeros, well packed."""
    del file[f"{SMILE}/landmark_source"]
    options = {"chunks": (1 << 20, 4), "compression": "gzip", "shuffle": True, "fletcher32": True}
    made = file.create_dataset(f"{SMILE}/landmark_source", (1 << 24, 4), "u1", **options)
    made[: 1 << 20] = 0


def fits_itself(file: h5py.File) -> None:
    file[f"{SMILE}/again"] = file["subjects"]


def strings(file: h5py.File) -> None:
    del file["index"]
    file["index"] = np.array([b"S001", b"S002"])


def no_checksum(file: h5py.File) -> None:
    """A chunk that says of itself that its checksum was left out."""
    data = file[f"{SMILE}/vertices"]
    data.id.write_direct_chunk((0, 0, 0), bytes(588), filter_mask=7)


BROKEN: dict[str, tuple[Change, str, str]] = {
    "44 GB declared": (
        again(f"{SMILE}/vertices", (100_000, 49_000, 3), "f4", chunks=(1, 49_000, 3), compression="gzip"),
        "S001/smile/vertices",
        "declares more than the file holds",
    ),
    "a frame of 44 GB": (
        again(f"{SMILE}/vertices", (3, 1 << 22, 1 << 10), "f4", chunks=(1, 1 << 22, 4), compression="gzip"),
        "S001/smile/vertices",
        "not what a release has",
    ),
    "a list": (again(f"{SMILE}/vertices", (3,), h5py.vlen_dtype("f4")), "S001/smile/vertices", "type that is not read"),
    "a list of lists": (list_of_lists, "S001/smile/vertices", "type that is not read"),
    "objects": (again(f"{SMILE}/vertices", (3,), h5py.ref_dtype), "S001/smile/vertices", "type that is not read"),
    "regions": (again(f"{SMILE}/vertices", (3,), h5py.regionref_dtype), "S001/smile/vertices", "type that is not read"),
    "opaque": (again(f"{SMILE}/vertices", (3,), "V12"), "S001/smile/vertices", "type that is not read"),
    "texts": (again(f"{SMILE}/vertices", (3,), h5py.string_dtype()), "S001/smile/vertices", "type that is not read"),
    "Zstandard": (plugin(32015), "S001/smile/vertices", "filter 32015"),
    "LZF": (
        again(f"{SMILE}/vertices", (3, 49, 3), "f4", chunks=(1, 49, 3), compression="lzf"),
        "S001/smile/vertices",
        "filter 32000",
    ),
    "scale and offset": (
        again(f"{SMILE}/vertices", (3, 49, 3), "i4", chunks=(1, 49, 3), scaleoffset=4),
        "S001/smile/vertices",
        "filter 6",
    ),
    "without the checksum": (no_checksum, "S001/smile/vertices", "no checksum"),
    "never written": (
        again(f"{SMILE}/vertices", (3, 49, 3), "f4", chunks=(1, 49, 3), compression="gzip", fletcher32=True),
        "S001/smile/vertices",
        "never written",
    ),
    "other storage": (
        again(f"{SMILE}/vertices", (3, 49, 3), "f4", external=[("/etc/passwd", 0, 1764)]),
        "S001/smile/vertices",
        "another file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_harms_is_refused_by_name(copy: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, where, said = BROKEN[name]
    with h5py.File(copy, "r+", libver="v110") as file:
        change(file)
    monkeypatch.setattr(h5py.Dataset, "__getitem__", _refusing(where, h5py.Dataset.__getitem__))
    with Release(copy) as release:
        (row, *_) = release.select(subject="S001", sequence="smile", status="ok")
        with pytest.raises(ReleaseError, match=said) as error:
            release.vertices(int(row))
        assert where in str(error.value)
    findings = verify(copy)
    assert any(where in f.where and f.level == "error" for f in findings), findings


def _refusing(where: str, read: Callable[..., object]) -> Callable[..., object]:
    def getitem(self: h5py.Dataset, *arguments: object, **options: object) -> object:
        assert not str(self.name).endswith(where), "it was read"
        return read(self, *arguments, **options)

    return getitem


def test_a_plug_in_is_not_even_looked_for(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 would load whatever lies in HDF5_PLUGIN_PATH when it meets a filter it does not know."""
    (tmp_path / "plugins").mkdir()
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(tmp_path / "plugins"))
    with h5py.File(copy, "r+") as file:
        plugin(32015)(file)
    findings = verify_apart(copy)
    assert any("filter 32015" in f.message for f in findings)


def test_a_group_whose_names_go_through_a_filter_is_refused(copy: Path) -> None:
    with h5py.File(copy, "r+", libver="v110") as file:
        plan = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
        h5py.h5i.inc_ref(plan)
        h5py.h5p.PropDCID(plan.id).set_deflate(1)
        h5py.h5g.create(file.id, b"subjects/S003", gcpl=plan)
    assert any(f.where == "/subjects/S003" and "packed by a filter" in f.message for f in verify(copy))


def test_an_index_of_strings_and_a_loop_are_findings(copy: Path) -> None:
    for change, said in ((strings, "not what a release has|type"), (fits_itself, "")):
        with h5py.File(copy, "r+") as file:
            change(file)
        assert has_errors(verify(copy))
        if said:
            with pytest.raises(ReleaseError, match=said):
                Release(copy).index  # noqa: B018


def test_ten_thousand_links_to_one_group_end(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        for k in range(3000):
            file[f"subjects/T{k}"] = file["subjects/S001"]
    findings = verify(copy)
    assert sum("another name" in f.message for f in findings) == 3000


def test_what_is_declared_and_not_held_takes_no_memory(copy: Path) -> None:
    with h5py.File(copy, "r+", libver="v110") as file:
        overlapping(file)
    with pytest.raises(ReleaseError, match=r"never written|larger than one of a release"):
        Release(copy).values(_item(), "landmark_source")
    assert any("never written" in f.message for f in verify(copy))


def _item() -> object:
    from mimicme.pipeline.items import Item

    return Item("S001", "smile")


def test_text_without_a_checksum_is_a_finding(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file[SMILE].attrs["note"] = "text of variable length"
    assert any("variable length" in f.message for f in verify(copy))


def test_an_attribute_that_changed_is_found_where_it_is(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        guard.put_text(file[SMILE].attrs, "unit_decision", "The unit is m.")
    found = [f for f in verify(copy) if "sha256" in f.message]
    assert [f.where for f in found] == [f"/{SMILE}"]
    with h5py.File(copy, "r+") as file:
        digest.seal_sequence(file[SMILE])
    assert [f.where for f in verify(copy) if "sha256" in f.message] == ["/subjects/S001"]
    with h5py.File(copy, "r+") as file:
        digest.seal(file)
    assert verify(copy) == []


def test_the_digest_beside_it_is_of_the_whole_file(good_release: Path, copy: Path) -> None:
    beside = digest.beside(copy)
    assert digest.beside(good_release).read_text() == f"{digest.of_file(good_release)}  release.h5\n"
    digest.write_beside(copy)
    assert verify(copy) == []
    beside.write_text(beside.read_text().translate(str.maketrans("0123456789abcdef", "123456789abcdef0")))
    assert any("copy both again" in f.message for f in verify(copy))
    beside.write_text("nothing")
    assert any("has no SHA-256" in f.message for f in verify(copy))


def test_attributes_of_any_length_are_in_the_digest(copy: Path) -> None:
    """HDF5 keeps what is longer than 64 KB somewhere else, without a checksum."""
    with h5py.File(copy, "r+", libver="v110") as file:
        guard.put_text(file.attrs, "config", '"' + "x" * 200_000 + '"')
        digest.seal_root(file["/"])
    assert verify(copy) == []
    data = bytearray(copy.read_bytes())
    data[data.find(b"x" * 1000) + 500] = ord("y")
    copy.write_bytes(data)
    assert [f.where for f in verify(copy) if f.level == "error"] == ["/"]


@pytest.mark.parametrize("text", ["", "ä" * 40, "no UTF-8: \udcff", "x" * 70_000])
def test_texts_come_back(tmp_path: Path, text: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver="v110") as file:
        guard.put(file.attrs, "a", text)
    with h5py.File(tmp_path / "a.h5") as file:
        assert guard.attributes(file["/"].id, "/") == {"a": text}


def test_hdf5_that_ends_is_a_finding(
    good_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verify_apart(good_release) == []
    assert any("not a readable" in f.message for f in verify_apart(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text("import os\nos.kill(os.getpid(), 11)\n")
    (finding,) = verify_apart(good_release)
    assert "signal 11" in finding.message
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(60)\n")
    (finding,) = verify_apart(good_release, silence_s=0.5)
    assert "no sign of life" in finding.message


def test_an_older_release_is_read_and_verified(fakes: ModuleType, copy: Path, good_release: Path) -> None:
    fakes.make_older(copy)
    assert verify(copy) == []
    with Release(copy) as old, Release(good_release) as new:
        assert old.subjects == new.subjects
        for a, b in zip(old.sequences(), new.sequences(), strict=True):
            assert (a.item, a.name, a.expression, a.fps, a.start, a.stop) == (
                b.item, b.name, b.expression, b.fps, b.start, b.stop,
            )  # fmt: skip
            assert dict(a.attributes) == dict(b.attributes)
        np.testing.assert_array_equal(old.select(landmarks="projected"), new.select(landmarks="projected"))
        np.testing.assert_array_equal(old.vertices(3), new.vertices(3))


def test_a_sample_of_hostile_releases(good_release: Path, tmp_path: Path) -> None:
    """Of those of `make test-fuzz`."""
    import hostile

    places = hostile.headers(good_release.read_bytes())
    said: list[str] = []
    for seed in (0, 1, 5, 9, 12, 16, 21, 3, 7, 11, 15, 109, 217, 464, 461, 780):
        path = tmp_path / "hostile.h5"
        hostile.make(good_release, path, seed, places)
        verify(path)
        try:
            with Release(path) as release:
                release.template  # noqa: B018
                for row in range(len(release)):
                    release.frame(row)
        except MimicmeError as error:
            said.append(str(error))
    assert len(said) > 5 and min(map(len, said)) > 20


def test_a_sample_of_flipped_bytes(good_release: Path, tmp_path: Path) -> None:
    """Of those of `make test-faults`."""
    from flips import flips

    done = flips(good_release, tmp_path / "spoiled.h5", 24, seed=3)
    assert [flip for flip in done if not flip.safe] == []
    assert all(flip.found for flip in done if flip.in_chunk)
    assert sum(flip.found for flip in done if not flip.in_chunk) >= 6


def test_a_chunk_that_is_longer_than_what_it_declares_is_refused(copy: Path) -> None:
    """HDF5 would unpack all of it into memory, and then take the first bytes."""
    with h5py.File(copy, "r+") as file:
        old = file[f"{SMILE}/pose"]
        shape = old.shape
        del file[f"{SMILE}/pose"]
        made = file.create_dataset(
            f"{SMILE}/pose", shape, "<f8", chunks=(1, 4, 4), compression="gzip", fletcher32=True
        )
        made[:] = np.eye(4)
        long = zlib.compress(bytes(50_000_000))
        made.id.write_direct_chunk((0, 0, 0), long + bytes(4))
        guard.put_text(made.attrs, "unit", "mm")
    with Release(copy) as release, pytest.raises(ReleaseError, match="declares more"):
        release.field(int(release.select(sequence="smile", status="*")[0]), "pose")


def test_a_chunk_that_unpacks_to_more_than_it_declares_is_refused(tmp_path: Path) -> None:
    """One that is not longer in the file than what it declares: only unpacking it shows how much is in it."""
    kind = {"compression": "gzip", "shuffle": True, "fletcher32": True}
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        made = file.create_dataset("vertices", (3, 20_000, 3), "<f4", chunks=(1, 20_000, 3), **kind)
        made[:] = 1.0
        for row, content in ((0, bytes(100_000_000)), (1, np.random.default_rng(0).bytes(100_000))):
            stream = zlib.compress(content)
            made.id.write_direct_chunk((row, 0, 0), stream + packing.fletcher32(stream).to_bytes(4, "little"))
    with h5py.File(tmp_path / "bomb.h5") as file:
        stored = guard.dataset(file["vertices"].id, "vertices")
        with pytest.raises(ReleaseError, match="more than the 240,000 bytes"):
            stored.read(0)
        with pytest.raises(ReleaseError, match="less than the 240,000 bytes"):
            stored.read(1)
        with pytest.raises(ReleaseError, match="more than the"):
            stored.read()
        assert (stored.read(2) == 1).all() and (stored.read(slice(2, 3)) == 1).all()


def test_attributes_that_share_a_long_text_are_refused(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        for k in range(40):
            file.attrs.create(f"note{k}", "x" * 500_000, dtype=h5py.string_dtype())
    with Release(copy) as release, pytest.raises(ReleaseError, match="attributes are larger"):
        dict(release.attributes)


def test_two_names_of_one_subject_are_refused(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file["subjects/S999"] = file["subjects/S001"]
    with Release(copy) as release, pytest.raises(ReleaseError, match="several names"):
        _ = release.subjects


def test_many_texts_in_one_attribute_are_refused(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file.attrs.create("note", ["x" * 1000] * 100, dtype=h5py.string_dtype())
    with Release(copy) as release, pytest.raises(ReleaseError, match="more texts"):
        dict(release.attributes)


@pytest.mark.parametrize(("linked", "said"), [(True, "several names"), (False, "more masks")])
def test_masks_without_end_are_refused(copy: Path, linked: bool, said: str) -> None:
    with h5py.File(copy, "r+") as file:
        masks = file["template"].require_group("masks")
        zeros = np.zeros(file["template/vertices"].shape[0], np.float32)
        masks["first"] = zeros
        for k in range(layout.MAX_MASKS):
            masks[f"again{k}"] = masks["first"] if linked else zeros
    with Release(copy) as release, pytest.raises(ReleaseError, match=said):
        _ = release.template


@pytest.mark.parametrize("kind", ["<f8", "<i8", "<u4"])
def test_rows_of_the_index_are_numbers_from_zero_on(copy: Path, kind: str) -> None:
    with h5py.File(copy, "r+") as file:
        table = file["index"][:]
        other = np.empty(len(table), [(n, kind if n == "row" else table.dtype[n]) for n in table.dtype.names])
        for name in table.dtype.names:
            other[name] = table[name]
        del file["index"]
        layout.write_table(file, "index", other, 4)
    release = Release(copy)
    if kind == "<u4":
        assert len(release.index)
    else:
        with pytest.raises(ReleaseError, match="a table of"):
            _ = release.index


def test_a_large_file_gives_signs_of_life(good_release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "_BLOCK_BYTES", 1000)
    signs: list[int] = []
    digest.of_file(good_release, lambda: signs.append(1))
    assert len(signs) == -(-good_release.stat().st_size // 1000)


def test_a_fault_of_verify_itself_is_not_the_files(
    good_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    found = verify_apart(good_release)
    assert "verify itself failed" in found[-1].message


def test_an_index_is_bounded_by_what_its_text_becomes(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        names = file["index"].dtype.names
        kinds = {n: file["index"].dtype[n] for n in names} | {"expression": np.dtype("S20000")}
        del file["index"]
        layout.write_table(file, "index", np.zeros(2_000, [(n, kinds[n]) for n in names]), 1)
    assert copy.stat().st_size < 1 << 20
    with Release(copy) as release, pytest.raises(ReleaseError, match="larger than one of a release"):
        _ = release.index
    assert any("/index" in f.where and "of memory" in f.message for f in verify(copy))


def test_masks_of_zeros_have_a_budget_together(copy: Path) -> None:
    zeros = np.zeros((300_000, 3), np.float32)
    with h5py.File(copy, "r+") as file:
        del file["template/vertices"]
        layout.create_dataset(file["template"], "vertices", zeros.shape, "<f4", "mm", level=1)[...] = zeros
        masks = file["template"].require_group("masks")
        for k in range(40):
            layout.create_dataset(masks, f"m{k}", (len(zeros),), "<f4", "1", level=1)[...] = zeros[:, 0]
    assert copy.stat().st_size < 1 << 20
    with Release(copy) as release, pytest.raises(ReleaseError, match="larger than one of a release"):
        _ = release.template
    assert any(f.where == "/template" and "of memory" in f.message for f in verify(copy))


def test_a_sequence_of_rejected_frames_is_no_reason_to_take_all_memory(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        del file["subjects/S001/smile/vertices"]
        many = layout.create_dataset(
            file["subjects/S001/smile"], "vertices", (3_000_000, 49, 3), "<f4", "mm", chunk_rows=50_000
        )
        many[:1] = 0
    release = Release(copy)
    with pytest.raises(ReleaseError, match="3 rows, as the index has"):
        release.values(Item("S001", "smile"), "vertices")


def test_there_is_never_more_room_than_gzip_can_make_of_a_file() -> None:
    assert guard.room(10_000) == guard.room(10_000, 8) == guard.GZIP_RATIO * 10_000
    assert guard.room(1 << 20) == 128 << 20 and guard.room(1 << 20, 8) == 1 << 30
    assert guard.room(1 << 30) == 16 << 30 and guard.room(1 << 30, 8) == 128 << 30


def test_a_field_of_zeros_is_no_reason_to_take_all_memory(copy: Path) -> None:
    item, n = Item("S001", "smile"), 1_200_000
    with h5py.File(copy, "r+") as file:
        group = file["subjects/S001/smile"]
        kind = group["quality"].dtype
        for name, shape, dtype in (("pose", (n, 4, 4), "<f8"), ("quality", (n,), kind)):
            unit = guard.text(group[name].attrs["unit"])
            del group[name]
            layout.create_dataset(group, name, shape, dtype, unit, level=9)[:] = np.zeros(shape, dtype)
        del group["texture/bytes"], group["texture/offset"]
        layout.create_dataset(group["texture"], "bytes", (60 * n,), "|u1", "byte", level=9)[:] = 0
        layout.create_dataset(group["texture"], "offset", (4,), "<u8", "byte")[:] = [
            0,
            60 * n,
            60 * n,
            60 * n,
        ]
    assert copy.stat().st_size < 4 << 20
    with Release(copy) as release:
        for name in ("pose", "quality"):
            with pytest.raises(ReleaseError, match="larger than one of a release"):
                release.values(item, name)
        (first, *_) = release.select(subject="S001", sequence="smile")
        with pytest.raises(ReleaseError, match="offsets"):
            release.texture(int(first))


def test_want_of_memory_is_no_damage_of_the_file(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(guard.zlib, "decompressobj", none_left)
    with Release(copy) as release, pytest.raises(guard.TooLittleMemoryError, match="too little memory"):
        release.vertices(0)
    monkeypatch.undo()
    monkeypatch.setattr(verifying.whole, "check_chunks", none_left)
    found = [f.message for f in verify(copy)]
    assert any("too little memory" in message for message in found)
    assert not any("damaged" in message for message in found)


def test_every_chunk_and_every_digest_is_a_sign_of_life(good_release: Path) -> None:
    signs: list[int] = []
    with guard.opened(good_release) as file:
        faces = file["template/faces"]
        assert list(check_chunks(faces, lambda: signs.append(1))) == []
        assert len(signs) == len(list(faces.iter_chunks()))
        signs.clear()
        digest.of_root(file["/"].id, lambda: signs.append(1))
        assert len(signs) > len(file["subjects"])
        signs.clear()
        digest.of_subject(file["subjects/S001"].id, "/subjects/S001", lambda: signs.append(1))
        assert len(signs) == len(file["subjects/S001"])

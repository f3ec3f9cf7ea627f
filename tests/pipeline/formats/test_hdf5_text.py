"""Texts as attributes: the same bytes as h5py's own way leaves, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mimicme.pipeline.checkpoint import Checkpoint, FrameStatus, status_table, writing
from mimicme.pipeline.errors import CheckpointError
from mimicme.pipeline.formats.hdf5_text import attribute_names, read_text, write_text

TEXTS = {"plain": "mm", "empty": "", "accents": "Größe °", "long": "x" * 70_000}


def test_the_same_bytes_as_h5py_itself_writes(tmp_path: Path) -> None:
    for name, write in (("ours", write_text), ("its", lambda holder, *text: holder.attrs.__setitem__(*text))):
        with h5py.File(tmp_path / name, "w", libver="v110") as file:
            dataset = file.create_dataset("a", data=[1.0], track_times=False)
            for holder in (file, dataset):
                for key, text in TEXTS.items():
                    write(holder, key, text)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "its").read_bytes()


def test_a_text_is_read_as_h5py_reads_it_and_nothing_else_is(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for key, text in TEXTS.items():
            file.attrs[key] = text
        file.attrs["fixed"], file.attrs["several"], file.attrs["number"] = np.bytes_(b"mm"), ["a", "b"], 3
        file.attrs.create("no utf-8", b"\xff", dtype=h5py.string_dtype())
        assert {key: read_text(file, key) for key in TEXTS} == TEXTS
        assert read_text(file, "no utf-8") == file.attrs["no utf-8"] == "\udcff"
        for key in ("fixed", "several", "number"):
            with pytest.raises(TypeError, match=key):
                read_text(file, key)
        with pytest.raises(KeyError):
            read_text(file, "another")
        assert sorted(attribute_names(file)) == sorted(file.attrs)


def test_attributes_of_every_kind_are_under_the_digest(tmp_path: Path) -> None:
    values = {
        "text": "because",
        "texts": ["a", "b"],
        "fixed": np.bytes_(b"mm"),
        "number": 3,
        "row": np.arange(3.0),
    }
    for changed, other in {
        "text": "so",
        "texts": ["a", "c"],
        "fixed": b"cm",
        "number": 4,
        "row": np.ones(3),
    }.items():
        path = tmp_path / f"{changed}.h5"
        with writing(path, stage="s", item="a/b", made_by={}) as out:
            out.frames([0])
            for name, value in values.items():
                out.attrs[name] = value
        with Checkpoint(path):
            pass
        with h5py.File(path, "r+") as file:
            file.attrs[changed] = other
        with pytest.raises(CheckpointError, match="damaged"):
            Checkpoint(path)


def test_a_table_of_statuses_of_another_version_is_read_by_its_names(tmp_path: Path) -> None:
    with writing(tmp_path / "a.h5", stage="s", item="a/b", made_by={}) as out:
        out.frames([0, 1], [FrameStatus(), FrameStatus(False, "dark", "", "it is dark")])
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        own = status_table(file)
        assert np.array_equal(own, file["status"][:])
        short = own.astype([("ok", "?"), ("reason", "S8"), ("note", "S4"), ("message", "S600")])
        del file["status"]
        file["status"] = short
        assert status_table(file).dtype == short.dtype
        assert status_table(file)["message"].tolist() == [b"", b"it is dark"]

"""ingest of a depth camera's recordings: scans like any other, with what `rgbd.toml` said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rgbd_files import CENTRE, PLAIN, RADIUS_MM, Ball, ball_recording, depth_of, png, recipe

from mimicme.pipeline.captures.catalogue import build
from mimicme.pipeline.checkpoint import writing
from mimicme.pipeline.formats.image import encode
from mimicme.pipeline.items import Captures
from mimicme.pipeline.scan import load_image, load_scan
from mimicme.pipeline.sources import unchanged
from mimicme.pipeline.stage import Task
from mimicme.stages.ingest import FEW_TRIANGLES, IngestSettings, compute
from mimicme.stages.ingest.checkpoint import IngestCheckpoint


def ingested(folder: Path, out: Path, **captures: str) -> IngestCheckpoint:
    (sequence,) = build(folder).sequences
    task = Task(sequence, IngestSettings(), Captures(folder, **captures), {}, None, Path("none"))
    path, item = out / "scan.h5", str(sequence.item)
    with writing(path, stage="ingest", item=item, made_by={}, captures_root=folder) as writer:
        compute(task, writer)
    return IngestCheckpoint(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "captures"
    ball_recording(root / "S1" / "smile", frames=3)
    return root


def test_frames_are_scans_in_mm_with_the_top_up(folder: Path, tmp_path: Path) -> None:
    with ingested(folder, tmp_path) as found:
        assert [s.ok for s in found.statuses] == [True] * 3 and not any(s.note for s in found.statuses)
        for row in range(3):
            scan = load_scan(found, row)
            centre = np.diag([1.0, -1, -1]) @ (CENTRE + [4.0 * row, 0, 0])
            assert np.abs(np.linalg.norm(scan.vertices - centre, axis=1) - RADIUS_MM).max() < 0.3
            assert scan.uv is not None and load_image(found, row) is not None
        assert "rgbd.toml" in found.decided["unit_decision"] and "rgbd.toml" in found.decided["up_decision"]
        np.testing.assert_allclose(found.file_from_scan, np.eye(4))


def test_what_a_user_declares_goes_first(folder: Path, tmp_path: Path) -> None:
    with ingested(folder, tmp_path, up="-y") as found:
        assert "as declared" in found.decided["up_decision"]
        assert load_scan(found, 0).vertices[:, 1].mean() < 0  # the ball stands above the camera's axis


def test_one_bad_picture_costs_its_frame_or_its_colour(folder: Path, tmp_path: Path) -> None:
    sequence = folder / "S1" / "smile"
    (sequence / "depth/0001.png").write_bytes(png(depth_of(Ball(CENTRE), PLAIN)[:60]))
    (sequence / "color/0002.png").write_bytes(encode(np.zeros((8, 8, 3), np.uint8)))
    with ingested(folder, tmp_path) as found:
        first, second, third = found.statuses
        assert first.ok and second.reason == "depth-image" and "another size" in second.message
        assert third.ok and third.note == "texture-unreadable" and "rgbd.toml says 240 x 180" in third.message
        assert load_scan(found, 2).uv is None


def test_a_recording_is_no_file_to_be_copied_again(folder: Path, tmp_path: Path) -> None:
    """A head that leans back has fewer pixels: what is said of mesh files with few triangles is no advice there."""
    depth = depth_of(Ball(CENTRE + [0, 0, 220]), PLAIN)
    (folder / "S1" / "smile" / "depth/0001.png").write_bytes(png(depth))
    with ingested(folder, tmp_path) as found:
        assert [s.message for s in found.statuses] == [""] * 3
        triangles = found["quality/scan_triangles"][:]
        assert triangles[1] < FEW_TRIANGLES * triangles[0]
        assert [s.note for s in found.statuses] == [""] * 3


def test_the_depth_picture_is_never_taken_for_a_texture(folder: Path, tmp_path: Path) -> None:
    sequence = folder / "S1" / "smile"
    (sequence / "rgbd.toml").write_text(recipe(color_camera=None))
    for k in range(3):
        (sequence / f"color/000{k}.png").rename(sequence / f"depth/000{k}.jpg")
    with ingested(folder, tmp_path) as found:
        assert [s.note for s in found.statuses] == ["no-texture"] * 3


def test_a_broken_colour_picture_is_not_replaced_by_another(folder: Path, tmp_path: Path) -> None:
    sequence = folder / "S1" / "smile"
    whole = (sequence / "color/0000.png").read_bytes()
    for k in range(3):
        (sequence / f"color/000{k}.png").write_bytes(whole[: len(whole) // 2])
    with ingested(folder, tmp_path) as found:
        assert [s.note for s in found.statuses] == ["texture-unreadable"] * 3
        assert load_image(found, 0) is None


def test_everything_that_was_read_is_remembered(folder: Path, tmp_path: Path) -> None:
    sequence = folder / "S1" / "smile"
    ingested(folder, tmp_path).close()
    for name in ("rgbd.toml", "depth/0001.png", "color/0002.png"):
        with IngestCheckpoint(tmp_path / "scan.h5") as found:
            digests = json.loads(found.attrs["made_by"])["sources"]
            stats = found.attrs["source_stats"]
        assert f"S1/smile/{name}" in digests and unchanged(folder, digests, stats)
        content = (sequence / name).read_bytes()
        (sequence / name).write_bytes(content + b"\n# another")
        assert not unchanged(folder, digests, stats)
        (sequence / name).write_bytes(content)

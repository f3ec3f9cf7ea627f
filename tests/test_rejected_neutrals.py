"""The real command line on neutrals that show half a face: who takes their place, and what is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from shared_helpers import mimicme_here

from mimicme.pipeline.landmarks.files import read_landmarks
from mimicme.stages.register.checkpoint import RegisteredCheckpoint

LAYOUT = "{subject}/{sequence}/{frame}.obj"


def halve(mesh: Path) -> None:
    """Leave the right half of a face and some more of it, as a scanner beside it sees it."""
    points = read_landmarks(mesh.with_suffix(".ljson").read_bytes(), "its.ljson").points
    across = points[45] - points[36]
    across /= np.linalg.norm(across)
    lines = mesh.read_text().splitlines(keepends=True)
    vertices = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], float)
    # the width of the eyes, in the file's own unit, is the measure of the face
    right = (vertices - points[30]) @ across < 0.1 * np.linalg.norm(points[45] - points[36])

    def kept(line: str) -> bool:
        return not line.startswith("f ") or all(right[int(c.split("/")[0]) - 1] for c in line.split()[1:])

    mesh.write_text("".join(line for line in lines if kept(line)))


def copied(source: Path, folder: Path, number: int) -> Path:
    """A frame of the captures under another sequence and number, with all that belongs to it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.parent.iterdir():
        if path.name.startswith(source.stem) or path.suffix not in (".obj", ".ljson"):
            target = folder / path.name.replace(source.stem, f"{number:04d}")
            shutil.copy(path, target)
            if target.suffix in (".obj", ".mtl"):
                target.write_text(target.read_text().replace(source.stem, target.stem))
    return folder / f"{number:04d}.obj"


def registered(workspace: Path, name: str) -> RegisteredCheckpoint:
    return RegisteredCheckpoint(workspace / "register" / "S000" / f"{name}.h5")


def run(
    folder: Path, small_captures: Path, sequences: dict[str, list[tuple[str, bool]]], code: int = 1
) -> str:
    """Register captures made of those of `small_captures`: by sequence, which frames, and whether half of each is cut
    away.  What the run says."""
    own = small_captures / "captures" / "S000"
    for name, frames in sequences.items():
        for number, (source, cut) in enumerate(frames):
            mesh = copied(own / f"{source}.obj", folder / "captures" / "S000" / name, number)
            if cut:
                halve(mesh)
    template = small_captures / "template" / "template.obj"
    where = ("--captures", folder / "captures", "--layout", LAYOUT)
    mimicme_here("init", folder / "ws", *where, "--template", template)
    return mimicme_here("run", folder / "ws", "--until", "register", "--jobs", 0, code=code).stderr


CALM, MOVED, WIDE = "neutral/0000", "surprise/0002", "surprise/0001"


def test_a_frame_that_is_rejected_leaves_the_place_to_the_next_of_its_sequence(
    tmp_path: Path, small_captures: Path
) -> None:
    sequences = {"neutral": [(CALM, True), ("surprise/0000", False)], "wide": [(WIDE, False)]}
    said = run(tmp_path, small_captures, sequences)
    with registered(tmp_path / "ws", "neutral") as neutral:
        assert [(s.ok, s.reason) for s in neutral.statuses] == [(False, "register-half"), (True, "")]
        assert neutral.neutral is not None and not neutral.personal
    with registered(tmp_path / "ws", "wide") as other:
        assert other.personal and other.ok_rows == [0]
    assert "S000: " not in said


def test_a_neutral_without_a_frame_leaves_it_to_the_calmest_of_the_others(
    tmp_path: Path, small_captures: Path
) -> None:
    sequences = {"neutral": [(CALM, True)], "surprise": [(MOVED, False)], "wide": [(WIDE, False)]}
    said = run(tmp_path, small_captures, sequences)
    with registered(tmp_path / "ws", "neutral") as neutral:
        assert neutral.neutral is None and neutral.ok_rows == []
    with registered(tmp_path / "ws", "surprise") as instead:
        assert instead.neutral is not None and not instead.personal
        assert instead.attrs["neutral_decision"].endswith(
            "in place of 'neutral': no frame is registered there"
        )
    with registered(tmp_path / "ws", "wide") as other:
        assert other.personal and other.ok_rows == [0]
    told = "S000: the neutral is 'surprise': of 'neutral' no frame is registered"
    assert told in said
    assert told in mimicme_here("status", tmp_path / "ws").stderr
    again = mimicme_here("run", tmp_path / "ws", "--until", "register", "--jobs", 0, code=1)
    assert told in again.stderr and "register: 0 done, 3 skipped" in again.stderr


def test_without_a_label_half_a_face_is_not_chosen(tmp_path: Path, small_captures: Path) -> None:
    said = run(tmp_path, small_captures, {"a": [(CALM, True)], "b": [(MOVED, False)]})
    assert (
        "S000: the neutral is 'b': no sequence is labelled neutral; the calmest of all is its frame 0" in said
    )
    with registered(tmp_path / "ws", "b") as whole, registered(tmp_path / "ws", "a") as half:
        assert whole.neutral is not None and half.personal

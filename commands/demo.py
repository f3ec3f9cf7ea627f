"""The whole flow on what is installed: the real scan that menpo3d brings, and synthetic 4D captures.

Writes below DIR, and goes on where an earlier run stopped:

    DIR/james/captures, DIR/james/workspace     james.obj as a capture of one frame; file units taken as mm
    DIR/synthetic/captures, template, truth          what `mimicme synth` writes
    DIR/synthetic/workspace                          and its workspace
    DIR/pictures                                     scan, landmarks, registered mesh, error, texture
    DIR/figures.json                                 what the printed tables say

It is the one command that stands on the others; no stage imports it.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.drawing.pictures import draw_frame
from mimicme.pipeline.drawing.render import contact_sheet, save_picture
from mimicme.pipeline.errors import out_of
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.items import Item
from mimicme.pipeline.landmarks import NOSE_TIP
from mimicme.pipeline.template import Template
from mimicme.pipeline.workspace import Workspace

LAYOUT = "{subject}/{sequence}/{frame}.obj"
SUBJECTS = 2
SEQUENCES = ("neutral", "surprise", "happiness")
FRAMES = 5
SEED = 1
FACE_RADIUS_MM = 80.0
# what `make demo` promises of james (mm)
JAMES_MEAN_MM, JAMES_P95_MM = 0.15, 0.45

Echo = Callable[[str], None]


@dataclass(frozen=True)
class SurfaceFigures:
    """Distances (mm) from scan vertices to a registered surface."""

    vertices: int
    mean: float
    median: float
    p95: float
    under_1mm: float

    @classmethod
    def of(cls, distances: Floats) -> SurfaceFigures:
        if not len(distances):
            nan = float("nan")
            return cls(0, nan, nan, nan, nan)
        return cls(
            len(distances),
            float(distances.mean()),
            float(np.median(distances)),
            float(np.percentile(distances, 95)),
            float((distances < 1).mean()),
        )


def demo(directory: Path, jobs: int | None = None, echo: Echo | None = None) -> int:
    """Run the demonstration.

    Args:
        directory: made when absent.
        jobs: as in `mimicme run`.
        echo: takes each line for the user; None: silent.

    Returns:
        0 when every frame is ok, both releases are verified and james is as close as promised; else 1, or 130
        when interrupted.
    """
    say: Echo = echo or (lambda line: None)
    began = time.monotonic()
    directory.mkdir(parents=True, exist_ok=True)
    say("1. The scan that menpo3d installs, as a capture of one frame.")
    james = open_james(directory / "james")
    code, james_ok = _run(james, jobs, say)
    if code == 130:
        return code
    say(f"2. Synthetic captures: {SUBJECTS} people, {', '.join(SEQUENCES)}, scanned anew in every frame.")
    synthetic = open_synthetic(directory / "synthetic", james, say)
    worse, synthetic_ok = _run(synthetic, jobs, say)
    if worse == 130:
        return worse
    say("3. Figures and pictures.")
    figures: dict[str, Any] = {}
    close = False
    if james_ok:
        found = surface_figures(james, "james", "neutral", 0, FACE_RADIUS_MM)
        figures["james"] = vars(found)
        close = found.mean <= JAMES_MEAN_MM and found.p95 <= JAMES_P95_MM
        for line in _james_lines(found, close):
            say(line)
    if synthetic_ok:
        from mimicme.commands.evaluate import evaluate, format_table

        figures["synthetic"] = evaluate(synthetic.release, directory / "synthetic")
        say(format_table(figures["synthetic"]))
    (directory / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    pictures = directory / "pictures"
    drawn = draw_pictures(james, {"james/neutral": [0]}, pictures)
    middle = FRAMES // 2
    wanted = {
        f"S{i:03d}/{name}": [0 if name == "neutral" else middle]
        for i in range(SUBJECTS)
        for name in SEQUENCES
    }
    drawn += draw_pictures(synthetic, wanted, pictures)
    say(f"{len(drawn)} pictures in {pictures}")
    good = code == 0 and worse == 0 and james_ok and synthetic_ok and close
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    say(f"Demonstration {'complete' if good else 'NOT as it should be'} after {minutes} min {seconds:02d} s.")
    return 0 if good else 1


def open_james(folder: Path) -> Workspace:
    """The workspace of james.obj, made when it is not there yet; its file units are taken as mm."""
    from mimicme.pipeline.template import embedded_data

    capture = folder / "captures" / "james" / "neutral"
    capture.mkdir(parents=True, exist_ok=True)
    data = embedded_data()
    # the MTL and the JPEG keep the names by which the OBJ and the MTL call them
    for source, name in (
        ("james.obj.mtl", "james.obj.mtl"),
        ("james.jpg", "james.jpg"),
        ("james.ljson", "0000.ljson"),
        ("james.obj", "0000.obj"),
    ):
        _copy(data / source, capture / name)
    return _workspace(folder / "workspace", captures=folder / "captures", unit="mm")


def open_synthetic(folder: Path, prepared: Workspace, say: Echo) -> Workspace:
    """The workspace of the synthetic captures; makes both when they are not there yet.

    Args:
        prepared: a workspace whose template is the embedded one and prepared already (that takes a while).
    """
    from mimicme.commands.synth import synthesise
    from mimicme.pipeline.template import load_prepared

    began = time.monotonic()
    live = sys.stderr.isatty()

    def progress(done: int, total: int, name: str) -> None:
        if live:
            sys.stderr.write(f"\r  {out_of(done, total, 'frame')}: {name}        ")

    template: str | Template = "menpo3d"
    if prepared.template.is_file():
        template = load_prepared(prepared.template)
    synthesise(folder, SUBJECTS, SEQUENCES, FRAMES, SEED, template, progress)
    if live:
        sys.stderr.write("\r" + " " * 60 + "\r")
    say(f"  captures made or found in {time.monotonic() - began:.0f} s: {folder / 'captures'}")
    return _workspace(
        folder / "workspace",
        captures=folder / "captures",
        template=folder / "template" / "template.obj",
        metadata=folder / "subjects.csv",
    )


def surface_figures(
    workspace: Workspace, subject: str, sequence: str, number: int, radius_mm: float
) -> SurfaceFigures:
    """Scan vertices within a radius of the nose tip to the registered surface, mm."""
    from mimicme.commands.report import read_view
    from mimicme.pipeline.template import load_prepared
    from mimicme.stages import STAGES

    template = load_prepared(workspace.template)
    view = read_view(workspace, Item(subject, sequence), number, STAGES)
    if view.scan is None or view.registered is None or view.pose is None:
        return SurfaceFigures.of(np.zeros(0))
    placed = transform(view.pose, view.registered)
    tip = template.landmarks(placed)[NOSE_TIP]
    near = view.scan.vertices[np.linalg.norm(view.scan.vertices - tip, axis=1) < radius_mm]
    return SurfaceFigures.of(Surface(placed, template.faces).distance(near))


def draw_pictures(workspace: Workspace, wanted: Mapping[str, list[int]], folder: Path) -> list[Path]:
    """Draw frames of sequences (`subject/sequence`): one sheet each, and the baked texture by itself."""
    from mimicme.commands.report import read_view
    from mimicme.pipeline.template import load_prepared
    from mimicme.stages import STAGES

    if not workspace.template.is_file() or not workspace.release.is_file():
        return []
    template = load_prepared(workspace.template)
    out = []
    for name, numbers in wanted.items():
        subject, sequence = name.split("/")
        for number in numbers:
            stem = f"{subject}_{sequence}_{number:04d}"
            known = [folder / f"{stem}.png", folder / f"{stem}_texture.jpg"]
            made = workspace.release.stat().st_mtime_ns
            if all(p.is_file() and p.stat().st_mtime_ns > made for p in known):
                out += known  # drawn of this very release
                continue
            view = read_view(workspace, Item(subject, sequence), number, STAGES)
            tiles = draw_frame(view, template, (620, 540))
            texture = tiles.pop("texture", None)
            if tiles:
                title = f"{name}, frame {number}"
                out.append(folder / f"{stem}.png")
                save_picture(out[-1], contact_sheet(list(tiles.values()), list(tiles), 3, title=title))
            if texture is not None:
                out.append(folder / f"{stem}_texture.jpg")
                save_picture(out[-1], texture)
    return out


def _run(workspace: Workspace, jobs: int | None, say: Echo) -> tuple[int, bool]:
    """Exit status of the run, and whether the release is there and verified."""
    from mimicme.commands.verify import has_errors, verify
    from mimicme.pipeline.run.progress import Console
    from mimicme.pipeline.run.run_types import RunOptions
    from mimicme.pipeline.run.runner import run
    from mimicme.stages import STAGES

    result = run(workspace, RunOptions(jobs=jobs), STAGES, Console.standard(say))
    if result.exit_code == 130 or not workspace.release.is_file():
        return result.exit_code, False
    findings = verify(workspace.release)
    for finding in findings:
        say(str(finding))
    good = not has_errors(findings)
    say(f"{workspace.release}: {'verified' if good else 'NOT as it should be'}")
    return result.exit_code, good


def _workspace(root: Path, **arguments: Any) -> Workspace:
    if (root / "mimicme.toml").is_file():
        return Workspace.open(root)
    from mimicme.stages import STAGES

    return Workspace.create(root, layout=LAYOUT, stages=STAGES, **arguments)


def _copy(source: Path, target: Path) -> None:
    """Copy unless it is there; whole or not at all, and with its time, so that nothing looks changed."""
    if target.is_file() and target.stat().st_size == source.stat().st_size:
        return
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copy2(source, temporary)
    temporary.replace(target)


def _james_lines(found: SurfaceFigures, close: bool) -> list[str]:
    return [
        f"james, scan vertices within {FACE_RADIUS_MM:.0f} mm of the nose tip to the registered surface:",
        f"  vertices {found.vertices:,}   mean {found.mean:.3f} mm   median {found.median:.3f} mm   "
        f"p95 {found.p95:.3f} mm   under 1 mm {100 * found.under_1mm:.1f} %",
        f"  promised: mean at most {JAMES_MEAN_MM} mm, p95 at most {JAMES_P95_MM} mm: "
        + ("kept" if close else "NOT kept"),
    ]

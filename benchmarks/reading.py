"""Reading a scan of 100,000 vertices, OBJ and JPEG, beside other programs; and read back as ingest leaves it.

Each reads from memory that is warm, in this process, one thread; the best of several runs counts.  Whether a reader
keeps the texture layout is said: one that drops the coordinates does another job.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cases import resized

from mimicme.pipeline.formats.image import decode, encode
from mimicme.pipeline.formats.meshio import mtl_bytes, obj_bytes, read_mesh
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.template import prepare

VERTICES = 100_000
IMAGE = (1600, 2400)
REPEATS = 5


def scan(folder: Path) -> Path:
    """The OBJ with its MTL and JPEG, made once."""
    path = folder / "reading" / "scan.obj"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        template = resized(prepare("menpo3d"), VERTICES, layout=True)
        mesh = template.mesh
        rng = np.random.default_rng(0)
        coarse = rng.integers(60, 200, (IMAGE[0] // 20, IMAGE[1] // 20, 3)).astype(np.uint8)
        pixels = np.repeat(np.repeat(coarse, 20, axis=0), 20, axis=1)  # as smooth as skin is
        pixels = pixels + rng.integers(0, 6, pixels.shape).astype(np.uint8)
        path.with_suffix(".jpg").write_bytes(encode(pixels, "jpeg"))
        path.with_suffix(".mtl").write_bytes(mtl_bytes("scan.jpg"))
        path.write_bytes(
            obj_bytes(Mesh(mesh.vertices, mesh.faces, mesh.uv, mesh.uv_faces), material_file="scan.mtl")
        )
    return path


def ours(path: Path) -> bool:
    found = read_mesh(path.read_bytes(), path.name)
    decode(path.with_suffix(".jpg").read_bytes())
    return found.mesh.uv_faces is not None and len(found.mesh.vertices) < 1.1 * VERTICES


def by_trimesh(path: Path) -> bool:
    import trimesh

    loaded = trimesh.load(path, force="mesh", process=False, maintain_order=True)
    np.asarray(loaded.visual.material.image)
    return bool(len(loaded.visual.uv) == len(loaded.vertices))  # vertices are split at seams


def by_open3d(path: Path) -> bool:
    import open3d

    loaded = open3d.io.read_triangle_mesh(str(path), enable_post_processing=False)
    return len(loaded.triangle_uvs) == 3 * len(loaded.triangles) and len(loaded.textures) > 0


def by_pymeshlab(path: Path) -> bool:
    import pymeshlab

    meshes = pymeshlab.MeshSet()
    meshes.load_new_mesh(str(path))
    return bool(meshes.current_mesh().has_wedge_tex_coord())


READERS: dict[str, Callable[[Path], bool]] = {
    "mimicme": ours,
    "trimesh": by_trimesh,
    "Open3D": by_open3d,
    "pymeshlab": by_pymeshlab,
}


def run(work: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """All readers that are installed; the record to save."""
    path = scan(work)
    records: dict[str, Any] = {}
    for name, read in READERS.items():
        try:
            seams = read(path)
        except ImportError:
            say(f"  {name:<22} is not installed")
            continue
        seconds = best(lambda read=read: read(path))
        records[name] = {"cpu_s": seconds, "seams": seams}
        say(
            f"  {name:<22}{seconds:8.3f} CPU s  {'keeps texture coordinates' if seams else 'drops or changes them'}"
        )
    back, stored = read_back(path, work)
    # the image is neither decoded here nor there
    times = best(lambda: read_mesh(path.read_bytes(), path.name)) / back
    records["ingested, read back"] = {"cpu_s": back, "times": times, "stored_mb": stored}
    said = f"{times:.0f} times as fast as the OBJ alone, {stored:.1f} MB with the image"
    say(f"  {'ingested, read back':<22}{back:8.4f} CPU s  {said}")
    return {"readers": records}


def read_back(path: Path, work: Path) -> tuple[float, float]:
    """CPU seconds to read the scan out of its checkpoint, and the checkpoint's size in MB, the image's included."""
    from mimicme.pipeline.checkpoint import Checkpoint, writing
    from mimicme.pipeline.scan import load_scan, write_scan

    mesh = read_mesh(path.read_bytes(), path.name).mesh
    place = work / "reading" / "ingest.h5"
    with writing(place, stage="ingest", item="a/b", made_by={}) as out:
        out.frames([0])
        write_scan(out, 0, mesh, path.with_suffix(".jpg").read_bytes())

    def read() -> None:
        with Checkpoint(place) as ingested:
            load_scan(ingested, 0)

    read()
    return best(read), place.stat().st_size / 1e6


def best(work: Callable[[], object]) -> float:
    """The least CPU seconds of several runs."""
    seconds = []
    for _ in range(REPEATS):
        begin = time.process_time()
        work()
        seconds.append(time.process_time() - begin)
    return min(seconds)

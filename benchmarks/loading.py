"""Releases as training reads them: what each encoding takes, costs and loses, and frames a second of a shuffled loader.

Stands on the usable frames of a release (--release), of which the first 50 are encoded in every way.  The loader goes
over as many as FRAMES of them, again and again the same ones, each in a place of its own in the file; beside it the
same frames as one .npy file each.  With textures of SIDE the same vertices and encoded images also lie in tar shards,
which WebDataset reads.  Everything is read from memory that is warm.

What one thread does is given in processor time.  The loaders take turns, an epoch each, so that what else the machine
does meets all of them; of each the best epoch counts, and beside it the processor time of this process and its workers.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import seconds_of

from mimicme.pipeline.formats.image import decode, encode
from mimicme.pipeline.items import Item
from mimicme.pipeline.release import Release
from mimicme.pipeline.release.encoding import ENCODINGS
from mimicme.pipeline.release.layout import quality_dtype
from mimicme.pipeline.release.writer import ReleaseWriter

ENCODED = 50
FRAMES = 480
PER_SEQUENCE = 12
BATCH, WORKERS, EPOCHS = 32, 2, 5
SIDE, PER_SHARD, BUFFER = 512, 60, 64
NOISE = 3.0  # standard deviation of a camera's noise, levels of 255
TEXTURES = (("png", 95), ("jpeg", 95), ("webp", 95))


def run(paths: list[Path], work: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Tables of the encodings and of the loader, for each release."""
    records: dict[str, Any] = {}
    for path in paths:
        with Release(path) as release:
            rows = release.select(status="ok")[:ENCODED].tolist()
            frames = np.stack([release.vertices(row) for row in rows])
            textures = [t for t in (release.texture(row) for row in rows) if t is not None]
            template = release.template
        n = frames.shape[1]
        say(f"  {path}: {len(frames)} frames of {n:,} vertices")
        folder = work / "loading"
        folder.mkdir(parents=True, exist_ok=True)
        record: dict[str, Any] = {"vertices": {}, "textures": {}, "loader": {}}
        for name in ENCODINGS:
            record["vertices"][name] = of_vertices(folder / f"{n}-{name}.h5", template, frames, name, say)
        for noisy in (False, True):
            for name, quality in TEXTURES:
                key = f"{name}{f':{quality}' if name != 'png' else ''}{', noisy' if noisy else ''}"
                record["textures"][key] = of_textures(textures, name, quality, noisy, key, say)
        record["loader"] = of_loader(folder, template, frames, say)
        record["with_textures"] = {}
        for name, quality in TEXTURES[:2] if textures else ():
            images = [encode(of_side(texture), name, quality) for texture in textures]
            found = of_textured_loader(folder, template, frames, images, name, say)
            record["with_textures"][name] = found
        records[f"{n}"] = record
    return records


def write(
    path: Path,
    template: Any,
    frames: np.ndarray,
    count: int,
    name: str,
    images: Sequence[bytes] = (),
    kind: str = "png",
) -> None:
    """A release of `count` frames, those given one after the other, in sequences of PER_SEQUENCE.

    Args:
        images: encoded textures, likewise.
    """
    texts = {"created": "2024-01-01T00:00:00Z", "licence": "none", "config": "{}", "fingerprint": name}
    with ReleaseWriter(path, vertices=name, **texts) as out:
        out.template(template)
        n_landmarks = len(template.landmark_names)
        for number in range(-(-count // PER_SEQUENCE)):
            rows = range(number * PER_SEQUENCE, min(count, (number + 1) * PER_SEQUENCE))
            item = Item(f"S{number:05d}", "smile")
            out.subject(item.subject, {"consent": "yes"})
            sequence = out.sequence(
                item, name="smile", expression="happiness", fps=60.0, file_from_scan=np.eye(4),
                numbers=np.arange(len(rows)), statuses=["ok"] * len(rows),
            )  # fmt: skip
            first = rows[0]
            sequence.vertices(range(len(rows)), lambda row, first=first: frames[(first + row) % len(frames)])
            sequence.array("pose", np.tile(np.eye(4), (len(rows), 1, 1)))
            sequence.array("landmarks", np.full((len(rows), n_landmarks, 3), np.nan, np.float32))
            sequence.array("landmark_source", np.zeros((len(rows), n_landmarks), np.uint8))
            sequence.array("landmark_confidence", np.zeros((len(rows), n_landmarks), np.float32))
            shown = [images[row % len(images)] for row in rows] if images else [b""] * len(rows)
            sequence.images("texture", [len(image) for image in shown], kind)
            for k, image in enumerate(shown):
                sequence.put_image("texture", k, np.frombuffer(image, np.uint8))
            sequence.images("coverage", [0] * len(rows), "png")
            table = np.zeros(len(rows), quality_dtype([]))
            table["status"] = b"ok"
            sequence.quality(table, {}, [""] * len(rows))


def of_vertices(
    path: Path, template: Any, frames: np.ndarray, name: str, say: Callable[[str], None]
) -> dict[str, float]:
    """Size, time to write and to read, and error of one encoding of vertices, per frame."""
    template_vertices = np.asarray(template.vertices, np.float32)
    how = ENCODINGS[name]
    begin = time.process_time()
    write(path, template, frames, len(frames), name)
    writing = (time.process_time() - begin) / len(frames)
    with Release(path) as release:
        stored = sum(
            release._vertices(info.item)[0].data.id.get_storage_size() for info in release.sequences()
        )
        order = np.random.default_rng(0).permutation(len(frames)).tolist()
        for row in order:
            release.vertices(row)
        best = np.inf
        for _ in range(5):
            begin = time.process_time()
            for row in order:
                release.vertices(row)
            best = min(best, (time.process_time() - begin) / len(frames))
        off = max(
            float(np.abs(release.vertices(row).astype(np.float64) - frames[row]).max()) for row in order
        )
    assert how.encode(frames[0], template_vertices).dtype == np.dtype(how.dtype)
    record = {
        "mb": stored / len(frames) / 1e6,
        "write_ms": writing * 1e3,
        "read_ms": best * 1e3,
        "error_um": off * 1e3,
        "bound_um": how.bound_mm * 1e3,
    }
    say(
        f"    vertices {name:<10} {record['mb']:6.3f} MB  write {record['write_ms']:6.1f} ms  "
        f"read {record['read_ms']:6.2f} ms  error {record['error_um']:.2f} um of {record['bound_um']:.2f}"
    )
    return record


def of_textures(
    textures: list[np.ndarray], name: str, quality: int, noisy: bool, key: str, say: Callable[[str], None]
) -> dict[str, float]:
    """Size, time to encode and decode, and error of one encoding of textures, per frame."""
    rng = np.random.default_rng(0)
    sizes, writing, reading, errors, most = [], 0.0, 0.0, [], 0
    for texture in textures:
        if noisy:
            noise = rng.normal(scale=NOISE, size=texture.shape)
            texture = np.clip(texture + noise * texture.any(axis=2, keepdims=True), 0, 255).astype(np.uint8)
        begin = time.process_time()
        data = encode(texture, name, quality)
        middle = time.process_time()
        back = decode(data)
        writing, reading = writing + middle - begin, reading + time.process_time() - middle
        difference = np.abs(back.astype(int) - texture)
        errors.append(float(difference.mean()))
        most = max(most, int(difference.max()))
        sizes.append(len(data))
    n = max(1, len(textures))
    record = {
        "mb": sum(sizes) / n / 1e6,
        "encode_ms": writing / n * 1e3,
        "decode_ms": reading / n * 1e3,
        "error_levels": float(np.mean(errors or [0])),
        "largest_levels": float(most),
    }
    say(
        f"    texture {key:<15} {record['mb']:6.3f} MB  encode {record['encode_ms']:6.1f} ms  "
        f"decode {record['decode_ms']:5.1f} ms  error {record['error_levels']:.2f}, at most {most} of 255"
    )
    return record


class _Files:
    """The same frames as one .npy file each."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, k: int) -> dict[str, Any]:
        import torch

        return {"row": torch.tensor(k), "vertices": torch.from_numpy(np.load(self.folder / f"{k:05d}.npy"))}


def of_loader(
    folder: Path, template: Any, frames: np.ndarray, say: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """Frames a second of a shuffled DataLoader with two workers; empty where PyTorch is not installed."""
    try:
        import torch
    except ImportError:
        say("    the loader needs PyTorch, which is not installed (the extra `loaders`)")
        return {}
    torch.set_num_threads(1)
    n = frames.shape[1]
    files = folder / f"npy-{n}"
    files.mkdir(exist_ok=True)
    for k in range(FRAMES):
        np.save(files / f"{k:05d}.npy", frames[k % len(frames)])
    data: dict[str, Any] = {"one .npy a frame": _Files(files, FRAMES)}
    for name in ENCODINGS:
        path = folder / f"{n}-{name}-many.h5"
        write(path, template, frames, FRAMES, name)
        data[name] = Release(path).as_torch()
    return rates(data, say, "loader", "one .npy a frame", ".npy")


def rates(
    data: Mapping[str, Any], say: Callable[[str], None], what: str, measure: str, called: str
) -> dict[str, dict[str, float]]:
    """Frames a second, and milliseconds of processor a frame, of several data sets that take turns.

    Args:
        measure: the one that the others are compared with.
    """
    loaders = {name: _loader(one) for name, one in data.items()}
    found = {name: {"frames_s": 0.0, "cpu_ms": np.inf} for name in data}
    for epoch in range(EPOCHS + 1):
        for name, loader in loaders.items():
            begin, used, seen = time.perf_counter(), _processor_s(loader), 0
            for batch in loader:
                seen += len(batch["vertices"])
            if epoch:  # in the first, workers start
                took, spent = time.perf_counter() - begin, _processor_s(loader) - used
                found[name]["frames_s"] = max(found[name]["frames_s"], seen / took)
                found[name]["cpu_ms"] = min(found[name]["cpu_ms"], 1000 * spent / seen)
    base = found[measure]
    for name, one in found.items():
        share, of_speed = one["frames_s"] / base["frames_s"], base["cpu_ms"] / one["cpu_ms"]
        say(
            f"    {what} {name:<24} {one['frames_s']:6.0f} frames/s, {share:.2f} of {called};  "
            f"{one['cpu_ms']:5.2f} ms of processor a frame, {of_speed:.2f}"
        )
    return found


def _loader(data: Any) -> Any:
    from torch.utils.data import DataLoader, IterableDataset

    mixed = (
        {} if isinstance(data, IterableDataset) else {"shuffle": True}
    )  # a stream mixes its samples itself
    return DataLoader(data, batch_size=BATCH, num_workers=WORKERS, persistent_workers=True, **mixed)


def _processor_s(loader: Any) -> float:
    """Processor time of this process and a loader's workers, where the system tells."""
    workers = getattr(getattr(loader, "_iterator", None), "_workers", ())
    return time.process_time() + sum(seconds_of(worker.pid) for worker in workers)


def of_side(texture: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE, 3) of a texture."""
    from PIL import Image

    return np.asarray(Image.fromarray(texture).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def of_textured_loader(
    folder: Path,
    template: Any,
    frames: np.ndarray,
    images: Sequence[bytes],
    kind: str,
    say: Callable[[str], None],
) -> dict[str, dict[str, float]]:
    """Frames a second with their textures decoded; empty where PyTorch or WebDataset is not installed."""
    try:
        import torch
        import webdataset
    except ImportError:
        say("    with textures this needs PyTorch and WebDataset (the extra `interop`)")
        return {}
    torch.set_num_threads(1)
    n = frames.shape[1]
    path, tars = folder / f"{n}-{kind}-textured.h5", folder / f"tar-{n}-{kind}"
    write(path, template, frames, FRAMES, "int16", images, kind)
    tars.mkdir(exist_ok=True)
    with webdataset.ShardWriter(f"{tars}/%03d.tar", maxcount=PER_SHARD, verbose=0) as out:
        for k in range(FRAMES):
            vertices = io.BytesIO()
            np.save(vertices, frames[k % len(frames)])
            out.write({"__key__": f"{k:05d}", "npy": vertices.getvalue(), "img": images[k % len(images)]})
    shards = sorted(map(str, tars.glob("*.tar")))
    fields = ("vertices", "texture")
    with Release(path) as release:
        data = {
            "tar shards (WebDataset)": (
                webdataset.WebDataset(shards, shardshuffle=len(shards)).shuffle(BUFFER).map(_of_tar)
            ),
            "release, shuffled": release.as_torch(fields=fields),
            "release, stream": release.as_torch(fields=fields, stream=True, buffer=BUFFER),
        }
        return rates(data, say, f"{kind} {SIDE}:", "tar shards (WebDataset)", "tar shards")


def _of_tar(sample: dict[str, Any]) -> dict[str, Any]:
    import torch

    vertices = torch.from_numpy(np.load(io.BytesIO(sample["npy"])))
    return {"vertices": vertices, "texture": torch.from_numpy(decode(sample["img"]))}

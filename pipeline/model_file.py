"""The model file: one HDF5 file with everything `mimicme model build` makes.  Its names are defined here.

    /                       attrs: model_schema, mimicme_version, created, licence, units, settings (JSON text),
                            releases (JSON text: fingerprints of those it was built from); stale, why it must not be
                            used any more, since somebody withdrew
    /template/...           as in a release
    /subjects               (S,) compound: subject, consent, split, neutral, frames: whom it was built from
    /models/<name>/         mean (V,3) f4 mm    components (K,V,3) f4    variances (K,) f8    weights (V,) f8
                            attrs: kind, count, total_variance.  names: identity, expression, joint, and
                            identity:gender=female and the like
    /blendshapes, /sparse/  names (B,) text     deltas (B,V,3) f4 mm     counts (B,) i4 subjects
    /texture/               mean (P,3) f4 of 255, components, variances, weights; pixels (P,) u4; attrs: height, width
    /pruned                 (n,) compound: subject, sequence, expression, frame, norm: left out as outliers

Compressed, checksummed, without times: equal content gives equal bytes.  A model holds traces of everyone it was
built from, so `/subjects` names their ids: when one of them withdraws, the model is marked and must be built again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Singles
from mimicme.pipeline.checkpoint import guarded_file
from mimicme.pipeline.errors import CheckpointError, UsageError
from mimicme.pipeline.numerics.linear_model import LinearModel
from mimicme.pipeline.release import layout
from mimicme.pipeline.template import Template
from mimicme.pipeline.whole_file import whole_file
from mimicme.pipeline.whole_hdf5 import whole_hdf5

MODEL_SCHEMA = "1.1"  # 1.1: notes on blendshapes
MAX_COMPONENTS = 20_000
STALE = "stale"
WITHDRAWN = "somebody whom it was built from has withdrawn"
_MODEL_ARRAYS = ("mean", "components", "variances", "weights")
PRUNED_COLUMNS = ("subject", "sequence", "expression", "frame", "norm")
SUBJECT_COLUMNS = ("subject", "consent", "split", "neutral", "frames")


@dataclass(frozen=True)
class Blendshapes:
    """Named shapes as differences to a neutral.

    Attributes:
        names: B words.  deltas: (B, V, 3) float32, mm.  counts: (B,) subjects each was made from.
        notes: by name, what was special about its making: `mirrored`: nobody showed this side, it is the other one's
            mirror image; `one-sided`: too much so to be made symmetric, and kept as it came.
    """

    names: tuple[str, ...]
    deltas: Singles
    counts: NDArray[np.int32]
    notes: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def delta(self, name: str) -> Singles:
        """One shape (V, 3) by name.

        Raises:
            UsageError: there is no such shape.
        """
        if name not in self.names:
            raise UsageError(f"the model has no blendshape '{name}'", expected=", ".join(self.names))
        return np.asarray(self.deltas[self.names.index(name)])


@dataclass(frozen=True)
class TextureModel:
    """A linear model of some pixels of the template's texture.

    Attributes:
        model: over (P, 3) RGB of 255.
        pixels: (P,) places in the flattened (height, width) image; row 0 is v = 1.
    """

    model: LinearModel
    pixels: NDArray[np.int64]
    height: int
    width: int

    def image(self, colours: NDArray[Any]) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 picture of pixel colours (P, 3); black elsewhere."""
        picture = np.zeros((self.height * self.width, 3), np.uint8)
        picture[self.pixels] = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
        return picture.reshape(self.height, self.width, 3)


@dataclass(frozen=True)
class FaceModel:
    """Everything in a model file.

    Attributes:
        template: topology, landmarks, texture layout.
        models: by name: `identity`, `expression`, `joint`, `identity:gender=female` ...
        blendshapes, sparse: named shapes, and localised components; None without.
        subjects: (S,) structured, see the module: whom it was built from.
        pruned: (n,) structured: frames left out as outliers.
        settings: it was built with.  releases: fingerprints of what it was built from.
        stale: why it must not be used any more; empty: it may be.
    """

    template: Template
    models: Mapping[str, LinearModel]
    blendshapes: Blendshapes | None = None
    sparse: Blendshapes | None = None
    texture: TextureModel | None = None
    subjects: NDArray[Any] = field(default_factory=lambda: subject_table([]))
    pruned: NDArray[Any] = field(default_factory=lambda: pruned_table([]))
    settings: Mapping[str, Any] = field(default_factory=dict)
    releases: tuple[str, ...] = ()
    licence: str = ""
    created: str = ""
    stale: str = ""

    def model(self, name: str) -> LinearModel:
        """One linear model.

        Raises:
            UsageError: the file has no such model.
        """
        if name not in self.models:
            raise UsageError(
                f"there is no '{name}' model in the file", expected=", ".join(self.models) or "one"
            )
        return self.models[name]

    def shapes(self) -> Blendshapes:
        """The named blendshapes.

        Raises:
            UsageError: the file has none.
        """
        if self.blendshapes is None:
            raise UsageError("the model has no blendshapes", todo="Build it from a release with expressions.")
        return self.blendshapes


def _text_table(
    rows: Sequence[tuple[Any, ...]], columns: Sequence[str], kinds: Sequence[str]
) -> NDArray[Any]:
    """A structured table; columns of kind `U` are as wide as their content."""
    named = []
    for k, (name, kind) in enumerate(zip(columns, kinds, strict=True)):
        width = max([1, *(len(str(r[k])) for r in rows)])
        named.append((name, f"<U{width}" if kind == "U" else kind))
    return np.array([tuple(r) for r in rows], named)


def subject_table(rows: Sequence[tuple[str, str, str, str, int]]) -> NDArray[Any]:
    """`FaceModel.subjects` of tuples in the order of `SUBJECT_COLUMNS`."""
    return _text_table(rows, SUBJECT_COLUMNS, ("U", "U", "U", "U", "<i8"))


def pruned_table(rows: Sequence[tuple[str, str, str, int, float]]) -> NDArray[Any]:
    """`FaceModel.pruned` of tuples in the order of `PRUNED_COLUMNS`."""
    return _text_table(rows, PRUNED_COLUMNS, ("U", "U", "U", "<i8", "<f8"))


def write_model(path: str | Path, model: FaceModel) -> None:
    """Write a model file, whole or not at all."""
    with whole_hdf5(Path(path)) as out:
        _write(out, model)


def _write(out: h5py.File, model: FaceModel) -> None:
    out.attrs["model_schema"] = MODEL_SCHEMA
    out.attrs["mimicme_version"] = layout.version()
    out.attrs["units"] = "mm"
    out.attrs["created"], out.attrs["licence"] = model.created, model.licence
    out.attrs["settings"] = json.dumps(dict(model.settings), sort_keys=True)
    out.attrs["releases"] = json.dumps(list(model.releases))
    layout.write_template(out, model.template)
    _put(out, "subjects", _encoded(model.subjects), "")
    _put(out, "pruned", _encoded(model.pruned), "")
    for name in sorted(model.models):
        _write_linear(out.create_group(f"models/{name}"), model.models[name], "mm")
    for name, shapes in (("blendshapes", model.blendshapes), ("sparse", model.sparse)):
        if shapes is not None:
            group = out.create_group(name)
            _put(group, "names", layout.texts(shapes.names), "")
            _put(group, "deltas", shapes.deltas.astype("<f4"), "mm")
            _put(group, "counts", shapes.counts.astype("<i4"), "1")
            group.attrs["notes"] = json.dumps(dict(shapes.notes), sort_keys=True)
    if model.texture is not None:
        group = out.create_group("texture")
        group.attrs["height"], group.attrs["width"] = model.texture.height, model.texture.width
        _put(group, "pixels", model.texture.pixels.astype("<u4"), "1")
        _write_linear(group, model.texture.model, "of 255")


def _put(group: h5py.Group, name: str, data: NDArray[Any], unit: str) -> None:
    layout.create_dataset(group, name, data.shape, data.dtype, unit)[...] = data


def _write_linear(group: h5py.Group, model: LinearModel, unit: str) -> None:
    group.attrs["kind"], group.attrs["count"] = model.kind, int(model.count)
    group.attrs["total_variance"] = float(model.total_variance)
    units = {"mean": unit, "components": "1", "variances": f"({unit})^2", "weights": "1"}
    for name in _MODEL_ARRAYS:
        data = np.asarray(getattr(model, name))
        _put(group, name, data.astype("<f4" if name in ("mean", "components") else "<f8"), units[name])


def _encoded(table: NDArray[Any]) -> NDArray[Any]:
    """Text columns as fixed UTF-8 bytes, which HDF5 can compress."""
    names = table.dtype.names or ()
    columns = {n: layout.texts(table[n].tolist()) if table.dtype[n].kind == "U" else table[n] for n in names}
    result = np.empty(len(table), [(n, columns[n].dtype) for n in names])
    for n in names:
        result[n] = columns[n]
    return result


def is_model(path: str | Path) -> bool:
    """Whether a file is a model file."""
    try:
        with h5py.File(path, "r") as handle:
            return "model_schema" in handle.attrs
    except OSError:
        return False


def mark_stale(path: Path) -> None:
    """Write into a model file that it must not be used any more: somebody whom it was built from has withdrawn.

    It does not say who.  Whole or not at all.
    """
    with whole_file(path) as temporary:
        shutil.copyfile(path, temporary)
        with h5py.File(temporary, "r+") as handle:
            handle.attrs[STALE] = WITHDRAWN


def read_model(path: str | Path, stale_too: bool = False) -> FaceModel:
    """Read a model file.

    Args:
        stale_too: one that must not be used any more, too.

    Raises:
        UsageError: somebody whom it was built from has withdrawn.
        CheckpointError: it is not there, is no model file of this version, is damaged, or has links that leave it.
    """
    path = Path(path)
    with guarded_file(path) as handle:
        schema = handle.attrs.get("model_schema")
        if not isinstance(schema, str) or schema.split(".")[0] != MODEL_SCHEMA.split(".")[0]:
            raise CheckpointError(
                "this is not a model file that this version reads",
                where=path,
                seen=_kind_of(handle),
                expected=f"a model file of version {MODEL_SCHEMA}",
                todo="`mimicme model build` makes one out of releases.",
            )
        try:
            if (why := str(handle.attrs.get(STALE, ""))) and not stale_too:
                raise UsageError(
                    f"this model must not be used any more: {why}",
                    where=path,
                    todo="Build it again from the release that is left, and delete this file.",
                )
            return _read(handle)
        except (KeyError, ValueError, OSError, TypeError) as error:
            raise CheckpointError(
                "the model file is damaged",
                where=path,
                seen=str(error).splitlines()[0],
                todo="Build it again.",
            ) from error


def _kind_of(handle: h5py.File) -> str:
    """In words, what an HDF5 file that cannot be read as a model is."""
    if "model_schema" in handle.attrs:
        return f"a model file of version {handle.attrs['model_schema']}"
    if "schema_version" in handle.attrs:
        version = handle.attrs["schema_version"]
        return f"a release (version {version.decode() if isinstance(version, bytes) else version})"
    return f"a checkpoint of '{handle.attrs['stage']}'" if "stage" in handle.attrs else "another HDF5 file"


def _read(handle: h5py.File) -> FaceModel:
    template = layout.read_template(handle["template"])
    n = len(template.vertices)
    models = {name: _read_linear(group, n) for name, group in handle.get("models", {}).items()}
    texture = None
    if "texture" in handle:
        group = handle["texture"]
        height, width = int(group.attrs["height"]), int(group.attrs["width"])
        pixels = group["pixels"][:].astype(np.int64)
        if not 0 < height * width <= layout.MAX_PIXELS or (pixels >= height * width).any():
            raise ValueError(f"texture pixels outside {height} x {width}")
        texture = TextureModel(_read_linear(group, len(pixels)), pixels, height, width)
    return FaceModel(
        template,
        models,
        _read_shapes(handle, "blendshapes", n),
        _read_shapes(handle, "sparse", n),
        texture,
        layout.decoded(handle["subjects"][:]),
        layout.decoded(handle["pruned"][:]),
        json.loads(handle.attrs["settings"]),
        tuple(json.loads(handle.attrs["releases"])),
        str(handle.attrs["licence"]),
        str(handle.attrs["created"]),
        str(handle.attrs.get(STALE, "")),
    )


def _read_linear(group: h5py.Group, n: int) -> LinearModel:
    k = group["variances"].shape[0]
    if k > min(3 * n, MAX_COMPONENTS):  # before memory is taken
        raise ValueError(f"{group.name} has {k} components")
    expected = {"mean": (n, 3), "components": (k, n, 3), "variances": (k,), "weights": (n,)}
    for name, shape in expected.items():
        if group[name].shape != shape:
            raise ValueError(f"{group.name}/{name} is {group[name].shape}, not {shape}")
    arrays = [group[name][...] for name in _MODEL_ARRAYS]
    mean, components, variances, weights = arrays
    total = float(group.attrs["total_variance"])
    return LinearModel(
        mean, components, variances, total, weights, int(group.attrs["count"]), str(group.attrs["kind"])
    )


def _read_shapes(handle: h5py.File, name: str, n: int) -> Blendshapes | None:
    if name not in handle:
        return None
    group = handle[name]
    names = tuple(bytes(x).decode() for x in group["names"][:])
    if group["deltas"].shape != (len(names), n, 3) or group["counts"].shape != (len(names),):
        raise ValueError(f"{name} do not fit the template")
    notes = json.loads(group.attrs.get("notes", "{}"))
    return Blendshapes(names, group["deltas"][...], group["counts"][...], notes)

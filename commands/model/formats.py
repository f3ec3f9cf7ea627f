"""model export: a model file as files that other programs open.

    npz    every array, for numpy; one linear model, or the blendshapes
    mat    MATLAB, in the field names of LSFM's models; reading one back never runs code
    menpo  a pickled menpo PCAModel.  Written only: mimicme never loads a pickle, because loading one runs what is in it
    glb    one mesh with morph targets, for Blender, three.js, Unity

The components of a model file are orthonormal under its vertex weights.  LSFM and menpo know no weights: for them
the same distribution is written with components that are orthonormal in the plain sense (`plain`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.model.blendshapes import arkit_blendshapes, split_sides
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.formats.meshio import glb_bytes, obj_bytes, ply_bytes
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.model_file import Blendshapes, FaceModel
from mimicme.pipeline.numerics.linear_model import LinearModel
from mimicme.pipeline.texture.model_texture import mean_texture
from mimicme.pipeline.whole_file import refuse_existing, write_whole

FORMATS = ("npz", "mat", "menpo", "glb")
SHAPE_SETS = ("blendshapes", "sides", "arkit", "sparse")
_MAT_TIME = b"MATLAB 5.0 MAT-file, written by mimicme"


def export_model(
    model: FaceModel, output: Path, format: str, which: str = "", overwrite: bool = False
) -> str:
    """Write one linear model, or one set of shapes, and say what was written.

    Args:
        which: a linear model (`identity`, `expression`, `joint`, `texture` ...) or a set of shapes (`blendshapes`,
            `sides`: split into left and right, `arkit`: cut out and named as in ARKit, `sparse`).  Default:
            `blendshapes` for GLB, `identity` for the others.

    Raises:
        UsageError: the model file has no such part, the format cannot hold it, or the file is there already.
    """
    refuse_existing(output, overwrite)
    name = which or ("blendshapes" if format == "glb" else "identity")
    if name in SHAPE_SETS:
        shapes = shape_set(model, name)
        if format == "npz":
            _save(output, lambda out: _npz_shapes(out, model, shapes))
        elif format == "glb":
            _save(output, lambda out: out.write(_glb(model, shapes)))
        else:
            raise UsageError(
                f"'{format}' holds a linear model", seen=name, expected=", ".join(sorted(model.models))
            )
        return f"{len(shapes)} shapes: {', '.join(shapes.names)}"
    linear = _linear(model, name, format)
    writers: dict[str, Callable[[BytesIO], Any]] = {
        "npz": lambda out: _npz(out, model, linear),
        "mat": lambda out: _mat(out, model, linear, name),
        "menpo": lambda out: _menpo(out, model, linear),
        "glb": lambda out: out.write(_glb(model, _as_shapes(linear, name))),
    }
    if name == "texture" and format in ("menpo", "glb"):
        raise UsageError(f"'{format}' cannot hold a texture model", expected="npz or mat")
    _save(output, writers[format])
    return f"{name}: {linear.rank} components of {linear.count} shapes"


def shape_set(model: FaceModel, name: str) -> Blendshapes:
    """One of `SHAPE_SETS`.

    Raises:
        UsageError: there is none, or it would be empty.
    """
    if name == "sparse":
        if model.sparse is None:
            raise UsageError("the model has no sparse components", todo="Build it with --sparse 30.")
        return model.sparse
    named = model.shapes()
    if name == "blendshapes":
        return named
    result = (
        split_sides(named, model.template) if name == "sides" else arkit_blendshapes(named, model.template)
    )
    if not len(result):
        raise UsageError("none of the blendshapes has a name in ARKit", seen=", ".join(named.names))
    return result


def _linear(model: FaceModel, name: str, format: str) -> LinearModel:
    if name == "texture":
        if model.texture is None:
            raise UsageError("the model file has no texture model")
        return model.texture.model
    if name not in model.models:
        sets = ["blendshapes", "arkit", "sides"] if model.blendshapes else []
        sets += ["sparse"] if model.sparse else []
        parts = [*model.models, *(sets if format in ("npz", "glb") else [])]
        parts += ["texture"] if model.texture and format in ("npz", "mat") else []
        raise UsageError(f"there is no '{name}' model in the file", expected=", ".join(parts))
    return model.models[name]


def plain(model: LinearModel) -> tuple[Floats, Floats]:
    """Components (K, 3V) orthonormal without weights, and their variances (K,): of the same covariance.

    The covariance of the model is C' L C; its plain eigenvectors are the right singular vectors of L^(1/2) C.
    """
    rows = model.components.reshape(model.rank, -1).astype(np.float64) * np.sqrt(model.variances)[:, None]
    _, singular, basis = np.linalg.svd(rows, full_matrices=False)
    peak = np.abs(basis).argmax(axis=1)
    return basis * np.sign(basis[np.arange(len(basis)), peak])[:, None], singular**2


def _save(output: Path, write: Callable[[BytesIO], Any]) -> None:
    buffer = BytesIO()
    write(buffer)
    write_whole(output, buffer.getvalue())


def _npz(out: BytesIO, model: FaceModel, linear: LinearModel) -> None:
    arrays: dict[str, Any] = {
        "mean": linear.mean,
        "components": linear.components,
        "variances": linear.variances,
        "vertex_weights": linear.weights,
        "total_variance": np.array(linear.total_variance),
        "count": np.array(linear.count),
    }
    if linear.kind == "texture" and model.texture is not None:
        arrays |= {
            "pixels": model.texture.pixels,
            "size": np.array([model.texture.height, model.texture.width]),
        }
    np.savez_compressed(out, **arrays, **_common(model))


def _npz_shapes(out: BytesIO, model: FaceModel, shapes: Blendshapes) -> None:
    arrays: dict[str, Any] = {
        "names": np.array(shapes.names),
        "deltas": shapes.deltas,
        "counts": shapes.counts,
    }
    np.savez_compressed(out, neutral=_neutral(model), **arrays, **_common(model))


def _common(model: FaceModel) -> dict[str, Any]:
    return {
        "faces": model.template.faces,
        "landmark_vertices": model.template.landmark_vertices,
        "landmark_weights": model.template.landmark_weights,
        "landmark_names": np.array(model.template.landmark_names),
        "units": np.array("mm"),
        "licence": np.array(model.licence),
    }


def _mat(out: BytesIO, model: FaceModel, linear: LinearModel, name: str) -> None:
    from scipy.io import savemat

    components, variances = plain(linear)
    fields = {
        "components": components.T,
        "eigenvalues": variances,
        "cumulative_explained_variance": np.cumsum(variances) / max(float(variances.sum()), 1e-300),
        "mean": linear.mean.astype(np.float64).ravel(),
        "n_training_samples": linear.count,
        # counted from 0, as LSFM's are
        "trilist": model.template.faces.astype(np.int64),
        "units": "mm",
        "model": name,
        "licence": model.licence,
    }
    if name == "texture" and model.texture is not None:
        del fields["trilist"]
        fields |= {
            "pixels": model.texture.pixels,
            "height": model.texture.height,
            "width": model.texture.width,
        }
        fields["units"] = "of 255"
    savemat(out, fields, do_compression=True)
    # the head of the file holds the time of writing: equal models shall be equal bytes
    out.getbuffer()[:116] = _MAT_TIME.ljust(116)


def _menpo(out: BytesIO, model: FaceModel, linear: LinearModel) -> None:
    import pickle

    from menpo.model import PCAModel
    from menpo.shape import TriMesh

    components, variances = plain(linear)
    mean = TriMesh(linear.mean.astype(np.float64), trilist=model.template.faces)
    pca = PCAModel.init_from_components(components, variances, mean, linear.count, True)
    pickle.dump(pca, out, protocol=4)


def _neutral(model: FaceModel) -> NDArray[np.float32]:
    person = model.models.get("identity")
    return np.asarray(model.template.vertices, np.float32) if person is None else person.mean


def _as_shapes(linear: LinearModel, name: str) -> Blendshapes:
    """Components as shapes of one standard deviation each."""
    steps = (linear.components * np.sqrt(linear.variances)[:, None, None]).astype(np.float32)
    names = tuple(f"{name}_{k:03d}" for k in range(linear.rank))
    return Blendshapes(names, steps, np.full(len(names), linear.count, np.int32))


def _glb(model: FaceModel, shapes: Blendshapes) -> bytes:
    mesh = replace(model.template.mesh, vertices=_neutral(model).astype(np.float64))
    image, media = b"", ""
    if model.texture is not None and mesh.uv is not None:
        from mimicme.pipeline.formats.image import encode

        image, media = encode(mean_texture(model.texture, model.template), "png"), "image/png"
    return glb_bytes(mesh, image, media, 0.001, dict(zip(shapes.names, shapes.deltas, strict=True)))


def write_mesh(path: Path, model: FaceModel, vertices: NDArray[Any]) -> None:
    """Write a face of the model as .obj, .ply or .glb, by the path's ending; mm (glTF: metres)."""
    mesh: Mesh = replace(model.template.mesh, vertices=np.asarray(vertices, np.float64))
    writers: dict[str, Callable[[], bytes]] = {
        ".obj": lambda: obj_bytes(mesh),
        ".ply": lambda: ply_bytes(mesh),
        ".glb": lambda: glb_bytes(mesh, scale=0.001),
    }
    if path.suffix.lower() not in writers:
        raise UsageError("meshes are written as", expected=", ".join(writers), seen=path.name)
    data = writers[path.suffix.lower()]()
    _save(path, lambda out: out.write(data))

"""The texture model: principal components of what faces look like in the template's texture layout.

One texture a subject, that of the neutral.  A baked texture has holes where its scan had none to give, so pixels
that too few subjects have are left out, and the other holes are filled by the model itself: with the mean at first,
then with what the model of the last round expects there (expectation-maximisation for PCA with missing data; Roweis
1998, Tipping and Bishop 1999).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Singles
from mimicme.pipeline.errors import out_of
from mimicme.pipeline.model_file import TextureModel
from mimicme.pipeline.numerics.linear_model import LinearModel, fit_pca, fit_streaming
from mimicme.pipeline.release.frames import ReleaseFrames

COVERED_SHARE = 0.75  # of the subjects: pixels that fewer have are left out
ROUNDS = 3
_EXACT_BYTES = 300 << 20
_BATCH = 64


def reduced(texture: NDArray[np.uint8], coverage: NDArray[np.uint8], size: int) -> tuple[Singles, Bools]:
    """A texture (h, w, 3) at `size` pixels a side, and which of them have data.

    Only covered pixels are averaged: the background of the texture does not bleed in.
    """
    from PIL import Image

    seen = (coverage > 127).astype(np.float32)
    box = Image.Resampling.BOX

    def shrink(channel: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(Image.fromarray(channel).resize((size, size), box))

    share = shrink(seen)
    channels = [shrink(texture[..., c].astype(np.float32) * seen) for c in range(3)]
    picture = np.stack(channels, axis=2) / np.maximum(share, 1e-6)[:, :, None]
    return np.where(share[:, :, None] > 0.5, picture, 0).astype(np.float32), share > 0.5


def fit_texture(
    frames: ReleaseFrames,
    subjects: Sequence[str],
    size: int,
    rank: int,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> TextureModel | None:
    """The texture model of the subjects' neutrals, at `size` pixels a side; None, and said, where too few have
    textures."""
    rows = [int(frames.neutral(s).rows[0]) for s in subjects]
    covered = np.zeros((size, size))
    total = np.zeros((size, size, 3))
    usable = []
    for row in rows:
        found = frames.texture(row)
        if found is None:
            continue
        picture, seen = reduced(*found, size)
        covered += seen
        total += picture
        usable.append(row)
    if len(usable) < 2:
        have = out_of(len(usable), len(subjects), "subject", verbs=("has", "have"))
        say(f"warning: no texture model: {have} a neutral with a texture, and it takes two")
        return None
    pixels = np.flatnonzero(covered.ravel() >= max(COVERED_SHARE * len(usable), 2))
    if not len(pixels):
        say("warning: no texture model: too few of the textures show the same place of the face")
        return None
    mean = total.reshape(-1, 3)[pixels] / covered.ravel()[pixels, None]
    model: LinearModel | None = None
    for _ in range(ROUNDS):
        model = _fit(frames, usable, size, pixels, mean.astype(np.float32), model, rank, seed)
    assert model is not None
    return TextureModel(model, pixels, size, size)


def _fit(
    frames: ReleaseFrames,
    rows: Sequence[int],
    size: int,
    pixels: NDArray[np.int64],
    mean: Singles,
    last: LinearModel | None,
    rank: int,
    seed: int,
) -> LinearModel:
    def batches() -> Iterator[Singles]:
        for start in range(0, len(rows), _BATCH):
            yield np.stack(
                [_filled(frames, row, size, pixels, mean, last) for row in rows[start : start + _BATCH]]
            )

    if len(rows) * len(pixels) * 24 <= _EXACT_BYTES:
        return fit_pca(np.concatenate(list(batches())), rank=rank, kind="texture")
    return fit_streaming(batches, rank=rank, seed=seed, kind="texture")


def _filled(
    frames: ReleaseFrames,
    row: int,
    size: int,
    pixels: NDArray[np.int64],
    mean: Singles,
    model: LinearModel | None,
) -> Singles:
    """(P, 3) colours of a frame, its holes filled."""
    found = frames.texture(row)
    if found is None:
        return mean
    picture, seen = reduced(*found, size)
    colours = picture.reshape(-1, 3)[pixels]
    hole = ~seen.ravel()[pixels]
    if hole.any():
        colours = np.where(hole[:, None], mean, colours)
        if model is not None:
            colours = np.where(hole[:, None], _expected(model, colours, ~hole), colours)
    return colours.astype(np.float32)


def _expected(model: LinearModel, colours: Singles, seen: Bools) -> Singles:
    """(P, 3) what the model expects of all pixels, given those that are seen (Tipping and Bishop 1999)."""
    rows = model.components[:, seen].reshape(model.rank, -1).astype(np.float64)
    # what the components do not hold is noise, spread over all values
    noise = max(model.total_variance - float(model.variances.sum()), 1e-3 * model.total_variance)
    noise /= model.mean.size
    gram = rows @ rows.T + np.diag(noise / np.maximum(model.variances, 1e-12))
    right = rows @ (colours[seen] - model.mean[seen]).ravel().astype(np.float64)
    return model.decode(np.linalg.solve(gram, right)[None])[0]

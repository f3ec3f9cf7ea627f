"""Encoded images, and maps of the surface with what their numbers mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import h5py
import numpy as np
from numpy.typing import NDArray

from mimicme.commands.verify.datasets import check_chunks
from mimicme.commands.verify.finding import Finding, named
from mimicme.pipeline.errors import MimicmeError
from mimicme.pipeline.formats.map_coding import MAPS, read_coding
from mimicme.pipeline.release import guard, layout

MAX_IMAGE_BYTES = 1 << 29


@named("maps")
def check_coding(group: h5py.Group, name: str) -> Iterator[Finding]:
    """A map says what its numbers mean: unit, step and the value of 0, one for each channel."""
    kind = MAPS[name]
    try:
        coding = read_coding(guard.attributes(group.id, group.name))
    except (KeyError, ValueError, TypeError):
        yield Finding(
            "error", group.name, "'unit', 'value_scale' and 'value_offset' do not say what it means."
        )
        return
    if coding.unit != kind.unit:
        yield Finding("error", group.name, f"The unit is {coding.unit!r}, expected {kind.unit!r}.")
    if not (np.isfinite(coding.scale) and coding.scale > 0):
        yield Finding("error", group.name, f"value_scale is {coding.scale}, expected a number above 0.")
    if len(coding.offset) != kind.channels or not np.isfinite(coding.offset).all():
        yield Finding(
            "error", group.name, f"value_offset is {coding.offset}, expected {kind.channels} numbers."
        )


@named("images")
def check_images(
    group: h5py.Group, ok: NDArray[np.bool_], every_image: bool, alive: Callable[[], None] = lambda: None
) -> Iterator[Finding]:
    """Offsets rise from 0 to the number of bytes, and the images are images."""
    damage = [*check_chunks(group["offset"], alive), *check_chunks(group["bytes"], alive)]
    yield from damage
    offset, size = group["offset"][:], group["bytes"].size
    if int(offset[0]) != 0 or int(offset[-1]) != size:
        ends = f"{offset[0]} to {offset[-1]}"
        yield Finding("error", f"{group.name}/offset", f"It goes from {ends}, expected 0 to {size}.")
        return
    if (offset[1:] < offset[:-1]).any():
        at = int(np.argmax(offset[1:] < offset[:-1]))
        yield Finding("error", f"{group.name}/offset row {at}", "The offsets fall; expected rising ones.")
        return
    if damage:
        return
    if (np.diff(offset) > MAX_IMAGE_BYTES).any():
        at = int(np.argmax(np.diff(offset)))
        yield Finding(
            "error", f"{group.name}/offset row {at}", "An image of more than 512 MB; that cannot be."
        )
        return
    have = np.flatnonzero(offset[1:] > offset[:-1])
    if (~ok[have]).any():
        at = int(have[np.argmax(~ok[have])])
        yield Finding("error", f"{group.name} row {at}", "A rejected frame has an image.")
    sample = set(have) if every_image else {have[i] for i in (0, len(have) // 2, -1) if len(have)}
    for row in have:
        alive()
        data = group["bytes"][int(offset[row]) : int(offset[row + 1])].tobytes()
        kind = MAPS.get(group.name.rpartition("/")[2])
        yield from check_image(
            f"{group.name} row {row}", data, row in sample, None if kind is None else kind.channels
        )


@named("images")
def check_image(
    where: str, data: bytes, decode_it: bool, deep_channels: int | None = None
) -> Iterator[Finding]:
    """One encoded image has a sound header; decoded, sound pixels: 16-bit ones of so many channels for a map."""
    from mimicme.pipeline.formats.image import decode, decode_deep, info

    try:
        info(data, where, layout.MAX_PIXELS, layout.IMAGE_FORMATS)
        if decode_it and deep_channels is None:
            decode(data, layout.MAX_PIXELS, where, layout.IMAGE_FORMATS)
        elif decode_it:
            numbers = decode_deep(data, layout.MAX_PIXELS, where)
            seen = numbers.shape[2] if numbers.ndim == 3 else 1
            if seen != deep_channels:
                yield Finding("error", where, f"The map has {seen} channels, expected {deep_channels}.")
    except MimicmeError as error:
        yield Finding("error", where, f"The image cannot be decoded: {error.what}.")

"""Releases made to harm who reads them: each is a small release with some of its structure changed, by a seed.

Two ways: through HDF5, which makes a sound file of what no release has (`spoil`), and below it, where bytes of headers
are changed and their checksums made right again, so that HDF5 itself takes them for its own (`forge`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from mimicme.pipeline.release import guard

Change = Callable[[h5py.File, np.random.Generator], None]
SEQUENCE = "subjects/S001/smile"
NUMBERS = (0, 1, 2, 3, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
KINDS = ("f4", "f8", "i1", "i8", "u4", "u8", "S4", "S70000", ">f4", "f2", "c16", "?", "V12")


def nodes(file: h5py.File) -> list[str]:
    """Paths of all groups and datasets."""
    found: list[str] = []
    file.visit(found.append)
    return sorted(found)


def a_node(file: h5py.File, rng: np.random.Generator, kind: type = h5py.HLObject) -> str:
    known = [name for name in nodes(file) if isinstance(file[name], kind)]
    return str(rng.choice(known))


def _attrs(file: h5py.File, rng: np.random.Generator) -> h5py.AttributeManager:
    return file[str(rng.choice(["/", *nodes(file)]))].attrs


def delete(file: h5py.File, rng: np.random.Generator) -> None:
    del file[a_node(file, rng)]


def hard_link(file: h5py.File, rng: np.random.Generator) -> None:
    file[f"{a_node(file, rng, h5py.Group)}/again"] = file[a_node(file, rng)]


def loop(file: h5py.File, rng: np.random.Generator) -> None:
    name = a_node(file, rng, h5py.Group)
    file[f"{name}/loop"] = file[name]


def link(file: h5py.File, rng: np.random.Generator) -> None:
    name = a_node(file, rng)
    del file[name]
    other = a_node(file, rng)
    file[name] = [
        h5py.SoftLink(f"/{other}"),
        h5py.SoftLink(f"/{name}"),
        h5py.ExternalLink("/etc/passwd", "/"),
    ][int(rng.integers(3))]


def many_links(file: h5py.File, rng: np.random.Generator) -> None:
    group = file[a_node(file, rng, h5py.Group)]
    for k in range(int(rng.integers(100, 3000))):
        group[f"x{k}"] = group


def deep(file: h5py.File, rng: np.random.Generator) -> None:
    group = file[a_node(file, rng, h5py.Group)]
    for _ in range(int(rng.integers(10, 3000))):
        group = group.create_group("g")


def named_type(file: h5py.File, rng: np.random.Generator) -> None:
    name = a_node(file, rng)
    del file[name]
    file[name] = np.dtype("f4")


def strange_name(file: h5py.File, rng: np.random.Generator) -> None:
    names = ("\x1b[2J", "\n", "." * 300, "x" * 5000, "\u202e", "%s", "'; --", "..", "-rf")
    file.move(a_node(file, rng), f"{a_node(file, rng, h5py.Group)}/{rng.choice(names)}")


def group_for_dataset(file: h5py.File, rng: np.random.Generator) -> None:
    name = a_node(file, rng, h5py.Dataset)
    del file[name]
    file.create_group(name)


def dataset_for_group(file: h5py.File, rng: np.random.Generator) -> None:
    name = a_node(file, rng, h5py.Group)
    del file[name]
    file[name] = np.arange(4.0)


def replaced(file: h5py.File, name: str, *arguments: object, **options: object) -> h5py.Dataset:
    """Another dataset in the place of one, with its attributes."""
    attributes = dict(file[name].attrs)
    del file[name]
    made = file.create_dataset(name, *arguments, **options)
    for key, value in attributes.items():
        guard.put(made.attrs, key, value)
    return made


def other_type(file: h5py.File, rng: np.random.Generator) -> None:
    name = a_node(file, rng, h5py.Dataset)
    replaced(file, name, file[name].shape, str(rng.choice(KINDS)))


def variable_type(file: h5py.File, rng: np.random.Generator) -> None:
    kinds = (h5py.string_dtype(), h5py.ref_dtype, h5py.regionref_dtype, h5py.vlen_dtype("f8"))
    kind = (
        np.dtype([("subject", kinds[0]), ("row", "u4")])
        if rng.random() < 0.3
        else kinds[int(rng.integers(4))]
    )
    name = a_node(file, rng, h5py.Dataset)
    replaced(file, name, file[name].shape, kind)


def list_of_lists(file: h5py.File, rng: np.random.Generator) -> None:
    """A list of lists, which h5py cannot make."""
    name = a_node(file, rng, h5py.Dataset)
    shape = file[name].shape
    del file[name]
    kind = h5py.h5t.vlen_create(h5py.h5t.vlen_create(h5py.h5t.NATIVE_DOUBLE))
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape))


def huge(file: h5py.File, rng: np.random.Generator) -> None:
    """A shape of many gigabytes of which nothing, or one chunk, is there."""
    name = a_node(file, rng, h5py.Dataset)
    old = file[name]
    shape = list(old.shape)
    shape[int(rng.integers(len(shape)))] = int(10 ** rng.uniform(4, 11))
    chunks = tuple(int(min(s, rng.integers(1, 5000))) for s in shape)
    made = replaced(
        file, name, tuple(shape), old.dtype, chunks=chunks, compression="gzip", shuffle=True, fletcher32=True
    )
    if rng.random() < 0.5:
        made.id.write_direct_chunk((0,) * len(shape), bytes(100))


def bomb(file: h5py.File, rng: np.random.Generator) -> None:
    """Much of nothing, well packed."""
    name = a_node(file, rng, h5py.Dataset)
    old = file[name]
    shape = (int(rng.integers(1000, 3_000_000)), *old.shape[1:])
    size = int(np.prod(shape[1:], dtype=np.int64)) * old.dtype.itemsize
    rows = max(1, min(shape[0], (32 << 20) // size))
    shape = (min(shape[0], 8 * rows), *shape[1:])
    made = replaced(
        file, name, shape, old.dtype, chunks=(rows, *shape[1:]), compression="gzip", fletcher32=True
    )
    if old.dtype.names is None:
        for start in range(0, shape[0], rows):
            made[start : start + rows] = np.zeros((min(rows, shape[0] - start), *shape[1:]), old.dtype)


def unwritten(file: h5py.File, rng: np.random.Generator) -> None:
    name = a_node(file, rng, h5py.Dataset)
    old = file[name]
    if old.chunks:
        replaced(file, name, old.shape, old.dtype, chunks=old.chunks, compression="gzip", fletcher32=True)
    else:
        replaced(file, name, old.shape, old.dtype)


def filters(file: h5py.File, rng: np.random.Generator) -> None:
    name = a_node(file, rng, h5py.Dataset)
    old = file[name]
    if not old.chunks:
        return
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk(old.chunks)
    which = int(rng.integers(3))
    if which == 0:
        plan.set_filter(32000, h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
    elif which == 1:
        plan.set_scaleoffset(h5py.h5z.SO_INT, 2) if old.dtype.kind in "iu" else plan.set_shuffle()
    else:
        plan.set_filter(
            h5py.h5z.FILTER_NBIT if hasattr(h5py.h5z, "FILTER_NBIT") else 5, h5py.h5z.FLAG_OPTIONAL
        )
    shape, kind = old.shape, old.id.get_type()
    del file[name]
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), plan)


def raw_chunk(file: h5py.File, rng: np.random.Generator) -> None:
    """A chunk of other bytes, or of another length, or said to be unfiltered."""
    name = a_node(file, rng, h5py.Dataset)
    data = file[name]
    if data.chunks:
        size = int(rng.choice([0, 1, 4, 5, 100, 5000]))
        data.id.write_direct_chunk((0,) * data.ndim, rng.bytes(size), filter_mask=int(rng.integers(8)))


def values(file: h5py.File, rng: np.random.Generator) -> None:
    name = a_node(file, rng, h5py.Dataset)
    data = file[name]
    if not data.size:
        return
    content = data[()]
    flat = content.reshape(-1)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(flat)))
        raw = bytearray(flat[at : at + 1].tobytes())
        raw[int(rng.integers(len(raw)))] = int(rng.integers(256))
        flat[at : at + 1] = np.frombuffer(bytes(raw), data.dtype)
    if data.dtype.kind in "iu" and rng.random() < 0.5:
        flat[int(rng.integers(len(flat)))] = np.array(int(rng.choice(NUMBERS[:9]))).astype(data.dtype)
    data[...] = content


def attribute(file: h5py.File, rng: np.random.Generator) -> None:
    attrs = _attrs(file, rng)
    if not len(attrs):
        return
    name = str(rng.choice(sorted(attrs)))
    choices: list[object] = [
        "text", "", "x" * 200_000, 1, -1.5, np.nan, np.inf, np.zeros(3), np.zeros((60, 60, 60)), np.bytes_(b"\xff\xfe"),
        np.array([b"a", b"b"]), h5py.Empty("f4"), True, 2**63, "[" * 100_000, '{"a": 1}', "9.9", "1.99", "1.3", "../..",
        file["/"].ref, np.array(["a", "b"], dtype=h5py.string_dtype()),
    ]  # fmt: skip
    del attrs[name]
    attrs[name] = choices[int(rng.integers(len(choices)))]


def many_attributes(file: h5py.File, rng: np.random.Generator) -> None:
    attrs = _attrs(file, rng)
    for k in range(int(rng.integers(10, 5000))):
        attrs[f"a{k}"] = k


def table(file: h5py.File, rng: np.random.Generator) -> None:
    """An index of other columns, or of the same of other types."""
    name = str(rng.choice(["index", "sequence_index", f"{SEQUENCE}/quality"]))
    old = file[name].dtype
    kinds = [
        (n, str(rng.choice(["S3", "f4", "u1", "i8", "S200"])) if rng.random() < 0.3 else old[n])
        for n in old.names
    ]
    if rng.random() < 0.3:
        kinds = kinds[: int(rng.integers(1, len(kinds) + 1))]
    if rng.random() < 0.2:
        replaced(file, name, data=np.array([b"a", b"b"]))
    else:
        replaced(
            file, name, data=np.zeros(int(rng.integers(0, 9)), kinds), compression="gzip", fletcher32=True
        )


def resized(file: h5py.File, rng: np.random.Generator) -> None:
    name = a_node(file, rng, h5py.Dataset)
    old = file[name]
    shape = tuple(max(0, n + int(rng.integers(-2, 3))) for n in old.shape)
    replaced(file, name, shape, old.dtype, **({"chunks": True, "fletcher32": True} if 0 not in shape else {}))


def external(file: h5py.File, rng: np.random.Generator) -> None:
    name = a_node(file, rng, h5py.Dataset)
    old = file[name]
    kind = old.dtype
    shape = old.shape
    del file[name]
    if rng.random() < 0.5:
        file.create_dataset(name, shape, kind, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
    else:
        plan = h5py.VirtualLayout(shape, kind)
        plan[...] = h5py.VirtualSource("/etc/passwd", "x", shape)
        file.create_virtual_dataset(name, plan)


def filtered_group(file: h5py.File, rng: np.random.Generator) -> None:
    """A group whose table of names goes through a filter, which HDF5 would look for among the plug-ins."""
    parent = a_node(file, rng, h5py.Group)
    plan = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    plan.set_link_phase_change(0, 0) if hasattr(plan, "set_link_phase_change") else None
    h5py.h5i.inc_ref(plan)
    h5py.h5p.PropDCID(plan.id).set_deflate(1)
    made = h5py.h5g.create(file.id, f"{parent}/filtered".encode(), gcpl=plan)
    for k in range(20):
        h5py.h5g.create(made, f"{k}".encode())


CHANGES: tuple[Change, ...] = (
    delete, hard_link, loop, link, many_links, deep, named_type, strange_name, group_for_dataset, dataset_for_group,
    other_type, variable_type, list_of_lists, huge, bomb, unwritten, filters, raw_chunk, values, attribute,
    many_attributes, table, resized, external, filtered_group,
)  # fmt: skip


def spoil(path: Path, rng: np.random.Generator) -> str:
    """Change some of a release's structure; what was done."""
    done = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        change = CHANGES[int(rng.integers(len(CHANGES)))]
        try:
            with h5py.File(path, "r+", libver="v110") as file:
                change(file, rng)
            done.append(change.__name__)
        except (
            OSError,
            RuntimeError,
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            NotImplementedError,
            MemoryError,
        ):
            done.append(f"({change.__name__})")  # HDF5 itself would not
    return " ".join(done)


# -- below HDF5


def lookup3(data: bytes) -> int:
    """Bob Jenkins' hash, HDF5's checksum of its own structures."""

    def rot(x: int, k: int) -> int:
        return ((x << k) | (x >> (32 - k))) & 0xFFFFFFFF

    a = b = c = (0xDEADBEEF + len(data)) & 0xFFFFFFFF
    words = list(struct.unpack(f"<{len(data) // 4 + 3}I", data.ljust((len(data) // 4 + 3) * 4, b"\0")))
    left, at = len(data), 0
    m = 0xFFFFFFFF
    while left > 12:
        a, b, c = (a + words[at]) & m, (b + words[at + 1]) & m, (c + words[at + 2]) & m
        a = ((a - c) & m) ^ rot(c, 4)
        c = (c + b) & m
        b = ((b - a) & m) ^ rot(a, 6)
        a = (a + c) & m
        c = ((c - b) & m) ^ rot(b, 8)
        b = (b + a) & m
        a = ((a - c) & m) ^ rot(c, 16)
        c = (c + b) & m
        b = ((b - a) & m) ^ rot(a, 19)
        a = (a + c) & m
        c = ((c - b) & m) ^ rot(b, 4)
        b = (b + a) & m
        left, at = left - 12, at + 3
    if left == 0:
        return c
    a, b, c = (a + words[at]) & m, (b + words[at + 1]) & m, (c + words[at + 2]) & m
    for x, y, k in (
        ("c", "b", 14),
        ("a", "c", 11),
        ("b", "a", 25),
        ("c", "b", 16),
        ("a", "c", 4),
        ("b", "a", 14),
    ):
        v = {"a": a, "b": b, "c": c}
        v[x] = ((v[x] ^ v[y]) - rot(v[y], k)) & m
        a, b, c = v["a"], v["b"], v["c"]
    return ((c ^ b) - rot(b, 24)) & m


def headers(data: bytes) -> list[tuple[int, int]]:
    """Where HDF5's own structures lie and where their checksums do: superblock, object headers, chunk indexes."""
    found = [(0, 44)]
    sizes = {b"FAHD": 24, b"BTHD": 34}
    for sign in (b"OHDR", b"FAHD", b"BTHD"):
        at = data.find(sign)
        while at >= 0:
            if sign == b"OHDR":
                flags = data[at + 5]
                head = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
                width = 1 << (flags & 3)
                size = head + width + int.from_bytes(data[at + head : at + head + width], "little")
            else:
                size = sizes[sign]
            stored = data[at + size : at + size + 4]
            if (
                len(stored) == 4
                and size < 1 << 16
                and lookup3(data[at : at + size]) == int.from_bytes(stored, "little")
            ):
                found.append((at, at + size))
            at = data.find(sign, at + 4)
    return found


def forge(data: bytes, places: list[tuple[int, int]], rng: np.random.Generator) -> bytes:
    """Change bytes of HDF5's own structures and make their checksums right."""
    out = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        start, stop = places[int(rng.integers(len(places)))]
        for _ in range(int(rng.choice([1, 1, 2, 8]))):
            at = int(rng.integers(start + 4, stop))
            if rng.random() < 0.4:
                width = int(rng.choice([1, 2, 4, 8]))
                number = int(NUMBERS[int(rng.integers(len(NUMBERS)))]) % (1 << (8 * width))
                out[at : min(at + width, stop)] = number.to_bytes(width, "little")[: max(0, stop - at)]
            else:
                out[at] = int(rng.integers(256))
        out[stop : stop + 4] = lookup3(bytes(out[start:stop])).to_bytes(4, "little")
    return bytes(out)


def scatter(data: bytes, rng: np.random.Generator) -> bytes:
    """Change bytes anywhere, or cut the file, or put a piece of it elsewhere."""
    out = bytearray(data)
    kind = int(rng.integers(4))
    if kind == 0:
        return bytes(out[: int(rng.integers(len(out)))])
    if kind == 1:
        a, b = (int(x) for x in rng.integers(0, len(out) - 600, 2))
        out[a : a + 512] = out[b : b + 512]
        return bytes(out)
    for at in rng.integers(0, len(out), int(rng.choice([1, 10, 200]))):
        out[int(at)] = int(rng.integers(256))
    return bytes(out)


def make(good: Path, target: Path, seed: int, places: list[tuple[int, int]]) -> str:
    """A hostile file; what was done to it.

    Args:
        places: of `headers`, of the good one.
    """
    rng = np.random.default_rng(seed)
    data = good.read_bytes()
    way = seed % 4
    if way < 2:
        target.write_bytes(data)
        return spoil(target, rng)
    target.write_bytes(forge(data, places, rng) if way == 2 else scatter(data, rng))
    return "forge" if way == 2 else "scatter"

"""The people of a file, of a release or of a shard: what may be read of each, and then their sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import h5py
from h5py.h5g import GroupID

from mimicme.commands.verify.finding import Finding, guarded, named
from mimicme.commands.verify.sequence import Shape, check_sequence
from mimicme.commands.verify.tree import Seen, check_tree
from mimicme.commands.verify.whole import check_subject
from mimicme.pipeline.items import Item
from mimicme.pipeline.release import guard


@named("structure")
def check_entry(top: GroupID, name: str, seen: Seen) -> Iterator[Finding]:
    yield from check_tree(guard.child(top, name, "/"), f"/{name}", seen, 1)


@named("structure")
def check_subjects(
    root: h5py.File,
    top: GroupID,
    shape: Shape,
    seen: Seen,
    every_image: bool,
    alive: Callable[[], None],
) -> Iterator[Finding]:
    if not guard.has(top, "subjects"):
        shape.whole = False
        yield Finding("error", "/subjects", "The group is missing; it holds every subject's sequences.")
        return
    shape.whole = False
    people = guard.subgroup(top, "subjects", "/")
    seen.again(people)
    names = guard.names(people, "/subjects")
    shape.whole = True
    for subject in names:
        where = f"/subjects/{subject}"
        yield from guarded(where, _check_person, root, people, subject, shape, seen, every_image, alive)


@named("structure")
def _check_person(
    root: h5py.File,
    people: GroupID,
    subject: str,
    shape: Shape,
    seen: Seen,
    every_image: bool,
    alive: Callable[[], None],
) -> Iterator[Finding]:
    where = f"/subjects/{subject}"
    before, shape.whole = shape.whole, False
    person = guard.subgroup(people, subject, "/subjects")
    if seen.again(person):
        yield Finding(
            "error", where, "A link to a group that has another name too; a release has one name each."
        )
        return
    names = guard.names(person, where)
    yield from guarded(where, check_subject, root[where])
    shape.whole = before
    for name in names:
        place = f"{where}/{name}"
        alive()
        found = list(guarded(place, _check_parts, person, name, where, seen))
        yield from found
        if found:
            shape.whole = False
        else:
            yield from guarded(place, check_sequence, root[place], Item(subject, name), shape, every_image)


@named("structure")
def _check_parts(person: GroupID, name: str, where: str, seen: Seen) -> Iterator[Finding]:
    yield from check_tree(guard.subgroup(person, name, where), f"{where}/{name}", seen, 1)

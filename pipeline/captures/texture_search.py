"""Whose an image is, by its name and its folder; and where else than beside its mesh an image of a name lies.

One folder may hold thousands of frames: what follows from its listing is worked out once a listing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from mimicme.pipeline.captures.layouts import EXTENSIONS
from mimicme.pipeline.captures.unread import MESHES as UNREAD_MESHES
from mimicme.pipeline.formats.image import ENDINGS
from mimicme.pipeline.sources import Sources, folded, within

IMAGE_FILES = "/".join(f"*{ending}" for ending in sorted(ENDINGS))
MESH_FILES = "/".join(f"*.{ending}" for ending in sorted(EXTENSIONS))
_ALL_MESHES = "/".join([MESH_FILES, *(f"*.{ending}" for ending in UNREAD_MESHES)])

OTHER_MAPS = re.compile(
    r"(?:^|[^a-z])(?:normals?|nrm|nor|bump|disp|displacement|height|spec|specular|rough|roughness|gloss|glossiness"
    r"|metal|metallic|metalness|ao|occlusion|cavity|masks?|depth|alpha|opacity|thumbs?|thumbnails?)(?:$|[^a-z])"
)
"""Words in names of images, and of their folders, that are no colours."""
_TEXTURE_FOLDERS = re.compile(
    r"(?:^|[^a-z])(?:tex|textures?|images?|imgs?|jpe?gs?|pngs?|tiffs?|maps?|materials?|photos?|colou?rs?|rgb|albedo"
    r"|diffuse|skins?)(?:$|[^a-z])"
)
"""Words in names of folders that hold the images of the meshes beside them."""


def stem(name: str) -> str:
    """A file's name `folded`, without its ending."""
    return folded(PurePosixPath(name).stem)


@dataclass(frozen=True)
class MeshNames:
    """The meshes of one folder.

    Attributes:
        stems: their names, as `stem` gives them.
        before, after: what all names begin and end with, up to the numbers that differ; '' of one mesh.
    """

    stems: frozenset[str]
    before: str = ""
    after: str = ""

    def is_anothers(self, text: str, own: str) -> bool:
        """Whether an image, or folder, of that name may be another mesh's than the one named `own`: it has another's
        name in it, or a number that is not the mesh's; both `folded`."""
        if self.stems <= {own}:
            return False
        named = self._named_in(text)
        if named and not (own in named and all(other in own for other in named)):
            return True
        return not self._numbers(text) <= self._numbers(own)

    def is_own(self, text: str, own: str) -> bool:
        """Whether it has the mesh's name or number in it, and no other's."""
        says = self._numbers(text) or own in self._named_in(text)
        return bool(says) and not self.is_anothers(text, own)

    def _numbers(self, text: str) -> set[int]:
        """The numbers in a name, but for those that all meshes have."""
        return {int(n) for n in re.findall(r"\d+", text.removeprefix(self.before).removesuffix(self.after))}

    def _named_in(self, text: str) -> set[str]:
        """The meshes whose name a text begins with, or has in it as whole words."""
        return within(text) & self.stems


@lru_cache(maxsize=16)
def mesh_names(names: tuple[str, ...]) -> MeshNames:
    """Of the names of the meshes in a folder."""
    stems = frozenset(map(stem, names))
    if len(stems) < 2:
        return MeshNames(stems)
    before = os.path.commonprefix(list(stems))
    after = os.path.commonprefix([s[::-1] for s in stems])[::-1]
    return MeshNames(stems, re.sub(r"\d+$", "", before), re.sub(r"^\d+", "", after))


@dataclass(frozen=True)
class MeshesBeside:
    """The meshes in the folder of one of them, of which no more is asked than an answer takes: where the names alone
    that are in an image's settle it, what else is called how makes no difference.

    Attributes:
        own: the mesh's `stem`.
    """

    folder: Path
    own: str
    sources: Sources

    def is_anothers(self, text: str) -> bool:
        """See `MeshNames.is_anothers`."""
        if self.begins_with_own(text):
            return False
        named = self._named_in(text)
        if named <= {self.own} and not re.search(r"\d", text):
            return False
        if named and not self._all_own(named):
            return True
        return self._all.is_anothers(text, self.own)

    def is_own(self, text: str) -> bool:
        """See `MeshNames.is_own`."""
        if self.begins_with_own(text):
            return True
        named = self._named_in(text)
        if named and not self._all_own(named):
            return False
        return self._all.is_own(text, self.own)

    def begins_with_own(self, text: str) -> bool:
        """Whether a text begins with the mesh's name, and has no other mesh's in it, and no other number."""
        begins = text.startswith(self.own) and not re.search(r"\d", text.removeprefix(self.own))
        return begins and self._all_own(self._named_in(text))

    def _all_own(self, named: set[str]) -> bool:
        return self.own in named and all(other in self.own for other in named)

    def _named_in(self, text: str) -> set[str]:
        return set(map(stem, self.sources.names_within(self.folder, text, MESH_FILES)))

    @property
    def _all(self) -> MeshNames:
        return mesh_names(self.sources.names(self.folder, MESH_FILES))


@lru_cache(maxsize=16)
def of_colors(names: tuple[str, ...]) -> list[str]:
    """Names of images that do not say that they hold something else than colours."""
    return [name for name in names if not OTHER_MAPS.search(stem(name))]


# ------------------------------------------------------------------------------------------------ elsewhere


@dataclass(frozen=True)
class Elsewhere:
    """Images of one name in other folders than the mesh's; paths below the captures, `/` between.

    Attributes:
        own: those that can only be the mesh's.
        others: those that may be another's, those first whose folders are called as the mesh's are; where there is none
            of its own, such as are told alone, too.
    """

    own: list[str]
    others: list[str]


def images_elsewhere(mesh: Path, names: Iterable[str], sources: Sources) -> Elsewhere:
    """Images of a name below the mesh's folder, and around it, up to the uppermost folder of the captures that it lies
    in.

    The mesh's own can be one in a folder below the mesh's that has no meshes; one in a folder above, which has none
    either; and one in a folder of textures beside the mesh's folder, or beside one above.  Whatever lies above or
    beside has no number in its name, unless no other folder there has meshes: other sequences have frames of the same
    numbers.  Images in the capture folder itself, those in the folders beside the mesh's, and those anywhere below
    folders of textures, those of the capture folder too, are told alone, and not remembered; other folders, which are
    other people's, are not looked at; where the mesh lies in the capture folder, only its folders of textures are.

    Args:
        names: what the image's name, without folders, may read.

    Raises:
        FrameRejected: `unsafe-path`.
    """
    place = sources.inside(mesh.parent).relative_to(sources.root).parts
    top = sources.root.joinpath(*place[:1])
    wanted = [name for name in names if folded(name).endswith((*ENDINGS,))]
    folder = "/".join(place[1:])
    search = _Search(folder, place, stem(mesh.name), mesh.parent, top, sources)
    images = sorted(set(search.images(wanted)))
    own = [name for name in images if search.is_own(name)]
    others = {*images, *([] if own else search.told(wanted))}.difference(own)
    before = "".join(f"{part}/" for part in place[:1])
    above = _told_above(place[0], wanted, sources) if place and not own else []
    alike = sorted(others, key=lambda name: (-len({*place[1:]}.intersection(name.split("/"))), name))
    return Elsewhere([before + name for name in own], [before + name for name in alike] + above)


def _told_above(top: str, wanted: list[str], sources: Sources) -> list[str]:
    """Images of a name in the capture folder, and below its folders of textures, but for the mesh's uppermost one."""
    found = list(sources.names_among(sources.root, wanted, remember=False))
    for child in sources.folders(sources.root, _TEXTURE_FOLDERS, remember=False):
        if child != top:
            below = sources.names_among(sources.root / child, wanted, below=True, remember=False)
            found += [f"{child}/{name}" for name in below]
    return found


@dataclass(frozen=True)
class _Search:
    """Folders are paths below the uppermost one, '' for that itself.  No more is asked of them than an answer takes:
    what is asked is remembered, and another file there would make the frame anew.

    Attributes:
        folder: the mesh's; place: names of the folders on the way from the captures to it.
        mesh: the mesh's `stem`; parent: its folder.
        top: the uppermost folder.
    """

    folder: str
    place: tuple[str, ...]
    mesh: str
    parent: Path
    top: Path
    sources: Sources

    def images(self, wanted: list[str]) -> Iterator[str]:
        """Where images of a name lie that may be the mesh's."""
        if not self.place:
            for child in self._texture_folders(""):
                yield from self._names(child, wanted, below=True)
            return
        for name in self._names(self.folder, wanted, below=True):
            if _folder_of(name) != self.folder:
                yield name
        for above in self._above():
            yield from self._names(above, wanted)
            for child in self._texture_folders(above):
                yield from self._names(child, wanted)

    def told(self, wanted: list[str]) -> Iterator[str]:
        """Where else images of a name lie that are not taken: anywhere below the folder above the mesh's, and below
        folders of textures beside the way to it.  Nothing follows from them but a sentence."""
        for above in self._above():
            for child in self._texture_folders(above):
                yield from self._names(child, wanted, below=True, remember=False)
        if self.folder:
            beside = self._names(_folder_of(self.folder), wanted, below=True, remember=False)
            yield from (name for name in beside if _folder_of(name) != self.folder)

    def _above(self) -> Iterator[str]:
        """The folders above the mesh's, the nearest first."""
        here = self.folder
        while here:
            here = _folder_of(here)
            yield here

    def _names(self, folder: str, wanted: list[str], below: bool = False, remember: bool = True) -> list[str]:
        before = f"{folder}/" if folder else ""
        found = self.sources.names_among(self.top / folder, wanted, below, remember)
        return [before + name for name in found]

    def _texture_folders(self, folder: str) -> list[str]:
        before = f"{folder}/" if folder else ""
        return [before + name for name in self.sources.folders(self.top / folder, _TEXTURE_FOLDERS)]

    def is_own(self, image: str) -> bool:
        """Whether an image that lies in another folder can only be the mesh's."""
        folder = _folder_of(image)
        parts = [folded(part) for part in folder.split("/")]
        if any(OTHER_MAPS.search(part) for part in parts):
            return False
        if _is_below(folder, self.folder):
            inner = parts[len(self.folder.split("/")) if self.folder else 0 :]
            first = "/".join(folder.split("/")[: len(parts) - len(inner) + 1])
            if self._has_meshes(first):
                return False
            if stem(image) == self.mesh:
                return True
            name, beside = stem(image), self._beside
            if beside.begins_with_own(name) or not any(map(beside.is_anothers, inner)):
                return True
            return beside.is_own(name)
        if _is_below(self.folder, folder):
            here = self.sources.any(self.top / folder, _ALL_MESHES)
            return not here and self._is_shared(image, folder)
        above = _folder_of(folder)
        if not _is_below(self.folder, above) or not _TEXTURE_FOLDERS.search(parts[-1]):
            return False
        return not self._has_meshes(folder) and self._is_shared(image, above)

    @property
    def _beside(self) -> MeshesBeside:
        """The meshes in the mesh's folder."""
        return MeshesBeside(self.parent, self.mesh, self.sources)

    def _has_meshes(self, folder: str, apart_from: str | None = None, remember: bool = True) -> bool:
        """Whether a folder or one below it has meshes, or has more in it than is looked through."""
        return self.sources.any_below(self.top / folder, _ALL_MESHES, apart_from, remember)

    def _is_shared(self, image: str, above: str) -> bool:
        """Whether an image beside or above the mesh's folder is no other mesh's below `above`."""
        text = stem(image)
        for part in map(folded, self.place):
            text = text if part.isdigit() else text.replace(part, "")
        among_others = not re.search(r"\d", text)
        own = self.folder.removeprefix(above).removeprefix("/")
        if self._has_meshes(above, own, remember=False):
            self._has_meshes(above, own)
            return among_others
        alone = stem(image) == self.mesh or not self._beside.is_anothers(stem(image))
        if alone != among_others:  # else it makes no difference who comes
            self._has_meshes(above, own)
        return alone


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def _is_below(folder: str, above: str) -> bool:
    return folder != above and (not above or folder.startswith(f"{above}/"))

"""Where a name that a mesh or material file writes leads on this machine: the one resolver of such names.

Names come from other machines: with the folders of another disk, in another encoding, with other capitals than the
file has here.  They are compared with what is there; nothing is opened but below the capture folder, in the mesh's own
folder or one beside it, and only regular files are.  Images are also looked for by `texture_search`.
"""

from __future__ import annotations

import locale
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from glob import escape
from itertools import islice
from pathlib import Path, PureWindowsPath
from urllib.parse import quote, unquote

from mimicme.pipeline.captures.texture_search import (
    IMAGE_FILES,
    MeshesBeside,
    images_elsewhere,
    of_colors,
    stem,
)
from mimicme.pipeline.errors import FrameRejected, listed
from mimicme.pipeline.formats.image import ENDINGS
from mimicme.pipeline.sources import Sources, folded

Tile = tuple[int, int]
"""Column and row of a square of texture coordinates; (0, 0) is the one from 0 to 1."""

_ENCODINGS = (
    "utf-8", locale.getpreferredencoding(False), "gb18030", "cp1252", "cp932", "big5", "euc_kr", "cp1251",
    "mac_roman",
)  # fmt: skip
"""What the bytes of a name are tried in, where no file has the name as it was read."""

_LONGEST = 4096  # bytes of a path
_LONGEST_PART = 255
_TOLD = 80  # characters of a name in a sentence

_TOKEN = re.compile(r"<(udim|uvtile)>|%\((udim|uvtile)\)d", re.IGNORECASE)
_UDIM, _UVTILE = r"([1-9]\d{3})", r"u(\d{1,2})_v(\d{1,2})"
_NUMBERED = re.compile(r"(?<!\d)(1[0-9]\d\d)(?!\d)|(?<![a-z])(u\d{1,2}_v\d{1,2})(?!\d)", re.IGNORECASE)


@dataclass(frozen=True)
class Reference:
    """Where a name leads.

    Attributes:
        path: the file; None when none is taken.
        code: of the note on the frame; '' when it lies where the name says.
        sentence: of that note.
    """

    path: Path | None
    code: str = ""
    sentence: str = ""


class References:
    """The names that one mesh file, and the material files that belong to it, write.

    Args:
        mesh: the mesh file, below the capture folder.
        sources: the capture folder; what is looked for in it is remembered there.
    """

    def __init__(self, mesh: Path, sources: Sources) -> None:
        self._mesh, self._sources = mesh, sources
        self._folder = mesh.parent
        self._near = mesh.parent.parent

    def find(self, name: str, what: str) -> Reference:
        """The one file that a name means.

        It is looked for where the name says, then by its last part beside the mesh: as written, in other capitals, in
        other encodings, with %20 for a blank or the other way round.  An image is at last looked for in the folders
        below and above.

        Args:
            name: as `decode_name` of `formats.mesh_file` gives it; what: `image`, `material file`, `file`.
        """
        try:
            return self._found(name, what)
        except FrameRejected:  # a symbolic link that leads out of the captures
            return _outside(name, what)
        except OSError:
            return _missing(name, what)

    def _found(self, name: str, what: str) -> Reference:
        written = [_Written.of(text) for text in spellings(name)]
        outside = False
        for one in written[:1]:
            placed = None if one.absolute else self._placed(one)
            outside = placed is None and not one.absolute
            if placed and placed[1] and self._sources.exists(exact := placed[0].joinpath(*placed[1])):
                return Reference(exact)
        for one in written:
            matches = self._at(one)
            if len(matches) == 1:
                return Reference(matches[0])
            if matches:
                return _ambiguous(name, what, matches)
        for length in (1, 2):  # of its last parts
            for one in written:
                matches = self._beside(one.parts[-length:]) if len(one.parts) >= length else []
                if len(matches) == 1:
                    place = matches[0].relative_to(self._folder).as_posix()
                    said = f"The {what} '{told(name)}' was taken from the mesh's own folder: '{told(place)}'."
                    return Reference(matches[0], "texture-relocated", said)
                if matches:
                    return _ambiguous(name, what, matches)
        if outside:
            return _outside(name, what)
        return self._elsewhere(name, written) if what == "image" else _missing(name, what)

    def _elsewhere(self, name: str, written: list[_Written]) -> Reference:
        """An image that lies neither where the name says nor beside the mesh."""
        lasts = [one.parts[-1] for one in written if one.parts and one.parts[-1] != ".."]
        found = images_elsewhere(self._mesh, lasts, self._sources)
        own = [place for place in found.own if self._is_file(self._sources.root / place)]
        if len(own) == 1:
            said = f"The image '{told(name)}' was taken from another folder: '{told(own[0])}'."
            return Reference(self._sources.root / own[0], "texture-relocated", said)
        return _several(name, "image", own) if own else _missing(name, "image", found.others)

    def content(self, name: str) -> bytes:
        """What the file holds that a name means, of geometry: a buffer of a glTF file.

        Raises:
            FrameRejected: `unsafe-path`, or `missing-part`: it is not there; as `Sources.read`.
            InputError: it cannot be read.
        """
        found = self.find(name, "file")
        if found.path is not None:
            return self._sources.read(found.path)
        outside = found.code == "texture-outside"
        raise FrameRejected(
            "unsafe-path" if outside else "missing-part",
            "the mesh keeps its data in a file that " + ("lies elsewhere" if outside else "is not there"),
            where=self._mesh.name,
            seen=repr(told(name)),
            expected="a file in the mesh's own folder, or in a folder beside it",
            todo="Put the file beside the mesh.",
        )

    def images_beside(self) -> Reference:
        """The one image that must be the mesh's, though no name says so: the only one with its stem, or the only one
        of colours in its folder, where that has no other mesh, or none whose name or number is in the image's."""
        mesh = stem(self._mesh.name)
        called = (mesh + ending for ending in ENDINGS)
        own = list(self._files(self._sources.names_among(self._folder, called)))
        if len(own) > 1:
            return _ambiguous(self._mesh.stem, "image of the mesh", [Path(n) for n in own])
        if own:
            return Reference(self._folder / own[0], "texture-beside", f"'{told(own[0])}' has the mesh's name")
        colors = list(islice(self._files(of_colors(self._sources.look(self._folder, IMAGE_FILES))), 2))
        if len(colors) > 1:  # and there is none to be taken, whatever else lies there
            self._sources.names_among(self._folder, colors)
            return Reference(None)
        if colors and MeshesBeside(self._folder, mesh, self._sources).is_anothers(stem(colors[0])):
            self._sources.names_among(self._folder, colors)  # a second one would leave none to be taken, too
            return Reference(None)
        self._sources.names(self._folder, IMAGE_FILES)
        if not colors:
            return Reference(None)
        said = f"'{told(colors[0])}' is the only image in the mesh's folder"
        return Reference(self._folder / colors[0], "texture-beside", said)

    def _files(self, names: Iterable[str]) -> Iterator[str]:
        """Those of names in the mesh's folder that are files."""
        return (name for name in names if self._is_file(self._folder / name))

    # -------------------------------------------------------------------------------------------- tiles

    def tiles(self, name: str) -> dict[Tile, Path]:
        """The images of a name that stands for several: `head.<UDIM>.jpg`, `head_<UVTILE>.jpg`; nothing of others."""
        found: dict[Tile, Path] = {}
        for text in spellings(name):
            one = _Written.of(text)
            token = _TOKEN.search(one.parts[-1]) if one.parts else None
            if token is None or found:
                continue
            try:
                for folder in self._folders(one):
                    found = found or self._tiles_in(folder, one.parts[-1], token)
            except (FrameRejected, OSError):
                continue
        return found

    def sister_tiles(self, path: Path) -> dict[Tile, Path]:
        """The images of the tiles beside the one of a file named `head.1001.jpg` or `head_u1_v1.jpg`, its own too;
        nothing where the number in the name may be the frame's."""
        number = [m for m in _NUMBERED.finditer(path.name)]
        if not number or number[-1].group().lower() in self._mesh.name.lower():
            return {}
        first, last = number[-1].span()
        token = "<UDIM>" if number[-1].group(1) else "<UVTILE>"
        general = path.name[:first] + token + path.name[last:]
        match = _TOKEN.search(general, first)
        try:
            return self._tiles_in(path.parent, general, match) if match else {}
        except (FrameRejected, OSError):
            return {}

    def _folders(self, written: _Written) -> Iterator[Path]:
        """Where a file of that name is looked for: the folder it names, then the mesh's own."""
        if not written.absolute:
            folders = self._at(_Written(written.parts[:-1], False), file=False)
            yield from folders if len(folders) == 1 else []
        yield self._folder

    def _tiles_in(self, folder: Path, last: str, token: re.Match[str]) -> dict[Tile, Path]:
        before, after = folded(last[: token.start()]), folded(last[token.end() :])
        udim = (token.group(1) or token.group(2)).lower() == "udim"
        number = re.compile(re.escape(before) + (_UDIM if udim else _UVTILE) + re.escape(after))
        if not _possible(last):
            return {}
        tiles: dict[Tile, list[Path]] = {}
        for name in self._sources.names(folder, f"{escape(before)}*{escape(after)}"):
            match = number.fullmatch(folded(name))
            if match and self._is_file(folder / name):
                if udim:
                    row, column = divmod(int(match.group(1)) - 1001, 10)
                else:
                    column, row = int(match.group(1)), int(match.group(2))
                tiles.setdefault((column, row), []).append(folder / name)
        start = 0 if udim or any(0 in tile for tile in tiles) else 1
        return {
            (c - start, r - start): paths[0]
            for (c, r), paths in sorted(tiles.items())
            if len(paths) == 1 and r >= start
        }

    # -------------------------------------------------------------------------------------------- places

    def _placed(self, written: _Written) -> tuple[Path, list[str]] | None:
        """A folder that holds the place that is named, and the parts from there; None when it is too far off."""
        plain = Path(os.path.normpath(self._folder.joinpath(*written.parts)))
        for base in (self._folder, self._near):
            if plain.is_relative_to(base):
                return base, list(plain.relative_to(base).parts)
        return None

    def _at(self, written: _Written, file: bool = True) -> list[Path]:
        """What lies where the name says."""
        if written.absolute:
            plain = Path(os.path.normpath(written.text))
            near = plain.is_absolute() and plain.is_relative_to(self._near)
            return [plain] if near and self._is_file(plain) else []
        placed = self._placed(written)
        return self._walked(*placed, file) if placed else []

    def _beside(self, parts: tuple[str, ...]) -> list[Path]:
        return [] if ".." in parts else self._walked(self._folder, list(parts))

    def _walked(self, base: Path, parts: list[str], file: bool = True) -> list[Path]:
        """What is reached from a folder by names: as written, else whatever their capitals."""
        if file and not parts:
            return []
        places = [base]
        for k, part in enumerate(parts):
            fits = self._is_file if file and k == len(parts) - 1 else Path.is_dir
            places = [place for p in places for place in self._alike(p, part, fits)]
        return places

    def _alike(self, folder: Path, name: str, fits: Callable[[Path], bool]) -> list[Path]:
        """What a folder has under a name: as written, else whatever its capitals."""
        wanted = folded(name)
        places = [folder / n for n in self._sources.names_among(folder, [wanted]) if fits(folder / n)]
        return [folder / name] if folder / name in places else places

    def _is_file(self, path: Path) -> bool:
        """Whether a file is there, below the captures."""
        try:
            return self._sources.exists(path)
        except (FrameRejected, OSError):
            return False


@dataclass(frozen=True)
class _Written:
    """A name taken apart: its parts, and whether it begins at a root, a drive, or a server; `text`: all of it."""

    parts: tuple[str, ...]
    absolute: bool
    text: str = ""

    @classmethod
    def of(cls, text: str) -> _Written:
        scheme = re.match(r"(?i)([a-z][a-z0-9+.-]+):/+", text)
        if scheme and scheme.group(1).lower() == "file":
            text = "/" + text[scheme.end() :]
        drive = PureWindowsPath(text).drive
        rest = text[len(drive) :] if drive.startswith(("\\", "/")) or drive == text[:2] else text
        absolute = bool(drive or scheme) or text.startswith(("/", "\\"))
        parts = tuple(part for part in re.split(r"[/\\]", rest) if part not in ("", "."))
        return cls(parts, absolute, text)


def spellings(name: str) -> list[str]:
    """What a name may read, likeliest first: as it is, its bytes in other encodings, and each of these with and
    without URL escapes.  Those that no file can have are left out."""
    if len(name) > _LONGEST:
        return []
    texts = [name]
    for lost in (("utf-8", "surrogateescape"), ("latin-1", "strict")):
        try:
            raw = name.encode(*lost)
        except UnicodeEncodeError:
            continue
        for encoding in _ENCODINGS:
            try:
                texts.append(raw.decode(encoding))
            except (UnicodeDecodeError, LookupError):
                continue
        texts.append(os.fsdecode(raw))
    texts += [unquote(text, errors="surrogateescape") for text in texts if "%" in text]
    possible = [text for text in dict.fromkeys(texts) if _possible(text)]
    escaped = [quote(text, safe="/\\:", errors="surrogateescape") for text in possible[:1]]
    return list(dict.fromkeys([*possible, *filter(_possible, escaped)]))


def _possible(text: str) -> bool:
    """Whether a file can be called so."""
    try:
        raw = os.fsencode(text)
    except UnicodeEncodeError:
        return False
    longest = max(map(len, re.split(rb"[/\\]", raw)))
    return b"\0" not in raw and len(raw) <= _LONGEST and longest <= _LONGEST_PART


def told(name: str) -> str:
    """A name as a sentence has it: of printable characters, and short."""
    plain = "".join(c if c.isprintable() else "?" for c in name.encode("utf-8", "replace").decode())
    half = _TOLD // 2 - 2
    return plain if len(plain) <= _TOLD else f"{plain[:half]}...{plain[-half:]}"


def _outside(name: str, what: str) -> Reference:
    said = f"The {what} '{told(name)}' lies elsewhere than beside the mesh; it was not read: copy it beside the mesh."
    return Reference(None, "texture-outside", said)


def _missing(name: str, what: str, others: list[str] | None = None) -> Reference:
    """`others`: files of that name that may be another mesh's."""
    where = "is not on the disk"
    if others:
        places = listed((f"'{told(place)}'" for place in others), 2)
        where = f"is not beside the mesh (of that name, and perhaps another mesh's: {places})"
    said = f"The {what} '{told(name)}' {where}; copy the mesh's own {what} beside it."
    return Reference(None, "texture-missing", said)


def _ambiguous(name: str, what: str, matches: list[Path]) -> Reference:
    return _several(name, what, [path.name for path in matches])


def _several(name: str, what: str, places: list[str]) -> Reference:
    names = listed(f"'{told(place)}'" for place in places)
    said = f"The {what} '{told(name)}' may be any of {names}; none was taken: keep one, or name it as it is."
    return Reference(None, "texture-ambiguous", said)

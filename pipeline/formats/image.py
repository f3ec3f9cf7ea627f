"""Images in and out: JPEG, PNG, BMP, TIFF, TGA and WebP as (h, w, 3) uint8 RGB arrays.

Row 0 is the top row as stored.  An orientation, in EXIF data or as a tag of TIFF, is ignored throughout: texture
coordinates refer to the pixels as they lie in the file, and a viewer's idea of "up" must not turn the texture under its
mesh.  Colour
profiles are ignored likewise.  The size in the header is checked before a pixel is decoded, against the caller's
limit (Pillow's own, a number for the whole process, is set aside meanwhile) and, of PNG and JPEG, against what so many
bytes can hold.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.errors import FrameRejected, InputError, MissingDependencyError, raise_if_memory

Pixels = NDArray[np.uint8]

# 128 million pixels decode to 0.4 GB; the largest scanner textures today have 33 million (8192 x 4096).
MAX_PIXELS = 128_000_000
MAX_SIDE = 65_535
LARGEST_PIXELS = MAX_SIDE**2  # no limit can be set above this
_ORIENTATION = 0x0112
"""Tag of EXIF: 1 as stored, 2 to 8 turned or mirrored."""
_BAND_PIXELS = 1 << 22
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By the kind of colour in a PNG's header."""
_DEFLATE_RATIO, _JPEG_PIXELS_A_BYTE = 1032, 512
"""What a byte of DEFLATE can become at most; and JPEG spends a bit at least on each block of 64 pixels."""
RUN_LENGTHS = 3
"""zlib's Z_RLE."""
# of 16-bit PNG: on displacements 9 saves 4 % over 3 and takes eight times as long
DEEP_COMPRESSION = 3
FORMATS = ("jpeg", "png", "bmp", "tiff", "webp", "tga")
ENDINGS = {
    ".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".bmp": "bmp", ".tif": "tiff", ".tiff": "tiff",
    ".webp": "webp", ".tga": "tga",
}  # fmt: skip


class ImageFileError(FrameRejected, InputError):
    """An image cannot be used; `reason` is `image-unreadable`, `image-truncated` or `image-too-large`."""


@dataclass(frozen=True)
class ImageInfo:
    """What an image's header says: format (one of `FORMATS`), width_px, height_px as stored; turned: its EXIF data, or
    a tag of TIFF, ask to show it otherwise than it is stored."""

    format: str
    width_px: int
    height_px: int
    turned: bool = False

    @property
    def pixels(self) -> int:
        return self.width_px * self.height_px


def sniff(data: bytes) -> str | None:
    """The format by its first bytes, one of `FORMATS`; None when it is none of them."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):  # + of a BigTIFF
        return "tiff"
    if data[:2] == b"BM":
        return "bmp"
    return "tga" if _like_tga(data) else None


def _like_tga(data: bytes) -> bool:
    """TGA has no first bytes of its own: whether all that its header can say is said."""
    if len(data) < 18 or data[1] > 1 or data[2] not in (1, 2, 3, 9, 10, 11):
        return False
    if data[2] in (1, 9) and not data[1]:  # of a palette, without one
        return False
    empty = data[12:14] == b"\0\0" or data[14:16] == b"\0\0"
    return not empty and data[16] in (1, 8, 15, 16, 24, 32) and not data[17] & 0xC0


def info(
    data: bytes, name: str = "image", max_pixels: int = MAX_PIXELS, formats: Sequence[str] = FORMATS
) -> ImageInfo:
    """Format and size from the header; nothing is decoded.

    Args:
        formats: those that are read.

    Raises:
        ImageFileError: unknown format, unreadable header, more than `max_pixels`, or than so many bytes can hold.
    """
    with _opened(data, name, max_pixels, formats) as image:
        return ImageInfo(str(sniff(data)), *_stored_size(image), _turned(image))


def decode(
    data: bytes,
    max_pixels: int = MAX_PIXELS,
    name: str = "image",
    formats: Sequence[str] = FORMATS,
    coarser: int = 1,
) -> Pixels:
    """An encoded image as (h, w, 3) uint8 RGB.

    Grey, palette, CMYK and 16-bit images are converted (16 bit by dropping the lower byte); transparency is
    dropped; of several pages or pictures in motion the first is read.  At its peak it takes 8 bytes a pixel, 16 for
    WebP and progressive JPEG.

    Args:
        formats: those that are read.
        coarser: a JPEG is decoded with up to so many times fewer pixels each way, a half, a fourth or an eighth, which
            takes a fourth of the time; what has other formats is not.

    Raises:
        ImageFileError: unknown format, damaged or incomplete data, or more than `max_pixels`.
    """
    return _pixels(data, max_pixels, name, "RGB", formats, coarser)


def decode_gray(
    data: bytes, max_pixels: int = MAX_PIXELS, name: str = "image", formats: Sequence[str] = FORMATS
) -> Pixels:
    """An encoded image (a coverage mask) as (h, w) uint8; raises as `decode`."""
    return _pixels(data, max_pixels, name, "L", formats)


def decode_alpha(data: bytes, max_pixels: int = MAX_PIXELS, name: str = "image") -> Pixels | None:
    """How opaque an encoded image is, (h, w) uint8, 255 where it hides what lies behind; None where it has no
    transparency, or one of 16 bits.  Raises as `decode`, which drops it, and takes as much memory."""
    with _opened(data, name, max_pixels) as image:
        if not image.has_transparency_data or image.mode.startswith(("I", "F")):
            return None
    return _pixels(data, max_pixels, name, "A", FORMATS)


def encode(pixels: Pixels, format: str = "png", quality: int = 95, compression: int | None = None) -> bytes:
    """Encode (h, w, 3) or (h, w) uint8; the same pixels give the same bytes.

    Args:
        pixels: RGB or grey.
        format: `png` and `bmp` (lossless), `jpeg` (no chroma subsampling), `webp`; or `webp-lossless`.
        quality: 1 to 100, for `jpeg` and `webp`.
        compression: 0 (fast) to 9 (small), for `png`; None: run lengths and Huffman codes alone, which on textures
            take a quarter of the time of 6 and no more room.

    Raises:
        InputError: the array or the format is not one of these.
    """
    from PIL import Image

    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise InputError(
            "an image to encode is (h, w, 3) or (h, w) uint8", seen=f"{pixels.shape} {pixels.dtype}"
        )
    options: dict[str, dict[str, Any]] = {
        "png": {"compress_type": RUN_LENGTHS} if compression is None else {"compress_level": compression},
        "bmp": {},
        "jpeg": {"quality": quality, "subsampling": 0},
        "webp": {"quality": quality, "method": 4},
        "webp-lossless": {"lossless": True, "quality": 75, "method": 4, "exact": True},
    }
    kind = "jpeg" if format == "jpg" else format
    if kind not in options:
        raise InputError("an image format is not known", seen=repr(format), expected=", ".join(options))
    if not 1 <= quality <= 100:
        raise InputError("image quality is out of range", seen=quality, expected="1 to 100")
    target = io.BytesIO()
    try:
        Image.fromarray(np.ascontiguousarray(pixels)).save(
            target, format=kind.partition("-")[0], **options[kind]
        )
    except (OSError, ValueError) as error:
        raise InputError("the image cannot be encoded", seen=f"{pixels.shape} as {kind}: {error}") from error
    return target.getvalue()


def encode_deep(numbers: NDArray[np.uint16]) -> bytes:
    """Encode (h, w, 3) or (h, w) uint16 as a 16-bit PNG; the same numbers give the same bytes.

    Raises:
        InputError: the array is not one of these.
    """

    numbers = np.asarray(numbers)
    if numbers.dtype != np.uint16 or not (numbers.ndim == 2 or (numbers.ndim == 3 and numbers.shape[2] == 3)):
        raise InputError(
            "a 16-bit image to encode is (h, w, 3) or (h, w) uint16", seen=f"{numbers.shape} {numbers.dtype}"
        )
    if numbers.ndim == 3:
        numbers = numbers[..., ::-1]
    cv2 = opencv()
    done, data = cv2.imencode(
        ".png", np.ascontiguousarray(numbers), [cv2.IMWRITE_PNG_COMPRESSION, DEEP_COMPRESSION]
    )
    if not done:
        raise InputError("the image cannot be encoded", seen=f"{numbers.shape} as 16-bit png")
    return bytes(data.tobytes())


def decode_deep(data: bytes, max_pixels: int = MAX_PIXELS, name: str = "image") -> NDArray[np.uint16]:
    """A 16-bit PNG as (h, w, 3) RGB or (h, w) uint16.

    Raises:
        ImageFileError: no PNG, not of 16 bits and one or three channels, damaged, or more than `max_pixels`.
    """

    found = info(data, name, max_pixels)
    cv2 = opencv()
    numbers = None
    if found.format == "png":
        try:
            numbers = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            numbers = None
    if numbers is None or numbers.dtype != np.uint16 or numbers.shape[2:] not in ((), (3,)):
        raise ImageFileError(
            "image-unreadable",
            "this is no whole 16-bit PNG of one or three channels",
            where=name,
            seen=found.format if numbers is None else f"{numbers.shape} {numbers.dtype}",
            todo="Copy it again.",
        )
    return np.ascontiguousarray(numbers[..., ::-1] if numbers.ndim == 3 else numbers)


def _turned(image: Any) -> bool:
    """Whether the EXIF data of an opened image ask to turn or mirror it: those that lie before its pixels, and can be
    read."""
    try:
        with _pillow_unlimited():  # it warns of what is damaged
            return _exif(image).get(_ORIENTATION, 1) in range(2, 9)
    except MemoryError:
        raise
    except Exception:  # they are of any program's making, and not needed
        return False


def _exif(image: Any) -> Any:
    """The EXIF data of an opened image, without decoding it: a PNG's own `getexif` looks behind its pixels, too."""
    from PIL import Image

    return Image.Image.getexif(image)


def _stored_size(image: Any) -> tuple[int, int]:
    """Width and height, px, of an opened image as stored; of a TIFF to be turned Pillow says them the other way
    round."""
    from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH

    if image.format != "TIFF":
        return image.width, image.height
    return image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]


def _opened(data: bytes, name: str, max_pixels: int, formats: Sequence[str] = FORMATS) -> Any:
    """A lazily opened Pillow image whose header has been checked."""
    from PIL import Image, UnidentifiedImageError

    kind = sniff(data)
    if not data.strip(b"\0"):
        raise ImageFileError(
            "image-unreadable",
            "the image file holds bytes of value 0 alone: it was not written"
            if data
            else "the image file is empty",
            where=name,
            todo="Copy or export the texture again; the disk may have been full.",
        )
    if kind not in formats:
        raise ImageFileError(
            "image-unreadable",
            "this is no image of a known format",
            where=name,
            expected=", ".join(formats),
            todo="Export the texture again, as JPEG or PNG.",
        )
    try:
        with _pillow_unlimited():
            image = Image.open(io.BytesIO(data), formats=[one.upper() for one in formats])
    except MemoryError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, OverflowError) as error:
        seen = str(error).splitlines()[0] if str(error) else type(error).__name__
        ends = "truncated" in seen.lower() or isinstance(error, EOFError)
        raise ImageFileError(
            "image-unreadable",
            "the image file ends within its header" if ends else "the header of the image cannot be read",
            where=name,
            seen=f"{len(data):,} bytes" if ends else seen,
            todo="Copy or export the texture again." if ends else "Export the texture again, as JPEG or PNG.",
        ) from error
    width, height = _stored_size(image)
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        size = f"{width} x {height}"
        image.close()
        raise ImageFileError(
            "image-too-large",
            "the image has more pixels than a texture can have; it was not decoded",
            where=name,
            seen=size,
            expected=f"at most {max_pixels:,} pixels and {MAX_SIDE:,} a side",
            todo="Reduce the texture.",
        )
    if not _can_hold(data, kind, width, height):
        size = f"{width} x {height} in {len(data):,} bytes"
        image.close()
        raise ImageFileError(
            "image-truncated",
            "the image says that it has more pixels than so many bytes can hold",
            where=name,
            seen=size,
            todo="Copy or export the texture again.",
        )
    return image


def _can_hold(data: bytes, kind: str | None, width: int, height: int) -> bool:
    """Whether so many bytes can be a picture of that size; of what packs without a limit nothing is said."""
    if kind == "png":
        bits = data[24] * _PNG_CHANNELS.get(data[25], 1) if data[12:16] == b"IHDR" else 1
        return width * height * bits <= 8 * _DEFLATE_RATIO * len(data)
    return kind != "jpeg" or width * height <= _JPEG_PIXELS_A_BYTE * len(data)


_unlimited = threading.Lock()
_users: list[tuple[Any, bool]] = []  # what stood there before, of each that is at work


@contextmanager
def _pillow_unlimited() -> Iterator[None]:
    """Pillow without a limit or warning of its own for large images, and strict with incomplete ones."""
    from PIL import Image, ImageFile

    with _unlimited:
        _users.append((Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES))
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        with _unlimited:
            before = _users.pop()  # of the last of them, what stood there at first
            if not _users:
                Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def _pixels(
    data: bytes, max_pixels: int, name: str, mode: str, formats: Sequence[str], coarser: int = 1
) -> Pixels:
    image = _opened(data, name, max_pixels, formats)
    try:
        with _pillow_unlimited(), image:
            width, height = _stored_size(image)
            if image.format == "TIFF":  # which alone Pillow turns when it loads it, by what stands here
                _exif(image)[_ORIENTATION] = 1
            if coarser > 1 and image.draft(image.mode, (max(width // coarser, 1), max(height // coarser, 1))):
                width, height = image.size
            image.load()
            if image.mode in ("LAB", "HSV"):
                raise ValueError(f"{image.mode} colours are not read, save it as RGB")
            shape = (height, width, 3) if mode == "RGB" else (height, width)
            out = np.empty(shape, np.uint8)
            rows = max(1, _BAND_PIXELS // width)
            # by bands alone: of a TIFF to be turned the image's own size is that of the turned one
            bands = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
            scale = 1.0
            if image.mode == "F":  # those up to 1 are shares
                most = max(np.nan_to_num(np.asarray(image.crop(band))).max() for band in bands)
                scale = 1.0 if most > 1 else 255.0
            for band in bands:
                out[band[1] : band[3]] = _eight_bits(image.crop(band), mode, scale)
            return out
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever damaged data makes them trip over
        ends = "truncated" in str(error).lower()
        raise ImageFileError(
            "image-truncated" if ends else "image-unreadable",
            "the image file ends before its last pixel"
            if ends
            else "the image is damaged, incomplete, or of a kind that is not read",
            where=name,
            seen=str(error).splitlines()[0] if str(error) else type(error).__name__,
            todo="Copy or export the texture again.",
        ) from error


_ON_THE_WAY = {"P": "RGBA", "PA": "RGBA", "RGBa": "RGBA", "La": "LA"}
"""Modes that Pillow makes grey or RGB of by way of another: palettes, and colours multiplied by their alpha."""


def _eight_bits(band: Any, mode: str, scale: float) -> Pixels:
    """A band of an image as uint8, of mode `L` or `RGB`; `A`: how opaque it is."""
    if mode == "A":
        return np.asarray(band.convert("RGBA").getchannel("A"), np.uint8)
    if band.mode.startswith(("I", "F")):
        deep = np.asarray(band)
        deep = np.nan_to_num(deep) * scale if band.mode == "F" else deep.astype(np.int64) >> 8
        gray = np.clip(deep, 0, 255).astype(np.uint8)
        return gray if mode == "L" else np.repeat(gray[:, :, None], 3, axis=2)
    if band.mode in _ON_THE_WAY and not (band.mode == "P" and mode == "L"):
        band = band.convert(_ON_THE_WAY[band.mode])
    return np.asarray(band if band.mode == mode else band.convert(mode), np.uint8)


def opencv(user: str = "this") -> Any:
    """The cv2 module, imported when first needed, with one thread: a worker owns one core.

    Args:
        user: what needs it, for the message.

    Raises:
        MissingDependencyError: it is not installed, or cannot be loaded.
    """
    try:
        import cv2
    except (ImportError, OSError) as error:
        raise_if_memory(error)
        raise MissingDependencyError(
            f"{user} needs OpenCV, which cannot be loaded ({error})",
            todo="Run `make install`, or `pip install opencv-python-headless`; `mimicme doctor` says what is there.",
        ) from error
    cv2.setNumThreads(1)
    return cv2

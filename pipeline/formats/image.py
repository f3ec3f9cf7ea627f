"""Images in and out: JPEG, PNG, BMP, TIFF and WebP as (h, w, 3) uint8 RGB arrays.

Row 0 is the top row as stored.  EXIF orientation is ignored throughout: texture coordinates refer to the
pixels as they lie in the file, and a viewer's idea of "up" must not turn the texture under its mesh.  Colour
profiles are ignored likewise.  The size in the header is checked before a pixel is decoded.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.errors import FrameRejected, InputError, MissingDependencyError

Pixels = NDArray[np.uint8]

# 128 million pixels decode to 0.4 GB; the largest scanner textures today have 33 million (8192 x 4096).
MAX_PIXELS = 128_000_000
MAX_SIDE = 65_535
LARGEST_PIXELS = 178_956_970  # no limit can be set above this: Pillow opens nothing larger
# of 16-bit PNG: on displacements 9 saves 4 % over 3 and takes eight times as long
DEEP_COMPRESSION = 3
FORMATS = ("jpeg", "png", "bmp", "tiff", "webp")
ENDINGS = {
    ".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".bmp": "bmp", ".tif": "tiff", ".tiff": "tiff",
    ".webp": "webp",
}  # fmt: skip


class ImageFileError(FrameRejected, InputError):
    """An image cannot be used; `reason` is `image-unreadable`, `image-truncated` or `image-too-large`."""


@dataclass(frozen=True)
class ImageInfo:
    """What an image's header says: format (one of `FORMATS`), width_px, height_px."""

    format: str
    width_px: int
    height_px: int


def sniff(data: bytes) -> str | None:
    """The format by its first bytes, one of `FORMATS`; None when it is none of them."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "tiff"
    if data[:2] == b"BM":
        return "bmp"
    return None


def info(data: bytes, name: str = "image", max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Format and size from the header; nothing is decoded.

    Raises:
        ImageFileError: unknown format, unreadable header, or more than `max_pixels`.
    """
    with _opened(data, name, max_pixels) as image:
        return ImageInfo(str(image.format).lower(), image.width, image.height)


def decode(data: bytes, max_pixels: int = MAX_PIXELS, name: str = "image") -> Pixels:
    """An encoded image as (h, w, 3) uint8 RGB.

    Grey, palette, CMYK and 16-bit images are converted (16 bit by dropping the lower byte); transparency is
    dropped; of a TIFF with several pages the first is read.

    Raises:
        ImageFileError: unknown format, damaged or incomplete data, or more than `max_pixels`.
    """
    return _pixels(data, max_pixels, name, "RGB")


def decode_gray(data: bytes, max_pixels: int = MAX_PIXELS, name: str = "image") -> Pixels:
    """An encoded image (a coverage mask) as (h, w) uint8; raises as `decode`."""
    return _pixels(data, max_pixels, name, "L")


def encode(pixels: Pixels, format: str = "png", quality: int = 95, compression: int = 6) -> bytes:
    """Encode (h, w, 3) or (h, w) uint8; the same pixels give the same bytes.

    Args:
        pixels: RGB or grey.
        format: `png` and `bmp` (lossless), `jpeg` (no chroma subsampling), `webp`; or `webp-lossless`.
        quality: 1 to 100, for `jpeg` and `webp`.
        compression: 0 (fast) to 9 (small), for `png`.

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
        "png": {"compress_level": compression},
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


def _opened(data: bytes, name: str, max_pixels: int) -> Any:
    """A lazily opened Pillow image whose header has been checked."""
    from PIL import Image, UnidentifiedImageError

    if sniff(data) is None:
        raise ImageFileError(
            "image-unreadable",
            "this is no image of a known format" if data else "the image file is empty",
            where=name,
            expected=", ".join(FORMATS),
            todo="Export the texture again, as JPEG or PNG.",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images; the check below decides
            image = Image.open(io.BytesIO(data), formats=[kind.upper() for kind in FORMATS])
    except Image.DecompressionBombError as error:
        raise _too_large(name, str(error), max_pixels) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, OverflowError) as error:
        raise ImageFileError(
            "image-unreadable",
            "the header of the image cannot be read",
            where=name,
            seen=str(error).splitlines()[0] if str(error) else type(error).__name__,
            todo="Export the texture again, as JPEG or PNG.",
        ) from error
    if image.width * image.height > max_pixels or max(image.size) > MAX_SIDE:
        size = f"{image.width} x {image.height}"
        image.close()
        raise _too_large(name, size, max_pixels)
    return image


def _too_large(name: str, seen: str, max_pixels: int) -> ImageFileError:
    return ImageFileError(
        "image-too-large",
        "the image has more pixels than a texture can have; it was not decoded",
        where=name,
        seen=seen,
        expected=f"at most {max_pixels:,} pixels",
        todo="Reduce the texture.",
    )


def _pixels(data: bytes, max_pixels: int, name: str, mode: str) -> Pixels:
    image = _opened(data, name, max_pixels)
    try:
        with image, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if image.mode.startswith(("I", "F")):
                deep = np.asarray(image)
                if image.mode == "F":
                    deep = np.nan_to_num(deep) * (255 if float(np.nan_to_num(deep).max()) <= 1 else 1)
                else:
                    deep = deep.astype(np.int64) >> 8
                gray = np.clip(deep, 0, 255).astype(np.uint8)
                return gray if mode == "L" else np.repeat(gray[:, :, None], 3, axis=2)
            if image.mode == "P" and mode == "RGB":
                image = image.convert("RGBA")
            return np.array(image.convert(mode), np.uint8)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever damaged data makes them trip over
        raise ImageFileError(
            "image-truncated" if "truncated" in str(error).lower() else "image-unreadable",
            "the image is damaged or incomplete",
            where=name,
            seen=str(error).splitlines()[0] if str(error) else type(error).__name__,
            todo="Copy or export the texture again.",
        ) from error


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
        raise MissingDependencyError(
            f"{user} needs OpenCV, which cannot be loaded ({error})",
            todo="Run `make install`, or `pip install opencv-python-headless`; `mimicme doctor` says what is there.",
        ) from error
    cv2.setNumThreads(1)
    return cv2

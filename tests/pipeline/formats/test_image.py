"""Images: decoded alike whatever they come in, refused before memory is taken."""

from __future__ import annotations

import io
import struct
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from mimicme.pipeline.errors import InputError, MissingDependencyError
from mimicme.pipeline.formats import image


@pytest.fixture
def pixels() -> np.ndarray:
    y, x = np.mgrid[:24, :40]
    return np.stack([x * 6, y * 10, 255 - x * 6], axis=2).astype(np.uint8)


def saved(pixels: np.ndarray, kind: str, **options) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, format=kind, **options)
    return target.getvalue()


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "tga"])
def test_lossless_formats_decode_exactly(pixels: np.ndarray, kind: str) -> None:
    data = saved(pixels, kind)
    assert image.sniff(data) == kind
    assert (image.decode(data) == pixels).all()
    assert image.info(data) == image.ImageInfo(kind, 40, 24)


@pytest.mark.parametrize(("kind", "limit"), [("jpeg", 4), ("webp", 8)])
def test_lossy_formats_decode_nearly(pixels: np.ndarray, kind: str, limit: float) -> None:
    data = image.encode(pixels, kind, quality=95)
    assert image.sniff(data) == kind
    assert 0 < np.abs(image.decode(data).astype(int) - pixels).mean() < limit


@pytest.mark.parametrize(("coarser", "by"), [(1, 1), (2, 2), (3, 2), (4, 4), (7, 4), (8, 8), (100, 8)])
def test_a_jpeg_is_decoded_coarser_where_that_will_do(coarser: int, by: int) -> None:
    """The nearest that it can be without being too coarse; the mean of what a pixel stands for."""
    y, x = np.mgrid[:96, :160]
    fine = np.stack([x * 1.5, y * 2.5, 255 - x * 1.5], axis=2).astype(np.uint8)
    found = image.decode(saved(fine, "jpeg", quality=95), coarser=coarser)
    means = fine.reshape(96 // by, by, 160 // by, by, 3).mean(axis=(1, 3))
    assert found.shape == means.shape
    assert np.abs(found - means).max() < 8
    assert (image.decode(saved(fine, "png"), coarser=coarser) == fine).all()
    with pytest.raises(image.ImageFileError, match="ends before its last pixel"):
        image.decode(saved(fine, "jpeg", quality=95)[:-700], coarser=coarser)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "webp-lossless", "bmp"])
def test_encoding_is_deterministic(pixels: np.ndarray, kind: str) -> None:
    assert image.encode(pixels, kind) == image.encode(pixels.copy(), kind)
    if kind in ("png", "webp-lossless", "bmp"):
        assert (image.decode(image.encode(pixels, kind)) == pixels).all()


def test_masks_and_grey(pixels: np.ndarray) -> None:
    mask = pixels[:, :, 0]
    assert (image.decode_gray(image.encode(mask)) == mask).all()
    assert (image.decode(image.encode(mask)) == mask[:, :, None]).all()


ORIENTED = [
    *(("jpeg", 1), ("jpeg", 6), ("jpeg", 99), ("png", 3), ("webp", 8)),
    *(("tiff", orientation) for orientation in range(1, 9)),
]


def oriented(pixels: np.ndarray, kind: str, orientation: int, **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(pixels, kind, exif=exif.tobytes(), **options)


@pytest.mark.parametrize(("kind", "orientation"), ORIENTED)
def test_exif_that_asks_to_turn_an_image_is_told_and_turns_nothing(kind: str, orientation: int) -> None:
    quarter = np.zeros((8, 16, 3), np.uint8)
    quarter[:4, :8] = 255
    data = oriented(quarter, kind, orientation)
    info = image.info(data)
    assert (info.width_px, info.height_px, info.turned) == (16, 8, 2 <= orientation <= 8)
    for decoded in (image.decode(data), image.decode_gray(data)):
        assert decoded.shape[:2] == (8, 16)
        assert decoded[:3, :7].min() > 200 and decoded[5:].max() < 50 and decoded[:, 9:].max() < 50


@pytest.mark.parametrize(
    "options", [{"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"big_tiff": True}]
)
@pytest.mark.parametrize("deep", [False, True])
def test_tiff_of_every_kind_is_taken_as_it_is_stored(options: dict, deep: bool) -> None:
    half = np.zeros((8, 16), np.uint8)
    half[:, :8] = 255
    if deep:
        half = half.astype(np.float32) / 255
        options = {name: value for name, value in options.items() if value != "jpeg"}
    data = oriented(half, "tiff", 6, **options)
    assert image.info(data) == image.ImageInfo("tiff", 16, 8, True)
    decoded = image.decode(data)
    assert decoded.shape == (8, 16, 3) and decoded[:, :7].min() > 200 and decoded[:, 9:].max() < 50


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "tiff", "webp", "tga"])
@pytest.mark.parametrize("orientation", [None, 6])
def test_a_header_is_read_without_decoding_anything(
    pixels: np.ndarray, kind: str, orientation: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(pixels, kind) if orientation is None else oriented(pixels, kind, orientation)
    loaded = []
    with Image.open(io.BytesIO(data)) as opened:
        monkeypatch.setattr(type(opened), "load", lambda self: loaded.append(self))
    info = image.info(data)
    assert (info.width_px, info.height_px) == (40, 24) and not loaded
    with pytest.raises(image.ImageFileError):
        image.info(data, max_pixels=100)
    assert not loaded


def test_exif_that_the_memory_does_not_suffice_for_is_no_exif_that_cannot_be_read(
    pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = oriented(pixels, "jpeg", 6)

    def fails(error: type[Exception]) -> None:
        def getexif(self: Image.Image) -> Image.Exif:
            raise error

        monkeypatch.setattr(Image.Image, "getexif", getexif)

    fails(ValueError)
    assert not image.info(data).turned
    fails(MemoryError)
    with pytest.raises(MemoryError):
        image.info(data)


def test_sixteen_bit_is_scaled_not_clipped() -> None:
    deep = np.array([[0, 256, 32768, 65535]], np.uint16)
    assert image.decode(saved(deep, "png"))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("png", "RGBA"), ("png", "LA"), ("png", "PA"), ("webp", "RGBA"), ("tiff", "RGBA"), ("tga", "RGBA")],
)
def test_how_opaque_an_image_is(pixels: np.ndarray, kind: str, mode: str) -> None:
    opaque = np.tile(np.arange(40, dtype=np.uint8), (24, 1)) * 6
    if mode == "PA":  # of a palette one colour is transparent
        picture = Image.fromarray(np.where(opaque > 99, 1, 0).astype(np.uint8), "P")
        picture.putpalette([0, 0, 0, 255, 0, 0])
        opaque = np.where(opaque > 99, 255, 0)
        options = {"transparency": 0}
    else:
        picture = Image.fromarray(np.dstack([pixels, opaque])).convert(mode)
        options = {"lossless": True} if kind == "webp" else {}
    target = io.BytesIO()
    picture.save(target, kind, **options)
    np.testing.assert_array_equal(image.decode_alpha(target.getvalue()), opaque)


def test_what_has_no_transparency(pixels: np.ndarray) -> None:
    for kind in ("png", "jpeg", "webp", "bmp"):
        assert image.decode_alpha(saved(pixels, kind)) is None
    target = io.BytesIO()  # of 16 bits one grey may be said to be transparent
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 256).save(target, "png", transparency=0)
    assert image.decode_alpha(target.getvalue()) is None
    with pytest.raises(image.ImageFileError):
        image.decode_alpha(saved(np.dstack([pixels, pixels[..., :1]]), "png")[:-40])


def test_transparency_and_palette(pixels: np.ndarray) -> None:
    clear = np.concatenate([pixels, np.zeros((24, 40, 1), np.uint8)], axis=2)
    assert (image.decode(saved(clear, "png")) == pixels).all()
    target = io.BytesIO()
    Image.fromarray(pixels).quantize(8).save(target, format="png")
    assert image.decode(target.getvalue()).shape == (24, 40, 3)


def test_exif_orientation_does_not_turn_the_texture(pixels: np.ndarray) -> None:
    turned = oriented(pixels, "jpeg", 6, quality=95, subsampling=0)
    assert (image.decode(turned) == image.decode(saved(pixels, "jpeg", quality=95, subsampling=0))).all()


def png_bomb(side: int) -> bytes:
    """A small PNG that says it is side x side."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 9999))
        + chunk(b"IEND", b"")
    )


def test_every_kind_of_pixel_is_right(pixels: np.ndarray) -> None:
    rgb = Image.fromarray(pixels)
    grey = np.repeat(np.asarray(rgb.convert("L"))[..., None], 3, axis=2)
    palette = rgb.quantize(64)
    inked = rgb.convert("CMYK")
    share = Image.fromarray((pixels[..., 0] / 255).astype(np.float32))
    deep = (pixels.astype(np.uint16) << 8) | 77
    red = np.repeat(pixels[..., :1], 3, axis=2)
    cases = [
        ("png", rgb.convert("RGBA"), {}, pixels),
        ("png", rgb.convert("LA"), {}, grey),
        ("png", rgb.convert("1"), {}, np.asarray(rgb.convert("1").convert("RGB"))),
        ("png", palette, {"transparency": 3}, np.asarray(palette.convert("RGB"))),
        ("bmp", palette, {}, np.asarray(palette.convert("RGB"))),
        ("tga", palette, {}, np.asarray(palette.convert("RGB"))),
        ("tga", rgb.convert("RGBA"), {"compression": "tga_rle"}, pixels),
        ("tga", rgb.convert("L"), {"orientation": -1}, grey),
        ("tiff", inked, {}, np.asarray(inked.convert("RGB"))),
        ("tiff", rgb, {"compression": "tiff_lzw"}, pixels),
        ("tiff", rgb, {"big_tiff": True}, pixels),
        ("tiff", share, {}, red),
        ("webp", rgb.convert("RGBA"), {"lossless": True}, pixels),
    ]
    for kind, picture, options, expected in cases:
        target = io.BytesIO()
        picture.save(target, format=kind, **options)
        assert image.info(target.getvalue()) == image.ImageInfo(kind, 40, 24)
        np.testing.assert_array_equal(image.decode(target.getvalue()), expected, f"{kind} {picture.mode}")
    for kind in (".png", ".tiff"):
        for channels, expected in ((deep[..., 0], red), (deep[..., ::-1], pixels)):
            done, data = image.opencv().imencode(kind, np.ascontiguousarray(channels))
            assert done
            np.testing.assert_array_equal(image.decode(data.tobytes()), expected, kind)


@pytest.mark.parametrize("options", [{"progressive": True}, {"quality": 90}])
def test_jpegs_of_a_printer_and_progressive_ones(pixels: np.ndarray, options: dict[str, object]) -> None:
    for mode in ("RGB", "CMYK", "L"):
        target = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(target, format="jpeg", subsampling=0, **options)
        expected = np.asarray(Image.fromarray(pixels).convert(mode).convert("RGB")).astype(int)
        assert np.abs(image.decode(target.getvalue()) - expected).mean() < 4


def test_colours_that_are_not_read_are_said() -> None:
    target = io.BytesIO()
    Image.new("LAB", (4, 4)).save(target, format="tiff")
    with pytest.raises(image.ImageFileError, match="LAB colours are not read"):
        image.decode(target.getvalue())


@pytest.mark.filterwarnings("error")
def test_pillow_says_nothing_of_sizes_and_keeps_its_own_settings(
    pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(pixels, "png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert image.info(data).pixels == 960
    assert (image.decode(data) == pixels).all()
    with pytest.raises(image.ImageFileError):
        image.decode(saved(pixels, "jpeg")[:-200])
    assert Image.MAX_IMAGE_PIXELS == 100 and ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.filterwarnings("error")
def test_an_image_beyond_pillows_own_limit_is_decoded_in_bands() -> None:
    side = 16_384
    target = io.BytesIO()
    Image.new("1", (side, side), 1).save(target, format="png")
    with pytest.raises(image.ImageFileError, match="16384 x 16384"):
        image.decode_gray(target.getvalue())
    gray = image.decode_gray(target.getvalue(), side * side)
    assert gray.shape == (side, side) and (gray[::1000] == 255).all()


@pytest.mark.parametrize("side", [12_000, 60_000, 2_000_000_000])
def test_bomb_is_refused_by_its_header(side: int) -> None:
    tracemalloc.start()
    with pytest.raises(image.ImageFileError) as caught:
        image.decode(png_bomb(side))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason == "image-too-large"
    assert peak < 10 << 20


def test_limit_is_the_callers(pixels: np.ndarray) -> None:
    data = saved(pixels, "png")
    image.decode(data, max_pixels=960)
    with pytest.raises(image.ImageFileError, match="40 x 24"):
        image.decode(data, max_pixels=959)


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "tiff", "webp", "tga"])
def test_cut_images_are_refused(kind: str) -> None:
    data = saved(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8), kind)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(image.ImageFileError) as caught:
            image.decode(data[: int(len(data) * share)])
        assert caught.value.reason in ("image-truncated", "image-unreadable")


@pytest.mark.parametrize("data", [b"", b"root:x:0:0", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a" + b"\0" * 50])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    assert image.sniff(b"root:x:0:0") is None
    with pytest.raises(image.ImageFileError) as caught:
        image.decode(data, name="photo.jpg")
    assert caught.value.reason == "image-unreadable"
    assert "photo.jpg" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the image file is empty"),
        (b"\0" * 3000, "bytes of value 0 alone: it was not written"),
        (saved(np.zeros((60, 80, 3), np.uint8), "png")[:20], "ends within its header; seen 20 bytes"),
        (saved(np.zeros((60, 80, 3), np.uint8), "jpeg")[:10], "ends within its header"),
        (
            saved(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8), "png")[:5000],
            "before its last pixel",
        ),
    ],
)
def test_a_file_that_was_not_copied_to_its_end_is_to_be_copied_again(data: bytes, said: str) -> None:
    with pytest.raises(image.ImageFileError) as caught:
        image.decode(data)
    assert said in str(caught.value) and "Copy or export the texture again" in str(caught.value)


def test_encode_refuses_what_it_cannot_hold() -> None:
    for bad, kind in [
        (np.zeros((2, 2, 4), np.uint8), "png"),
        (np.zeros((2, 2)), "png"),
        (np.zeros((2, 2), np.uint8), "gif"),
    ]:
        with pytest.raises(InputError):
            image.encode(bad, kind)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_sixteen_bits_come_back(shape: tuple[int, ...]) -> None:
    numbers = np.random.default_rng(1).integers(0, 65536, shape).astype(np.uint16)
    data = image.encode_deep(numbers)
    assert data == image.encode_deep(numbers)
    np.testing.assert_array_equal(image.decode_deep(data), numbers)
    if len(shape) == 3:  # red, green, blue in the file, too: another reader sees the upper bytes
        np.testing.assert_array_equal(image.decode(data), numbers >> 8)


def test_what_is_no_sixteen_bit_png_is_refused(pixels: np.ndarray) -> None:
    deep = image.encode_deep(np.zeros((4, 4), np.uint16))
    for data in (image.encode(pixels, "png"), image.encode(pixels, "jpeg"), deep[:40], b""):
        with pytest.raises(image.ImageFileError):
            image.decode_deep(data)
    with pytest.raises(image.ImageFileError, match="more pixels"):
        image.decode_deep(deep, max_pixels=15)
    with pytest.raises(InputError, match="uint16"):
        image.encode_deep(np.zeros((4, 4), np.uint8))  # type: ignore[arg-type]


def test_opencv_has_one_thread_and_says_who_misses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = image.opencv()
    cv2.setNumThreads(2)
    assert image.opencv().getNumThreads() == 1
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match="the landmark detector needs OpenCV") as caught:
        image.opencv("the landmark detector")
    assert "pip install opencv-python-headless" in caught.value.todo


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("png", {}),
        ("png", {"compress_level": 9}),
        ("jpeg", {"quality": 1}),
        ("jpeg", {"quality": 1, "progressive": True, "optimize": True}),
        ("jpeg", {"quality": 95, "subsampling": 2}),
    ],
)
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_the_smallest_file_of_a_size_is_read(kind: str, options: dict, mode: str) -> None:
    if kind == "jpeg" and mode not in ("L", "RGB"):
        return
    target = io.BytesIO()
    Image.new(mode, (3000, 2000)).save(target, format=kind, **options)
    found = image.decode(target.getvalue())
    assert found.shape == (2000, 3000, 3) and found.max() < 2


def test_pixels_that_so_many_bytes_cannot_hold_take_no_memory() -> None:
    small = {kind: saved(np.zeros((8, 8, 3), np.uint8), kind) for kind in ("png", "jpeg")}
    png, jpeg = bytearray(small["png"]), bytearray(small["jpeg"])
    png[16:24] = struct.pack(">II", 8000, 8000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 8000, 8000)
    for data in (bytes(png), bytes(jpeg)):
        for look in (image.info, image.decode, image.decode_gray):
            tracemalloc.start()
            with pytest.raises(image.ImageFileError, match="more pixels than so many bytes") as caught:
                look(data)
            assert caught.value.reason == "image-truncated"
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
            tracemalloc.stop()


def test_only_the_formats_that_are_asked_for_are_read(pixels: np.ndarray) -> None:
    data = saved(pixels, "tiff")
    assert (image.decode(data) == pixels).all()
    for look in (image.info, image.decode, image.decode_gray):
        with pytest.raises(image.ImageFileError, match="no image of a known format"):
            look(data, formats=("png", "jpeg"))

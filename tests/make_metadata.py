"""Frames with metadata in every format, written by Pillow and tifffile, or by hand where neither can."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import tifffile
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

SECRET = b"Jane-Doe-of-Ward-7"  # stands in every frame made here, and may be in none that is published
_NAME = SECRET.decode()


def picture(mode: str = "RGB", size: tuple[int, int] = (37, 22)) -> Image.Image:
    """Noise on a slope, so that no two places look alike and no turn goes unseen."""
    rng = np.random.default_rng(7)
    slope = np.linspace(0, 200, size[0])[None, :] + np.linspace(0, 40, size[1])[:, None]
    pixels = (slope[..., None] + rng.integers(0, 15, (size[1], size[0], 3))).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def exif(orientation: int | None = None) -> Image.Exif:
    """Names, a serial number, a position, a maker's note and, where asked for, an orientation."""
    block = Image.Exif()
    block[ExifTags.Base.Artist] = _NAME
    block[ExifTags.Base.ImageDescription] = f"patient {_NAME}"
    block[ExifTags.Base.Software] = f"endo 3.1 {_NAME}"
    if orientation is not None:
        block[ExifTags.Base.Orientation] = orientation
    inside = block.get_ifd(ExifTags.IFD.Exif)
    inside[ExifTags.Base.BodySerialNumber] = f"SN {_NAME}"
    inside[ExifTags.Base.MakerNote] = b"\1\2\3\4" * 20 + SECRET
    gps = block.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLatitude] = "N", (47.0, 22.0, 7.0)
    gps[ExifTags.GPS.GPSMapDatum] = _NAME
    return block


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"{}>'
    f"<dc:creator>{_NAME}</dc:creator></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def xmp(orientation: int | None = None) -> bytes:
    turned = f' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}"' if orientation else ""
    return XMP.format(turned).encode()


def jpeg(orientation: int | None = None, mode: str = "RGB", **options: object) -> bytes:
    saved = io.BytesIO()
    picture(mode).save(saved, "JPEG", exif=exif(orientation), xmp=xmp(), comment=SECRET, quality=90, **options)
    return with_segments(saved.getvalue(), (0xED, photoshop()), (0xEC, b"Ducky\0" + SECRET), (0xE0, b"JFXX\0" + SECRET))


def with_segments(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with more segments before its first table."""
    at = data.index(b"\xff\xdb")
    made = b"".join(
        bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content for marker, content in segments
    )
    return data[:at] + made + data[at:]


def photoshop() -> bytes:
    iptc = b"".join(b"\x1c\2" + bytes([number]) + struct.pack(">H", len(SECRET)) + SECRET for number in (80, 120))
    return b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def png(orientation: int | None = None, mode: str = "RGB", **options: object) -> bytes:
    texts = PngInfo()
    texts.add_text("Author", _NAME)
    texts.add_text("Comment", f"Patient: {_NAME}", zip=True)
    texts.add_itxt("XML:com.adobe.xmp", xmp().decode(), zip=True)
    saved = io.BytesIO()
    picture(mode).save(saved, "PNG", pnginfo=texts, exif=exif(orientation), dpi=(72, 72), **options)
    data = saved.getvalue()
    at = data.index(b"IDAT") - 4
    return data[:at] + png_chunk(b"tIME", bytes(7)) + png_chunk(b"prVt", SECRET) + data[at:] + SECRET


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, rows: bytes = bytes(64), *, bits: int = 8, kind: int = 2) -> bytes:
    """A PNG that says so of itself, whatever its rows hold. kind: 0 for grey, 2 for RGB."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def tiff(orientation: int | None = None, mode: str = "RGB", **options: object) -> bytes:
    saved = io.BytesIO()
    block = exif(orientation)
    block[ExifTags.Base.HostComputer] = _NAME
    block[40001] = _NAME  # a private tag
    block[700] = xmp()
    picture(mode).save(saved, "TIFF", exif=block if options else block.tobytes(), **options)
    return saved.getvalue()


def tiff_pages(bigtiff: bool = False) -> bytes:
    saved = io.BytesIO()
    with tifffile.TiffWriter(saved, bigtiff=bigtiff) as file:
        for mode in ("RGB", "L"):
            pixels = np.asarray(picture(mode))
            tags = [(315, "s", 0, _NAME, False), (40002, "s", 0, f"private {_NAME}", False)]
            file.write(pixels, description=_NAME, extratags=tags, compression="zlib", metadata=None, rowsperstrip=5)
    return saved.getvalue()


def webp(orientation: int | None = None, mode: str = "RGB", **options: object) -> bytes:
    saved = io.BytesIO()
    picture(mode).save(saved, "WEBP", exif=exif(orientation), xmp=xmp(), **options)
    return saved.getvalue()


def gif() -> bytes:
    saved = io.BytesIO()
    frames = [picture("P"), picture("P").transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    frames[0].save(saved, "GIF", comment=SECRET, save_all=True, append_images=frames[1:], loop=0)
    return saved.getvalue()[:-1] + b"\x21\xff\x0bXMP DataXMP" + bytes([len(SECRET)]) + SECRET + b"\0\x3b"


def jp2(kind: str = "jp2") -> bytes:
    saved = io.BytesIO()
    picture().save(saved, "JPEG2000", comment=SECRET, no_jp2=kind == "j2k")
    box = struct.pack(">I", 8 + 16 + len(SECRET)) + b"uuid" + bytes(16) + SECRET
    return saved.getvalue() if kind == "j2k" else saved.getvalue() + box


def ppm() -> bytes:
    saved = io.BytesIO()
    picture().save(saved, "PPM")
    return saved.getvalue().replace(b"P6\n", b"P6\n# " + SECRET + b"\n", 1)


def plain_pgm() -> bytes:
    return b"P2 # " + SECRET + b"\n2 2\n255\n0 10 # " + SECRET + b"\n20 30\n"


def bmp() -> bytes:
    saved = io.BytesIO()
    picture().save(saved, "BMP")
    return saved.getvalue()

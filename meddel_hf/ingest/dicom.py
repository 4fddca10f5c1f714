"""DICOM files as pictures: one frame or many, in the window that the file asks for; of its header only ids come along.

Grey values go through the modality's table (rescale slope and intercept), then through the window or table of interest,
as PS3.3 C.11.2 has them; MONOCHROME1 is inverted. Nothing else of the header enters the pool, private tags neither.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from PIL import Image

from meddel_hf.data.limits import check_size
from meddel_hf.data.privacy import hashed
from meddel_hf.errors import UnreadableImage
from meddel_hf.ingest import levels, pictures, videos
from meddel_hf.ingest.files import File, Library
from meddel_hf.ingest.reading import Picture, Reading, Remark
from meddel_hf.runtime.words import plural
from meddel_hf.schema import PATIENT, SERIES, STUDY

_VIDEO = "1.2.840.10008.1.2.4.10"  # transfer syntaxes that wrap a video: MPEG-2, H.264, HEVC
_SAMPLED, _VALUES = 16, 4_000_000  # frames, and values in them, by which the range of a file without a window is known
_GREY = ("MONOCHROME1", "MONOCHROME2")
_NO_WINDOW = "no window in the file: black to white are the middle 99 % of its own values; choose one with --window"


def frames(
    file: File, found: Sequence[File], library: Library, reading: Reading, key: bytes | None
) -> Iterator[Picture | Remark]:
    """Frames of a DICOM file, named by their number where there are several. found: masks, of a file of one frame.

    key: of the pseudonyms; None where ids are to stay plain. Raises UnreadableImage or UnreadableArchive.
    """
    with library.reading(file) as stream:
        head = _head(stream)
        series = _series(head, key)
        if str(head.get("BurnedInAnnotation", "")).upper() == "YES" and not reading.burned_in:
            raise UnreadableImage(
                "says that text is burnt into its pixels (BurnedInAnnotation): look at it, and take it with --burned-in"
            )
        if str(head.file_meta.TransferSyntaxUID).startswith(_VIDEO):
            yield from _with(series, videos.of_stream(_wrapped(stream), reading))
            return
        count = _checked(head)
        if found and count > 1:
            raise UnreadableImage(f"a mask for a file of {plural(count, 'frame')}: expected one frame")
        yield from _with(series, _stills(stream, head, count, found, library, reading))


def _stills(
    stream: IO[bytes], head: Any, count: int, found: Sequence[File], library: Library, reading: Reading
) -> Iterator[Picture | Remark]:
    tone = None
    if head.PhotometricInterpretation in _GREY:
        tone = _Tone.of(stream, head, count, reading)
        if tone.guessed:
            yield Remark(_NO_WINDOW)
    chosen = range(0, count, reading.every)
    for number, pixels in zip(chosen, _pixels(stream, head, chosen), strict=True):
        grey_or_rgb = tone.grey(pixels, number) if tone is not None else _colours(pixels, head)
        image = Image.fromarray(grey_or_rgb)
        mask = pictures.mask_of(found, library, image.width, image.height)
        name = f"{number:06d}" if count > 1 else ""
        data = pictures.as_png(image)
        yield Picture(name, data, ".png", image.width, image.height, number, *pictures.coded(mask))


def _head(stream: IO[bytes]) -> Any:
    """The header, without pixels."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        head = pydicom.dcmread(stream, stop_before_pixels=True)
    except InvalidDicomError:
        raise UnreadableImage("not a DICOM file") from None
    if "TransferSyntaxUID" not in head.file_meta:
        raise UnreadableImage("damaged: a DICOM file that does not say how its pixels are coded")
    return head


def _checked(head: Any) -> int:
    """How many frames there are. Raises UnreadableImage where there is no picture, or too large a one."""
    if not head.get("Rows") or not head.get("Columns"):
        raise UnreadableImage(f"holds no picture (modality {head.get('Modality') or 'not told'})")
    if int(head.get("BitsAllocated", 0)) == 1:
        raise UnreadableImage("a segmentation of one bit a pixel, and no picture")
    check_size(int(head.Columns), int(head.Rows))
    return max(1, int(head.get("NumberOfFrames") or 1))


def _pixels(stream: Any, head: Any, numbers: range) -> Iterator[np.ndarray]:
    """(rows, columns) or (rows, columns, 3) of frames; YBR comes as RGB. Raises UnreadableImage."""
    import pydicom
    from pydicom.pixels.utils import iter_pixels

    stream.seek(0)
    deflated = head.file_meta.TransferSyntaxUID.is_deflated  # pydicom looks for pixels in the stream as it is
    decoded = iter_pixels(pydicom.dcmread(stream) if deflated else stream, indices=numbers)
    for _ in numbers:
        try:
            pixels = next(decoded, None)
        except AttributeError as error:
            if "'Pixel Data'" not in str(error):
                raise
            raise UnreadableImage(f"holds no pixels (modality {head.get('Modality') or 'not told'})") from error
        if pixels is None:
            raise UnreadableImage("truncated")
        yield pixels


def _wrapped(stream: IO[bytes]) -> IO[bytes]:
    """The video that a DICOM file wraps."""
    import pydicom
    from pydicom.encaps import get_frame

    stream.seek(0)
    return io.BytesIO(get_frame(pydicom.dcmread(stream).PixelData, 0, number_of_frames=1))


def _series(head: Any, key: bytes | None) -> tuple[tuple[str, str], ...]:
    """Patient, study and series, as pseudonyms where there is a key; what the file does not tell is left out."""
    patient = "\0".join(str(head.get(name) or "").strip() for name in ("IssuerOfPatientID", "PatientID")).strip("\0")
    told = {PATIENT: patient, STUDY: str(head.get("StudyInstanceUID") or ""),
            SERIES: str(head.get("SeriesInstanceUID") or "")}  # fmt: skip
    return tuple(
        (column, hashed(f"{column}\0{value}", key) if key is not None else value.replace("\0", "/"))
        for column, value in told.items()
        if value
    )


def _with(series: tuple[tuple[str, str], ...], each: Iterator[Picture | Remark]) -> Iterator[Picture | Remark]:
    for one in each:
        yield replace(one, series=series) if isinstance(one, Picture) else one


def _colours(pixels: np.ndarray, head: Any) -> np.ndarray:
    """(rows, columns, 3) uint8"""
    if head.PhotometricInterpretation == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        pixels = apply_color_lut(pixels, head)
        return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise UnreadableImage(f"colours of a kind that is not read: {head.PhotometricInterpretation}")
    bits = int(head.get("BitsStored", 8))
    return pixels if pixels.dtype == np.uint8 else (pixels.astype(np.uint32) * 255 // (2**bits - 1)).astype(np.uint8)


@dataclass
class _Tone:
    """Values of a file to grey levels. plain: (low, high) of what has no window of its own. guessed: by its values."""

    head: Any
    window: tuple[float, float] | None
    plain: tuple[float, float]
    guessed: bool

    @classmethod
    def of(cls, stream: IO[bytes], head: Any, count: int, reading: Reading) -> _Tone:
        signed, bits = bool(head.get("PixelRepresentation")), int(head.get("BitsStored", 8))
        has_window = reading.window is not None or all(_has_voi(_of_frame(head, n)) for n in (0, count - 1))
        first = _of_frame(head, 0)
        scale = float(first.get("RescaleSlope") or 1), float(first.get("RescaleIntercept") or 0)
        rescaled = bool(first.get("ModalityLUTSequence")) or scale != (1, 0)
        if has_window or (bits <= 8 and not signed and not rescaled):
            return cls(head, reading.window, (0.0, 2.0**bits - 1), False)
        sampled = range(0, count, -(-count // _SAMPLED))
        parts = []
        for number, pixels in zip(sampled, _pixels(stream, head, sampled), strict=True):
            values = _modality(pixels, _of_frame(head, number))[~_padding(pixels, head)].ravel()
            parts.append(values[:: -(-values.size * len(sampled) // _VALUES) or 1].copy())
        return cls(head, None, levels.middle(np.concatenate(parts)), True)

    def grey(self, pixels: np.ndarray, number: int) -> np.ndarray:
        """(rows, columns) uint8 of a frame."""
        told = _of_frame(self.head, number)
        values = _modality(pixels, told)
        if self.window is not None:
            grey = levels.within(values, *levels.ends(self.window))
        elif _has_voi(told):
            grey = _of_interest(values, told)
        else:
            grey = levels.within(values, *self.plain)
        shape = str(self.head.get("PresentationLUTShape", "")).upper()
        if self.head.PhotometricInterpretation == "MONOCHROME1" or shape == "INVERSE":
            grey = np.uint8(255) - grey
        grey[_padding(pixels, self.head)] = 0
        return grey


def _of_frame(head: Any, number: int) -> Any:
    """What the file says of the values of a frame: of its own, else of all, else at the top."""
    import pydicom

    told = pydicom.Dataset()
    names = ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
             "VOILUTSequence", "PixelRepresentation", "BitsStored", "PhotometricInterpretation")  # fmt: skip
    per_frame, shared = head.get("PerFrameFunctionalGroupsSequence"), head.get("SharedFunctionalGroupsSequence")
    groups = [*(shared or [])[:1], *(per_frame or [])[number : number + 1]]
    inside = [
        item
        for group in groups
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence")
        for item in (group.get(name) or [])[:1]
    ]
    for source in (head, *inside):
        for name in names:
            if name in source and not source[name].is_empty:
                told[name] = source[name]
    told.file_meta = head.file_meta
    return told


def _has_voi(told: Any) -> bool:
    window = told.get("WindowCenter") not in (None, "") and told.get("WindowWidth") not in (None, "")
    return bool(told.get("VOILUTSequence")) or window


def _modality(pixels: np.ndarray, told: Any) -> np.ndarray:
    from pydicom.pixels.processing import apply_modality_lut

    answer: np.ndarray = apply_modality_lut(pixels, told)
    return answer


def _of_interest(values: np.ndarray, told: Any) -> np.ndarray:
    """uint8 by the first table of interest, else the first window: PS3.3 C.11.2.1."""
    if told.get("VOILUTSequence"):
        from pydicom.pixels.processing import apply_voi

        bits = int(told.VOILUTSequence[0].LUTDescriptor[2])
        return levels.within(apply_voi(np.rint(values).astype(np.int64), told), 0, 2.0**bits - 1)
    centre, width = _first(told.WindowCenter), _first(told.WindowWidth)
    function = str(told.get("VOILUTFunction") or "LINEAR").upper()
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise UnreadableImage(f"damaged: a window of width {width:g}")
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return levels.within(1 / (1 + np.exp(-4 * (values - centre) / width)), 0, 1)
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise UnreadableImage(f"a window of a kind that is not read: {function}")
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return levels.within(values, centre - width / 2, centre + width / 2)


def _padding(pixels: np.ndarray, head: Any) -> np.ndarray:
    """(rows, columns) bool: what lies outside of what was scanned."""
    value = head.get("PixelPaddingValue")
    if value is None:
        return np.zeros(pixels.shape[:2], bool)
    limit = head.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    answer: np.ndarray = (pixels >= low) & (pixels <= high)
    return answer


def _first(value: Any) -> float:
    return float(value if isinstance(value, (str, int, float)) else next(iter(value)))

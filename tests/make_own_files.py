"""Small files as a hospital has them: DICOM, NIfTI, slides; all made up."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import nibabel
import numpy as np
import pydicom
import tifffile
from pydicom.uid import UID, ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"


def dicom(pixels: np.ndarray | None, path: Path | None = None, *, coding: UID | None = None, **tags: Any) -> bytes:
    """A DICOM file. pixels: (rows, columns), (n, rows, columns) or (..., 3), uint8, uint16 or int16.

    coding: how pixels are compressed. tags: by keyword; what is not named is of an examined person called DOE^JANE.
    """
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CT
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "DOE^JANE", "4711", "19700101"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = "1.2.3.1", "1.2.3.2", "CT"
    ds.add_new((0x0011, 0x0010), "LO", "SECRET VENDOR")
    ds.add_new((0x0011, 0x1001), "LO", "PRIVATE DOE")
    if pixels is not None:
        colour = pixels.shape[-1] == 3 and pixels.ndim > 2
        rows, columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
        ds.Rows, ds.Columns, ds.SamplesPerPixel = rows, columns, 3 if colour else 1
        ds.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        if colour:
            ds.PlanarConfiguration = 0
        if pixels.ndim == (4 if colour else 3):
            ds.NumberOfFrames = len(pixels)
        ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
        ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
        ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
        ds["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"
    for name, value in tags.items():
        setattr(ds, name, value)
    if coding is not None:
        ds.compress(coding, generate_instance_uid=False)
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.getvalue())
    return file.getvalue()


def clip(
    count: int = 50, *, quarter_turns: int = 0, still: bool = False, container: str = "mp4", codec: str = "libx264"
) -> bytes:
    """A video of `count` pictures at 25 a second, 96 x 64, that a square walks through, unless it stands still.

    quarter_turns: by which players turn an MP4 clockwise, as its display matrix says.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.gop_size, stream.time_base = 10, Fraction(1, 25)
        for n in range(count):
            pixels = np.full((64, 96, 3), 60, np.uint8)
            left = 0 if still else n % 72
            pixels[:24, left : left + 24] = 230
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    data = bytearray(file.getvalue())
    if container != "mp4":
        return bytes(data)
    right, down = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns], [(0, 1), (-1, 0), (0, -1), (1, 0)][quarter_turns]
    one = 1 << 16
    matrix = struct.pack(">9i", right[0] * one, right[1] * one, 0, down[0] * one, down[1] * one, 0, 0, 0, 1 << 30)
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version, times, ids and what is reserved; then volume and so on
    data[at : at + 36] = matrix
    return bytes(data)


def nifti(values: np.ndarray, affine: np.ndarray, path: Path, **header: float) -> Path:
    """A NIfTI volume."""
    image = nibabel.Nifti1Image(values, affine)
    for name, value in header.items():
        image.header[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def slide(path: Path, side: int = 512, levels: int = 3) -> np.ndarray:
    """A pyramid with stained tissue in its left half; the right is glass. Returns its finest level, (side, side, 3)."""
    y, x = np.mgrid[:side, :side]
    stained = np.stack([150 + 60 * np.sin(x / 40), 60 + 20 * np.cos(y / 30), 140 + 0 * x], axis=-1)
    pixels = np.where((x < side // 2)[..., None], stained, 242).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as file:
        options: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb", "compression": "zlib"}
        file.write(pixels, subifds=levels - 1, **options)
        for level in range(1, levels):
            file.write(pixels[:: 2**level, :: 2**level], subfiletype=1, **options)
    return pixels

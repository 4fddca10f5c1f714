"""Libraries that are installed only where somebody asks for them: one sentence says which files want which."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from meddel_hf.errors import InvalidArgument
from meddel_hf.ingest.files import File, Kind

# kind of file -> (what files are called, module that reads them, extra that installs it)
_NEEDED: dict[Kind, tuple[str, str, str]] = {
    "dicom": ("DICOM files", "pydicom", "dicom"),
    "nifti": ("NIfTI volumes", "nibabel", "nifti"),
    "slide": ("slides", "tiffslide", "wsi"),
}


def check(kind: Kind, files: Sequence[File]) -> None:
    """Raises InvalidArgument where files of a kind were found and nothing here reads them."""
    if not files or kind not in _NEEDED:
        return
    what, module, extra = _NEEDED[kind]
    if find_spec(module) is None:
        raise InvalidArgument(
            f"found {what}, such as {files[0].path}, and {module} is not installed: "
            f'pip install "meddel_hf[{extra}]", or leave them out (--exclude)'
        )

"""What the system says of a disk, however a library wraps it."""

from __future__ import annotations

from meddel_hf.errors import MedDELError


def disk_error(error: BaseException | None) -> str | None:
    """What the system said, such as "No space left on device"; None where the error is of another kind."""
    if error is None or isinstance(error, MedDELError):
        return None
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "os error" in str(error):  # safetensors: "I/O error: No space left on device (os error 28)"
        return str(error).rpartition("error: ")[2].partition(" (os error")[0]
    if "unexpected pos" in str(error) or "PytorchStreamWriter" in str(error):  # torch.save, which hides the cause
        return disk_error(error.__context__) or "no space left on the disk"
    return None

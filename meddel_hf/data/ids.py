"""Ids of frames: strings without repeats. They are read here and nowhere else."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.runtime.reading import printable, shown, some_of
from meddel_hf.runtime.similar import composed
from meddel_hf.runtime.words import plural
from meddel_hf.schema import ID

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

_SHOWN = 3  # examples in an error message


def ids_of(dataset: Dataset, column: str = ID) -> list[str]:
    """The ids of a data set as strings, in its order, as they stand: `check_ids` says whether they are sound."""
    return [str(id) for id in _values(dataset, column)]


def checked_ids_of(dataset: Dataset, column: str = ID) -> list[str]:
    """The same. Raises InvalidDataset as `check_ids` does."""
    return check_ids(_values(dataset, column), first_row=0)


def id_array(dataset: Dataset, column: str = ID) -> pa.ChunkedArray:
    """As `ids_of`, string; a tenth of their memory."""
    import pyarrow as pa  # not above: `meddel --help` reads the modules that need this one

    texts = _plain(dataset, column)
    return texts if texts is not None else pa.chunked_array([ids_of(dataset, column)], pa.string())


def checked_id_array(dataset: Dataset, column: str = ID) -> pa.ChunkedArray:
    """As `checked_ids_of`, string; a tenth of their memory."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = _plain(dataset, column)
    if texts is not None and pc.count_distinct(texts).as_py() == len(texts) and not pc.any(pc.equal(texts, "")).as_py():
        return texts
    return pa.chunked_array([checked_ids_of(dataset, column)], pa.string())


def folder_of(id: str) -> str:
    """Of an id that is a path, as those of a folder of images, the folder; "" of any other."""
    return id.rpartition("/")[0]


def _plain(dataset: Dataset, column: str) -> pa.ChunkedArray | None:
    """Texts or whole numbers as texts; None where some are missing, or are something else."""
    import pyarrow as pa

    values = _column(dataset, column)
    plain = pa.types.is_string(values.type) or pa.types.is_integer(values.type)
    return values.cast(pa.string()) if plain and not values.null_count else None


def _values(dataset: Dataset, column: str) -> list[Any]:
    values: list[Any] = _column(dataset, column).to_pylist()
    return values


def _column(dataset: Dataset, column: str) -> pa.ChunkedArray:
    return dataset.with_format("arrow").select_columns([column])[:][column]


def check_ids(ids: Iterable[Any], *, first_row: int) -> list[str]:
    """Ids as strings. Raises InvalidDataset where one is missing, repeated, or neither a string nor an integer."""
    ids = list(ids)
    missing = [str(first_row + row) for row, value in enumerate(ids) if value is None or value == ""]
    if missing:
        raise InvalidDataset(
            f"{plural(len(missing), 'row has', 'rows have')} no id, such as row {', '.join(missing[:_SHOWN])}"
        )
    odd = next((value for value in ids if not isinstance(value, (str, int)) or isinstance(value, bool)), None)
    if odd is not None:
        raise InvalidDataset(f"ids must be strings or integers, got {odd!r}")
    texts = [str(value) for value in ids]
    check_unique(texts, "ids must be unique")
    return texts


def check_unique(ids: list[str], message: str) -> None:
    """Raise InvalidDataset, with a message, where a string stands twice."""
    repeated = [text for text, count in Counter(ids).items() if count > 1]
    if repeated:
        shown = ", ".join(repr(text) for text in repeated[:_SHOWN])
        raise InvalidDataset(f"{message}: {plural(len(repeated), 'stands', 'stand')} more than once, such as {shown}")


def as_there(ids: Collection[str], there: Collection[str]) -> list[str]:
    """Listed ids as the pool writes them, where they differ only in spaces around, or in an ü of one character or two.

    A frame that is to go, and is not found, would stay. Others are as they stand in the list. Raises InvalidArgument
    for names of files where the ids of the pool are these without a suffix.
    """
    there = there if isinstance(there, set | frozenset) else set(there)
    if all(id in there for id in ids):
        return list(ids)
    written = {composed(id): id for id in there}
    found = [id if id in there else written.get(composed(id), written.get(composed(id.strip()), id)) for id in ids]
    files = [id for id in found if id not in there and id.removesuffix(PurePath(id).suffix) in there]
    if files:
        first = files[0]
        raise InvalidArgument(
            f"{plural(len(files), 'listed id is the name of a file', 'listed ids are names of files')}, such as "
            f"{first}, whose id is {first.removesuffix(PurePath(first).suffix)}: write ids, as in the "
            "pool; nothing was changed"
        )
    return found


def folders_among(ids: Iterable[str], there: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Folders that are listed as ids, with the ids of the pool below each, ascending.

    Of a file that has several frames, such as a video's, the folder is its name without suffix.
    """
    known = sorted((composed(id), id) for id in there)
    found: dict[str, tuple[str, ...]] = {}
    for id in ids:
        name = composed(id.strip()).rstrip("/")
        for folder in dict.fromkeys((name, name.removesuffix(PurePath(name).suffix))):
            first, last = (bisect_left(known, (f"{folder}{end}", "")) for end in ("/", "0"))  # "0" follows "/"
            if folder and last > first:
                found[folder] = tuple(known[at][1] for at in range(first, last))
                break
    return found


def is_a_folder(name: str, below: Sequence[str]) -> str:
    """What is said of a listed id that is none, and of the ids that `folders_among` found below it."""
    lie = "frame lies" if len(below) == 1 else "frames lie"
    return f"{printable(name)} is no frame; {len(below):,} {lie} below it: {some_of(below)}"


def leaves_nothing_out(listed: int, one: str, of_pool: str) -> str:
    """What is said of a list none of whose ids is in the pool. listed: how many ids; one: one of them; of_pool: one of
    the pool's."""
    return (
        f"leaves nothing out: none of its {plural(listed, 'id')}, such as {shown(one)}, is in the pool, whose ids look "
        f"like {shown(of_pool)}"
    )

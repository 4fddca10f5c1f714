"""`Explorer`: a selection with its frames and its map, as one page or as what a server hands out piece by piece."""

from __future__ import annotations

import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from datasets import Dataset

from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.explore.contents import Choice, Column, columns_of, contents, folders_of
from meddel_hf.explore.page import page
from meddel_hf.explore.pictures import pictures, side_for, small
from meddel_hf.explore.plane import Plane
from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.network import public_name

PAGE = "index.html"  # in a selection's folder
MOST_FRAMES = 20_000  # that one page carries: 25 MB of pictures
_MOST_EDGES = 3_000_000  # pairs in a page; a server's page has more
_MOST_SERVED_EDGES = 30_000_000
_SERVED_SIDE = 256  # pixels


@dataclass(frozen=True, eq=False, repr=False)
class Page:
    """HTML that needs nothing beside it. A notebook shows it in a frame of its own."""

    html: str

    def save(self, path: str | Path) -> Path:
        """Write the page, whole or not at all."""
        with whole_file(Path(path)) as aside:
            aside.write_text(self.html, encoding="utf-8")
        return Path(path)

    def open(self, path: str | Path) -> Path:
        """Write the page, and show it in the browser."""
        webbrowser.open(self.save(path).absolute().as_uri())
        return Path(path)

    def __repr__(self) -> str:
        return f"Page({len(self.html):,} characters of HTML; save(path) writes it, open(path) shows it too)"

    def _repr_html_(self) -> str:
        rules = 'sandbox="allow-scripts allow-downloads" style="width:100%;height:900px;border:0;border-radius:12px"'
        return f'<iframe {rules} title="the selection" srcdoc="{escape(self.html)}"></iframe>'


@dataclass(frozen=True, eq=False)
class Explorer:
    """choice: the selection. pool: the data set that it was made from, or None: then the page shows no frames.
    plane: the map, or None. why_not: a sentence on what cannot be shown; "" where nothing is missing.
    marks: id -> "keep" or "never", with which the page begins; None: those that the selection was made with.
    """

    choice: Choice
    title: str
    pool: Dataset | None = None
    plane: Plane | None = None
    why_not: str = ""
    marks: Mapping[str, str] | None = None

    def page(self, *, served: bool = False) -> Page:
        """served: without contents and pictures, for which the page then asks its server.

        Raises InvalidArgument for more frames than one page carries.
        """
        if served:
            return Page(page(self.title, served=True))
        if len(self.choice.ids) > MOST_FRAMES:
            raise InvalidArgument(
                f"{len(self.choice.ids):,} frames are more than the {MOST_FRAMES:,} that one page carries: "
                "`meddel explore` shows them through a server on this machine"
            )
        shown: Sequence[bytes] = ()
        if self._opened is not None:
            shown = pictures(self._opened, self._rows, self._image, side_for(len(self._rows)))
        return Page(page(self.title, self.contents(_MOST_EDGES), shown))

    def contents(self, most_edges: int = _MOST_SERVED_EDGES) -> bytes:
        """What the page knows of every row; see contents.contents."""
        notes = [f"No frames are shown: {self.why_not}"] if self.why_not else []
        encoder = self.choice.origin.encoder
        more: dict[str, Any] = {"encoder": encoder and public_name(encoder), "why_not": notes}
        more["has_frames"] = self._opened is not None
        if self.marks is not None:
            more["overrides"] = [(row, self.marks[id]) for row, id in enumerate(self.choice.ids) if id in self.marks]
        return contents(
            self.choice, title=self.title, plane=self.plane, columns=self._columns, most_edges=most_edges, more=more
        )

    def frame(self, row: int) -> bytes:
        """A small picture of a row of the selection, as WebP; no bytes where there is none."""
        if self._opened is None or not 0 <= row < len(self._rows) or self._rows[row] < 0:
            return b""
        return small(self._opened[self._rows[row]][self._image], _SERVED_SIDE)

    @property
    def _image(self) -> str:
        return self.choice.origin.image_column

    @cached_property
    def _opened(self) -> Dataset | None:
        """The pool's images alone, as bytes or paths."""
        if self.pool is None or self._image not in self.pool.column_names:
            return None
        return self.pool.with_format(None).select_columns([self._image])

    @cached_property
    def _rows(self) -> list[int]:
        """The pool's row of each row of the selection, -1 where it has none."""
        assert self.pool is not None
        ids = self.choice.origin.ids_in(self.pool, self.choice.ids)
        if ids is None:
            raise Mismatch("the pool is not the one that was selected from: name that one")
        place = {id: row for row, id in enumerate(ids)}
        return [place.get(id, -1) for id in self.choice.ids]

    @cached_property
    def _columns(self) -> list[Column]:
        named = [] if self.pool is None else columns_of(self.pool, self._rows, self.choice.origin.id_column)
        folders = folders_of(self.choice.ids)
        return named if folders is None else [*named, folders]

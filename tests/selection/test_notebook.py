"""What results show in a notebook: their figures, small pictures, and nothing that a hostile name could run."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from tiny import textured, tiny_encoder

from meddel_hf import MedDEL, embed
from meddel_hf.selection.notebook import SIDE, picture_below, table

HOSTILE = '<script>alert(1)</script>"onerror="x'


class Page(HTMLParser):
    """Tags, texts and pictures of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def pictures(self) -> list[Picture.Image]:
        sources = [attributes["src"] for tag, attributes in self.tags if tag == "img"]
        assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
        return [Picture.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources]

    def check_harmless(self) -> None:
        known = {"table", "tr", "td", "th", "div", "figure", "figcaption", "span", "br", "img"}
        assert {tag for tag, _ in self.tags} <= known
        assert {name for _, attributes in self.tags for name in attributes} <= {"style", "src", "alt"}


@pytest.fixture
def chosen(tmp_path):
    folder = tmp_path / "frames"
    (folder / "a").mkdir(parents=True)
    for number in range(12):
        textured(number // 2, (400, 300)).save(folder / "a" / f"{number}.v1.png")
    store = embed(folder, tiny_encoder(tmp_path / "encoder"), tmp_path / "store", progress=False)
    return folder, MedDEL(retention=0.5, epsilon=None, scope="pool").select(store)


def test_a_selection_shows_its_summary_and_frames_that_are_there(chosen, tmp_path):
    folder, selection = chosen
    page = Page(selection._repr_html_())
    page.check_harmless()
    for text in ("pool", "12", "kept", "6", "50.00%", "Some of the kept frames", selection.kept[0]):
        assert text in page.texts
    gone = selection.table.filter(selection.table["duplicate_of"].is_valid())
    assert len(page.pictures) == 6 + 2 * min(4, len(gone))
    assert {max(picture.size) for picture in page.pictures} == {SIDE}
    assert Page(replace(selection, origin=replace(selection.origin, spec=None))._repr_html_()).pictures == []
    for file in folder.rglob("*.png"):
        file.unlink()
    assert selection._repr_html_() == selection.summary._repr_html_()


def test_a_subset_shows_its_frames_and_one_that_cannot_be_read():
    features = Features({"id": Value("string"), "image": Image(), HOSTILE: Value("int64")})
    file = io.BytesIO()
    textured(0, (300, 500)).save(file, "PNG")
    rows = {"id": [HOSTILE, "b"], "image": [{"bytes": b"no", "path": None}, {"bytes": file.getvalue(), "path": None}]}
    pool = Dataset.from_dict({**rows, HOSTILE: [1, 2]}, features=features)
    every = MedDEL(eta=1.0, epsilon=None, scope="pool").select(np.eye(2, dtype=np.float32))
    named = every.table.set_column(0, "id", [rows["id"]])
    subset = replace(every, table=named, origin=replace(every.origin, row_ids=False)).filter(pool)
    page = Page(subset._repr_html_())
    page.check_harmless()
    assert "2 of 2" in page.texts
    assert HOSTILE in page.texts
    assert [picture.size for picture in page.pictures] == [(58, 96)]
    without = subset.remove_columns("image")
    assert not hasattr(without, "selection") or "figure" not in without._repr_html_()


def test_a_curve_and_a_summary_are_tables():
    curve = MedDEL(scope="pool", epsilon=None).sweep(np.eye(4), [0.5, 0.7])
    page = Page(curve._repr_html_())
    page.check_harmless()
    assert page.texts[:8] == ["eta", "images", "retention", "epochs", "0.5", "4", "100.00%", "200"]
    summary = next(iter(curve)).summary
    assert [text for line in summary.lines for text in line] == Page(summary._repr_html_()).texts


def test_text_is_escaped():
    Page(table((HOSTILE, ""), [(HOSTILE, HOSTILE)])).check_harmless()


@pytest.mark.parametrize("id", ["../outside", "/etc/hostname", "a/../../outside", "nul\0", "*", "missing/x", ""])
def test_no_file_outside_the_folder_is_opened(id, tmp_path):
    textured(0).save(tmp_path / "outside.png")
    (tmp_path / "frames").mkdir()
    textured(0).save(tmp_path / "frames" / "in.png")
    assert picture_below(tmp_path / "frames", id) is None
    assert picture_below(Path(tmp_path, "frames"), "in").size == (80, 64)

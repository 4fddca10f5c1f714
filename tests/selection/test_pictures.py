"""What the pictures of a selection show: an exact curve through its own point, and sheets with whole ids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import oracle
import pytest
from datasets import Dataset, Image
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import Image as Picture
from PIL import ImageChops
from tiny import textured

from meddel_hf import MedDEL
from meddel_hf.data.contact_sheet import KEPT, Frame, draw_sheet, in_lines
from meddel_hf.selection import pictures


@pytest.fixture(scope="module")
def chosen():
    return MedDEL(retention=0.3, epsilon=None, scope="pool").select(oracle.clumps(200, 8, seed=1, spread=0.3))


def test_the_exact_line_goes_through_the_selections_own_point(chosen):
    own = {chosen.eta: 30.0}
    points = pictures._exact_points(chosen, own, floor=2.5)
    assert dict(points)[chosen.eta] == 30.0
    assert len(points) == 25
    for eta, share in points:
        if eta != chosen.eta:
            alone = MedDEL(eta=eta, epsilon=None, scope="pool").select(oracle.clumps(200, 8, seed=1, spread=0.3))
            assert share == pytest.approx(100 * alone.retention)
    place = [eta for eta, _ in points].index(chosen.eta)
    near = [share for _, share in points[place - 1 : place + 2]]
    assert max(near) - min(near) < 12, "the points beside it are near"
    seen = [share for _, share in points if share > 2.5]
    steps = np.abs(np.diff(seen))
    assert steps.max() < 15, "no step hides much"


def test_the_axis_shows_where_something_happens():
    points = [(-1.0, 1.0), (0.5, 1.0), (0.6, 1.0), (0.8, 100.0), (0.9, 100.0), (1.0, 100.0)]
    assert pictures._etas_seen(points, floor=10.0) == pytest.approx([0.7, 0.8])
    assert pictures._etas_seen([(0.2, 20.0), (0.4, 20.0), (0.6, 50.0)], floor=2.5) == [0.4, 0.6]
    assert pictures._etas_seen([(0.2, 20.0), (0.4, 40.0)], floor=2.5) == [0.2, 0.4]


@pytest.mark.parametrize("spread", [0.0001, 0.3, 2.0])
@pytest.mark.parametrize("settings", [{"retention": 0.3}, {"eta": 0.9, "engine": "blocks"}, {"eta": 1.0}], ids=str)
def test_no_label_is_cut(settings, spread, tmp_path):
    """A label that is cut stands at the border, which is white otherwise."""
    x = oracle.clumps(60, 4, seed=1, spread=spread)
    selection = MedDEL(epsilon=None, scope="pool", **settings).select(x)
    pictures.draw_retention(selection, tmp_path / "curve.png")
    with Picture.open(tmp_path / "curve.png") as picture:
        whole = picture.convert("RGB")
    box = ImageChops.difference(whole, Picture.new("RGB", whole.size, "white")).getbbox()
    assert box[0] > 0
    assert box[1] > 0
    assert box[2] < whole.width
    assert box[3] < whole.height


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("", [""]),
        ("a/frame-0001", ["a/frame-", "0001"]),
        ("abcdefghijklmnopqrstuvwxyz", ["abcdefgh", "ijklmnop", "qrstuvwx", "yz"]),
        ("a/bcdefghij", ["a/bcdefg", "hij"]),
    ],
)
def test_ids_are_whole_and_broken_where_they_can_be(text, lines):
    assert in_lines(text, lambda part: len(part) <= 8) == lines
    assert "".join(in_lines(text, lambda part: len(part) <= 8)) == text


def test_a_sheet_has_room_for_its_longest_id(tmp_path):
    heights = []
    for id in ("a", "hospital/video-17/" * 6):
        draw_sheet("title", [[Frame(id, "kept", KEPT)]], {}, tmp_path / "sheet.png")
        with Picture.open(tmp_path / "sheet.png") as sheet:
            heights.append(sheet.height)
            last = np.asarray(sheet.convert("L"))[-60:]
        assert (last < 200).any(), "the id stands there"
        assert (last[-3:] > 250).all(), "and ends above the edge"
    assert heights[1] >= heights[0] + 3 * 15


def test_groups_are_called_what_they_are(chosen, tmp_path, monkeypatch):
    titles, sheets = [], []

    def draw(title, sheet, images, path):
        titles.append(title)
        sheets.append(sheet)

    monkeypatch.setattr(pictures, "draw_sheet", draw)
    pool = Dataset.from_dict({"image": [textured(row, (8, 8)) for row in range(4)]}).cast_column("image", Image())
    pair = MedDEL(eta=0.9, epsilon=None, scope="pool").select(np.array([[1, 0], [1, 0.01], [0, 1], [-1, 0.5]], "f4"))
    assert pictures.draw_duplicates(pair, pool, tmp_path / "sheet.png")
    assert titles == ["Pairs of near-duplicates, the frame that stands for the others first (1 dropped in all)"]
    assert [frame.note.split(", ")[0] for frame in sheets[0][0]] == ["kept", "near-duplicate"]
    assert sheets[0][0][0].note == "kept, stands for 1"
    other = replace(chosen, origin=replace(chosen.origin, embeddings="x"))  # of frames that are not at hand
    assert pictures.draw_duplicates(other, pool, tmp_path / "sheet.png")
    assert titles[-1].startswith("Groups of near-duplicates")


def test_letters_that_are_not_english_are_letters(tmp_path):
    """A letter that a font lacks is drawn as the box of any other that it lacks."""
    sheets = {}
    for name in ("S\u00fcd", "Su\u0308d", "S\ufffed", "\u0421\u043e\u0444\u0438\u044f", "\ufffe" * 5):
        draw_sheet("a", [[Frame(name, "kept", KEPT)]], {}, tmp_path / "sheet.png")
        sheets[name] = (tmp_path / "sheet.png").read_bytes()
    composed, apart, lacking, cyrillic, boxes = sheets.values()
    assert composed == apart, "the same name in both spellings"
    assert composed != lacking
    assert cyrillic != boxes


def test_a_note_stays_below_its_frame(tmp_path):
    row = [Frame("a", "as it is, but for size and compression, twice as long as fits", KEPT), Frame("b", "short", KEPT)]
    draw_sheet("a", [row], {}, tmp_path / "sheet.png")
    with Picture.open(tmp_path / "sheet.png") as picture:
        below = picture.convert("RGB").crop((178, 44 + 168, 188, picture.height))  # the gap between the two
    assert below.getextrema() == ((255, 255),) * 3


def test_letters_that_the_carried_font_lacks_are_those_of_a_font_of_this_machine(tmp_path, monkeypatch):
    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
    name, drawn = "\u1d81", []
    assert ord(name) not in FT2Font(str(fonts / "DejaVuSans.ttf")).get_charmap()
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    for there in ([], [tmp_path / "damaged.ttf", fonts / "STIXGeneral.ttf"]):
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda there=there: list(map(str, there)))
        draw_sheet(name, [[Frame(name, name, KEPT)]], {}, tmp_path / "sheet.png")
        drawn.append((tmp_path / "sheet.png").read_bytes())
    assert drawn[0] != drawn[1]


def test_an_id_of_any_length_and_of_several_lines_is_drawn(tmp_path):
    asked = []
    lines = in_lines("x" * 5000, lambda part: not asked.append(len(part)) and len(part) <= 25)
    assert ("".join(lines), len(lines)) == ("x" * 5000, 200)
    assert (max(asked) <= 50, len(asked) <= 200 * 10) == (True, True), "no line is sought from the far end of the id"
    row = [Frame(name, "kept", KEPT) for name in ("a\nb", "a\r\nb\u2028c", "\x0b\x0c\x85", "")]
    draw_sheet("a", [row], {}, tmp_path / "sheet.png")
    with Picture.open(tmp_path / "sheet.png") as picture:
        assert picture.width > 4 * 168

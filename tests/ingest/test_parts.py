"""What a path says of its file, by a pattern that a user typed."""

from __future__ import annotations

import pytest

from meddel_hf.errors import InvalidArgument
from meddel_hf.ingest.parts import Parts


def values(pattern: str, path: str) -> dict[str, str] | None:
    return Parts.of(pattern).values(path, path.rpartition(".")[0] or path)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("{center}/*", "north/0001.png", {"center": "north"}),
        ("{center}/*", "north/p1/v1/0001.png", {"center": "north"}),  # * is anything, as with --include
        ("{center}/{patient}/*", "north/p1/0001.png", {"center": "north", "patient": "north/p1"}),
        ("{patient}/{video}/*", "p1/v1/0001.png", {"patient": "p1", "video": "p1/v1"}),
        (
            "{center}/{patient}/{video}/*",
            "north/p1/v1/0001.png",
            {"center": "north", "patient": "north/p1", "video": "north/p1/v1"},
        ),
        ("{video}/{center}/*", "v1/north/0001.png", {"video": "north/v1", "center": "north"}),
        ("{center}_{patient}_*.png", "C1_p7_x_001.png", {"center": "C1", "patient": "C1/p7"}),
        ("*/{label}/*", "a/polyp/b/1.jpg", {"label": "polyp"}),
        ("data_{center}/images_*/*", "data_C1/images_C1/1.jpg", {"center": "C1"}),
        ("{center}/{video}", "north/exam.1.mp4", {"center": "north", "video": "north/exam.1"}),
        ("{Centre}/{ PATIENT }/*", "north/p1/0001.png", {"center": "north", "patient": "north/p1"}),
        ("{Split}/*", "test/0001.png", {"official_split": "test"}),
        ("{center}/*", "0001.png", None),
        ("{center}/{patient}/*", "north/0001.png", None),
        ("a.b/{center}/*", "aXb/north/1.png", None),  # a dot is a dot
    ],
)
def test_values(pattern, path, expected):
    assert values(pattern, path) == expected


def test_one_number_of_two_centres_is_two_patients():
    north, south = (values("{center}/{patient}/*", f"{center}/001/a.png") for center in ("north", "south"))
    assert north["patient"] != south["patient"]


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("*/*", "names nothing"),
        ("{hospital}/*", "names 'hospital': expected one of center, patient"),
        ("{center}/{center}/*", "names 'center' twice"),
        ("{center}/{Centre}/*", "names 'center' twice (as 'Centre' too)"),
        ("{pateint}/*", "did you mean 'patient'?"),
        ("{center/*", "has a brace '{' without its other one"),
        ("center}/*", "has a brace '}' without its other one"),
    ],
)
def test_a_pattern_that_is_none_is_refused(pattern, sentence):
    with pytest.raises(InvalidArgument) as refused:
        Parts.of(pattern)
    assert sentence in str(refused.value)

"""Sizes as people write them."""

from __future__ import annotations

import pytest

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.sizes import bytes_of, written


@pytest.mark.parametrize(
    ("size", "expected"),
    [("4GB", 4_000_000_000), ("1.5 gib", 1_610_612_736), ("512MiB", 536_870_912), ("64kb", 64_000), (7, 7)],
)
def test_what_is_written_is_read(size, expected):
    assert bytes_of(size) == expected


@pytest.mark.parametrize("size", ["", "4", "GB", "-4GB", "4 G", "0GB", 0, -3, 1.5, True, None])
def test_what_is_no_size_is_refused(size):
    with pytest.raises(InvalidArgument, match="scratch must be a size such as 4GB"):
        bytes_of(size, "scratch")


def test_sizes_for_people_are_rounded_up():
    assert (written(1), written(310_000_000), written(4_110_000_000)) == ("1 MB", "310 MB", "4.2 GB")

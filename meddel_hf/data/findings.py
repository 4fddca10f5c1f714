"""What the metadata of many frames add up to: the sentence that `filter` and `push` say."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from meddel_hf.data.metadata.frames import tags_of
from meddel_hf.errors import InvalidArgument, UnreadableImage
from meddel_hf.runtime.words import first_of, plural

log = logging.getLogger(__name__)

_SHOWN = 12  # tags in a sentence


@dataclass
class Findings:
    """Counts over the images that were looked at; `tags` and `telling` are images by name of a tag.

    telling: those tags alone in which a person's name, a position or a device's serial number stands.
    unread:  images in which nothing could be looked for, with the reason of the first.
    """

    images: int = 0
    carrying: int = 0
    tags: Counter[str] = field(default_factory=Counter)
    telling: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    reason: str = ""

    def look(self, data: bytes) -> None:
        """Add what one image's file carries."""
        self.images += 1
        try:
            tags = tags_of(data)
        except UnreadableImage as error:
            self.unread += 1
            self.reason = self.reason or str(error)
            return
        self.carrying += bool(tags)
        self.tags.update({tag.name for tag in tags})
        self.telling.update({tag.name for tag in tags if tag.telling})

    def add(self, others: Findings) -> None:
        """Add what was found elsewhere."""
        self.images += others.images
        self.carrying += others.carrying
        self.tags.update(others.tags)
        self.telling.update(others.telling)
        self.unread += others.unread
        self.reason = self.reason or others.reason

    def lines(self) -> list[str]:
        """What a user should know, a sentence each; none where nothing was found."""
        lines = []
        if self.carrying:
            lines.append(
                f"{self.carrying:,} of {plural(self.images, 'image')}"
                f" {'carries' if self.carrying == 1 else 'carry'} {_named(self.tags, self.telling)}"
            )
        if self.unread:
            lines.append(
                f"metadata of {self.unread:,} of {plural(self.images, 'image')} could not be looked at ({self.reason})"
            )
        return lines

    def check(self, what: object, allowed: bool) -> None:
        """Raises InvalidArgument where tags tell who was examined, where or with what, unless that is allowed."""
        if self.telling and not allowed:
            raise InvalidArgument(
                f"{what} was not pushed: in images stand {_named(self.telling)}, where names, positions or serial "
                "numbers of devices are found: leave all metadata out with --strip-metadata, which changes no pixel, "
                "or publish them with --yes-with-metadata"
            )

    def tell(self, stripped: bool = False) -> None:
        """Log what was found; nothing where that is nothing."""
        for line in self.lines():
            log.warning("metadata: %s%s", line, "; it was left out" if stripped else "")

    def facts(self) -> dict[str, Any]:
        """For a manifest: counts, no values."""
        return {"images": self.images, "carrying": self.carrying, "tags": dict(sorted(self.tags.items()))}


def _named(counts: Counter[str], first: Collection[str] = ()) -> str:
    """Tags with their counts, those of `first` before the others, then by count."""
    most = sorted(counts.items(), key=lambda each: (each[0] not in first, -each[1], each[0]))
    return first_of([f"{name} ({count:,})" for name, count in most], _SHOWN)

"""Centre, patient, video and so on from parts of a path: `{center}/{patient}/{video}/*`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from meddel_hf.data.columns import FIELDS, recognised
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.similar import did_you_mean
from meddel_hf.schema import CENTER, OFFICIAL_SPLIT, PATIENT, VIDEO

SYNONYMS = {"split": OFFICIAL_SPLIT}
_TOKENS = re.compile(r"\{([^{}]*)\}|(\*+)|([^*{}]+)|([{}])")
# A patient's number is that of one centre, and a video's that of one patient: values are told apart by what is above.
_WITHIN = {PATIENT: (CENTER,), VIDEO: (PATIENT, CENTER)}


@dataclass(frozen=True)
class Parts:
    """A pattern of relative paths, such as "{center}/{patient}/*".

    `{name}` is a part of one folder's or file's name, as short as the rest allows; `*` is anything, slashes too. A
    pattern that ends in a name is compared with paths without suffix.
    """

    pattern: str
    expression: re.Pattern[str]
    fields: tuple[str, ...]
    without_suffix: bool

    @classmethod
    def of(cls, pattern: str) -> Parts:
        """Raises InvalidArgument where a field is not known, stands twice, or there is none."""
        regex = ""
        fields: list[str] = []
        last_is_field = False
        for name, stars, plain, brace in (match.groups() for match in _TOKENS.finditer(pattern)):
            if brace is not None:
                raise InvalidArgument(f"--parts {pattern!r} has a brace {brace!r} without its other one")
            last_is_field = name is not None
            if name is not None:
                field = _checked(name, fields, pattern)
                regex += f"(?P<{field}>[^/]+?)"
                fields.append(field)
            else:
                regex += ".*?" if stars else re.escape(plain)
        if not fields:
            raise InvalidArgument(
                f"--parts {pattern!r} names nothing: expected a pattern such as '{{center}}/{{patient}}/*', of "
                f"{', '.join(FIELDS)}"
            )
        return cls(pattern, re.compile(regex, re.DOTALL), tuple(fields), last_is_field)

    def values(self, path: str, stem: str) -> dict[str, str] | None:
        """Of a relative path, and the same without suffix; None where the pattern does not fit.

        A patient is told with the centre, as north/p01, and a video with both.
        """
        match = self.expression.fullmatch(stem if self.without_suffix else path)
        if match is None:
            return None
        plain = match.groupdict()
        return {name: "/".join([*_above(name, plain), value]) for name, value in plain.items()}


def _above(name: str, plain: dict[str, str]) -> list[str]:
    """What stands above a field's value, the highest first."""
    for upper in _WITHIN.get(name, ()):
        if upper in plain:
            return [*_above(upper, plain), plain[upper]]
    return []


def _checked(name: str, before: Sequence[str], pattern: str) -> str:
    """The field that is meant."""
    field = recognised(name, FIELDS, SYNONYMS)
    if field not in FIELDS:
        meant = did_you_mean(name, FIELDS)
        raise InvalidArgument(f"--parts {pattern!r} names {name!r}: expected one of {', '.join(FIELDS)}{meant}")
    if field in before:
        also = "" if name == field else f" (as {name!r} too)"
        raise InvalidArgument(f"--parts {pattern!r} names {field!r} twice{also}")
    return field

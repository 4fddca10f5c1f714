"""A report as one HTML file that needs nothing else: no script, no request; figures are inline SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from itertools import groupby

from PIL import Image

from meddel_hf.report.document import (
    Block,
    Document,
    Entry,
    Gallery,
    Listing,
    Paragraph,
    Picture,
    Point,
    Points,
    Section,
    Sheet,
    Table,
)
from meddel_hf.report.pages.style import css


def html(document: Document, drawn: Mapping[str, str]) -> str:
    """drawn: name of a picture -> its SVG."""
    links = "".join(f'<li><a href="#{s.anchor}">{escape(s.title)}</a></li>' for s in document.sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(document.title)}</title>\n<style>{css()}</style>\n</head>\n<body>\n"
        f'<header><h1>{escape(document.title)}</h1><p class="sub">{escape(document.subtitle)}</p></header>\n'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n'
        + "\n".join(_section(section, drawn) for section in document.sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _section(section: Section, drawn: Mapping[str, str]) -> str:
    parts = []
    for tables, run in groupby(section.blocks, lambda block: isinstance(block, Table)):
        written = "\n".join(_block(block, drawn) for block in run)
        parts.append(f'<div class="tables">{written}</div>' if tables else written)  # side by side where there is room
    blocks = "\n".join(parts)
    return f'<section id="{section.anchor}">\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>'


def _block(block: Block, drawn: Mapping[str, str]) -> str:
    match block:
        case Paragraph():
            return f'<p class="{block.tone}">{_text(block.text)}</p>'
        case Points():
            return _points(block)
        case Table():
            return _table(block)
        case Gallery():
            common = f'<p class="sub">{_text(block.caption)}</p>' if block.caption else ""
            return f'{common}<div class="gallery">{"".join(_figure(p, drawn[p.name]) for p in block.pictures)}</div>'
        case Sheet():
            return _sheet(block)
        case Listing():
            return f'<div class="listing"><h3>{escape(block.title)}</h3><pre>{escape(block.text)}</pre></div>'


def _points(points: Points) -> str:
    title = f"<h3>{_text(points.title)}</h3>" if points.title else ""
    note = f'<p class="sub">{_text(points.note)}</p>' if points.note else ""
    items = "".join(_point(point) for point in points.items)
    return f'<div class="points">{title}{note}<ul>{items}</ul></div>'


def _point(point: Point) -> str:
    return f'<li class="{point.tone}"><b>{_text(point.lead)}</b> {_text(point.text)}</li>'


def _table(table: Table) -> str:
    """The title stands outside the table: it keeps to the column where the table is wider and scrolls."""
    note = f'<p class="sub">{_text(table.note)}</p>' if table.note else ""
    head = "".join(f'<th scope="col">{_text(word)}</th>' for word in table.head)
    rows = "\n".join(f"<tr>{_heading(row[0])}{''.join(map(_entry, row[1:]))}</tr>" for row in table.rows)
    return (
        f'<div class="table"><h3>{_text(table.title)}</h3>{note}\n<div class="scroll"><table '
        f'aria-label="{escape(table.title)}">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n'
        "</table></div></div>"
    )


def _heading(entry: Entry | str) -> str:
    return f'<th scope="row">{_text(entry if isinstance(entry, str) else entry.text)}</th>'


def _entry(entry: Entry | str) -> str:
    if isinstance(entry, str):
        return f"<td>{_text(entry)}</td>"
    below = "".join(f'<span class="small">{_text(line)}</span>' for line in entry.below)
    spans = f' colspan="{entry.spans}"' if entry.spans > 1 else ""
    return f'<td class="{entry.tone}"{spans}><b>{_text(entry.text)}</b>{below}</td>'


def _figure(picture: Picture, drawing: str) -> str:
    caption = f"<figcaption>{_text(picture.caption)}</figcaption>" if picture.caption else ""
    return f'<figure><div role="img" aria-label="{escape(picture.alt)}">{drawing}</div>{caption}</figure>'


def _sheet(sheet: Sheet) -> str:
    """As JPEG inside the page: photographs as PNG would make it several times as large."""
    buffer = io.BytesIO()
    with Image.open(sheet.path) as image:
        image.convert("RGB").save(buffer, "JPEG", quality=82)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    caption = f"<figcaption>{_text(sheet.caption)}</figcaption>"
    return f'<figure><img alt="{escape(sheet.alt)}" src="data:image/jpeg;base64,{data}">{caption}</figure>'


def _text(text: str) -> str:
    """Escaped; no line ends between a number and its per cent sign."""
    return escape(text).replace(" %", "\u00a0%")

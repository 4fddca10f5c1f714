"""A report as Markdown, with its figures as PNG beside it."""

from __future__ import annotations

import re

from meddel_hf.report.document import Block, Document, Entry, Gallery, Listing, Paragraph, Points, Sheet, Table


def markdown(document: Document) -> str:
    parts = [f"# {_plain(document.title)}", _plain(document.subtitle)]
    for section in document.sections:
        parts.append(f"## {_plain(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            text = _plain(block.text)
            return f"**{text}**" if block.tone == "lead" else f"> {text}" if block.tone == "warning" else text
        case Points():
            title = [f"### {_plain(block.title)}"] if block.title else []
            note = [_plain(block.note)] if block.note else []
            items = "\n".join(f"- **{_plain(point.lead)}** {_plain(point.text)}" for point in block.items)
            return "\n\n".join([*title, *note, items])
        case Table():
            return _table(block)
        case Gallery():
            shown = [f"![{_plain(p.alt)}](figures/{p.name}.png)\n\n{_plain(p.caption)}" for p in block.pictures]
            return "\n\n".join(text.strip() for text in (_plain(block.caption), *shown)).strip()
        case Sheet():
            return f"![{_plain(block.alt)}](figures/{block.path.name})\n\n{_plain(block.caption)}"
        case Listing():
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", block.text)), default=0))
            return f"### {_plain(block.title)}\n\n{fence}\n{block.text.rstrip()}\n{fence}"


def _table(table: Table) -> str:
    rows = [[cell for entry in row for cell in _cells(entry)] for row in table.rows]
    lines = [f"### {_plain(table.title)}", ""]
    lines += [_plain(table.note), ""] if table.note else []
    lines.append("| " + " | ".join(map(_plain, table.head)) + " |")
    lines.append("|" + "|".join(["---", *["---:"] * (len(table.head) - 1)]) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def _cells(entry: Entry | str) -> list[str]:
    """An entry that spans several columns stands in the first of them."""
    if isinstance(entry, str):
        return [_plain(entry)]
    text = _plain(entry.text)
    lines = [text if entry.tone == "faint" else f"**{text}**", *map(_plain, entry.below)]
    return [" <br> ".join(lines), *[""] * (entry.spans - 1)]


def _plain(text: str) -> str:
    """Text that Markdown and the HTML inside it leave as it is, on one line."""
    escaped = re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

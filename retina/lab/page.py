"""One page with every picture: a single file without scripts that asks nobody for anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

# Nothing may be loaded and no script run, whatever a stranger's class name says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #ffffff; --faint: #5f6068; --line: #d9dade;
  --link: #0060a8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ea; --paper: #17181b; --faint: #a4a5ad; --line: #3a3b40; --link: #7cc0f4; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 5rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .35rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 0 0 .6rem; }
a { color: var(--link); }
nav ul { columns: 17rem 3; padding-left: 1.1rem; margin: .3rem 0 1rem; }
nav strong { font-weight: 600; }
figure { margin: 2.2rem 0 2.8rem; }
figure svg { display: block; max-width: 100%; height: auto; }
figure svg text { font-family: "DejaVu Sans", Verdana, "Segoe UI", sans-serif; }
figcaption { color: var(--faint); max-width: 46rem; margin-top: .7rem; font-size: .93rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .93rem; margin: .5rem 0 1rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .22rem 1.3rem .22rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
th { font-weight: 600; }
""".strip()


@dataclass(frozen=True)
class Drawn:
    """A picture as it stands in the page."""

    name: str
    title: str
    caption: str
    svg: str  # one element, of our own making


@dataclass(frozen=True)
class Table:
    """Numbers in columns; every cell is text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    pictures: Sequence[Drawn]
    tables: Sequence[Table] = ()


def write_page(title: str, facts: Mapping[str, str], sections: Sequence[Section]) -> str:
    """Return the page as HTML; every text is escaped, pictures stand in it as they are.

    Args:
        title: of the page.
        facts: what was looked at, by name.
        sections: in their order.
    """
    head = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<main>\n"
    )
    parts = [head, f"<h1>{escape(title)}</h1>\n", _table(Table("", (), [*facts.items()])), _contents(sections)]
    parts += [_section(section) for section in sections]
    return "".join([*parts, "</main>\n</body>\n</html>\n"])


def as_file(svg: str) -> str:
    """Return the text of an ``.svg`` file of a picture: dark ink on white."""
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg.replace(
        "<svg ", '<svg style="color:#1b1b1f;background:#ffffff" ', 1
    )


def _contents(sections: Sequence[Section]) -> str:
    parts = ['<nav aria-label="Contents">\n']
    for section in sections:
        items = "".join(
            f'<li><a href="#{escape(picture.name)}">{escape(picture.title)}</a></li>\n' for picture in section.pictures
        )
        parts.append(f"<strong>{escape(section.title)}</strong>\n<ul>\n{items}</ul>\n")
    return "".join([*parts, "</nav>\n"])


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{escape(section.title)}</h2>\n"]
    parts += [_table(table) for table in section.tables]
    for picture in section.pictures:
        svg = picture.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(picture.title)}" ', 1)
        parts.append(
            f'<figure id="{escape(picture.name)}">\n<h3>{escape(picture.title)}</h3>\n{svg}\n'
            f"<figcaption>{escape(picture.caption)}</figcaption>\n</figure>\n"
        )
    return "".join([*parts, "</section>\n"])


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>\n" for row in table.rows)
    title = f"<h3>{escape(table.title)}</h3>\n" if table.title else ""
    start = f"<thead><tr>{head}</tr></thead>\n" if head else ""
    return f'{title}<div class="table"><table>\n{start}<tbody>\n{rows}</tbody>\n</table></div>\n'

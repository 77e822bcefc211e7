"""Reports as pages: sections of text, tables and pictures, written as Markdown or as one HTML file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from edgeasr.errors import ConfigError
from edgeasr.train.evaluation.tables import Table, is_number, markdown

SUFFIXES = (".md", ".html")

STYLE = """
body { font-family: sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 0.5em 0 1.5em }
th, td { border-bottom: 1px solid #ddd; padding: 0.2em 0.8em; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums }
figure { margin: 1em 0 }
code { background: #f3f3f3 }
"""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page.

    Attributes:
        heading: What it is about.
        text: How to read it; what stands between backquotes is code.
        tables: The figures, each with a sentence before it, which may be empty.
        pictures: SVG by the name of its file, without the ending.
    """

    heading: str
    text: str = ""
    tables: Sequence[tuple[str, Table]] = ()
    pictures: Sequence[tuple[str, str]] = ()


def write_page(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Writes a page.

    Args:
        path: Its ending says how: `.html` for one file that holds everything, `.md` for Markdown with its pictures in
            a folder of the page's name beside it.
        title: Of the page.
        sections: What is on it.

    Raises:
        ConfigError: Another ending.
        OSError: It cannot be written.
    """
    check_page(path)
    if path.suffix == ".html":
        path.write_text(html_page(title, sections), encoding="utf-8")
        return
    folder = path.with_suffix("")
    pictures = [picture for section in sections for picture in section.pictures]
    if pictures:
        folder.mkdir(exist_ok=True)
    for name, svg in pictures:
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    path.write_text(markdown_page(title, sections, folder.name), encoding="utf-8")


def check_page(path: Path) -> None:
    """Refuses a page that could not be written, before there is anything to write.

    Raises:
        ConfigError: The ending is unknown, or the folder is missing.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: expected a name that ends with {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise ConfigError(f"{path} cannot be written: there is no folder {path.parent}")


def markdown_page(title: str, sections: Sequence[Section], folder: str) -> str:
    """The page as Markdown, with pictures in a folder."""
    lines = [f"# {title}", ""]
    for section in sections:
        lines += [f"## {section.heading}", ""]
        lines += [section.text, ""] if section.text else []
        for name, _ in section.pictures:
            lines += [f"![{name}]({folder}/{name}.svg)", ""]
        for sentence, table in section.tables:
            lines += [sentence, ""] if sentence else []
            lines.append(markdown(table))
    return "\n".join(lines).rstrip() + "\n"


def html_page(title: str, sections: Sequence[Section]) -> str:
    """The page as one HTML file."""
    lines = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        f"<style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
    ]
    for section in sections:
        lines.append(f"<h2>{escape(section.heading)}</h2>")
        lines += [f"<p>{_inline(section.text)}</p>"] if section.text else []
        for _, svg in section.pictures:
            lines.append(f"<figure>{svg}</figure>")
        for sentence, table in section.tables:
            lines += [f"<p>{_inline(sentence)}</p>"] if sentence else []
            lines.append(_html_table(table))
    return "\n".join([*lines, "</body></html>", ""])


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table[0])
    rows = [
        "".join(f'<td class="number">{escape(c)}</td>' if is_number(c) else f"<td>{escape(c)}</td>" for c in row)
        for row in table[1:]
    ]
    return "\n".join(["<table>", f"<tr>{head}</tr>", *(f"<tr>{row}</tr>" for row in rows), "</table>"])

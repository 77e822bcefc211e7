"""Tables of figures: for the terminal, and as Markdown. Rows of cells, the first row is the head."""

from __future__ import annotations

Table = list[tuple[str, ...]]


def aligned(table: Table) -> str:
    """The table for the terminal; numbers stand right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    numeric = [all(map(is_number, column[1:])) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def is_number(cell: str) -> bool:
    """Whether a cell holds a number, or stands for one that is not there."""
    return cell[:1] in "+-0123456789"


def markdown(table: Table) -> str:
    """The table as Markdown."""
    rows = [[cell.replace("|", r"\|") for cell in row] for row in table]
    header, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([header, "|---" * len(table[0]) + "|", *body, ""])

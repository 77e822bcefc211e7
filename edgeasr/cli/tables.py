"""Tables of figures: for the terminal, and as Markdown. Rows of cells, the first row is the head."""

from __future__ import annotations

Table = list[tuple[str, ...]]


def aligned(table: Table) -> str:
    """The table for the terminal; numbers stand right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    numeric = [all(cell[:1] in "+-0123456789" for cell in column[1:]) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def markdown(table: Table) -> str:
    """The table as Markdown."""
    header, *body = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([header, "|---" * len(table[0]) + "|", *body, ""])

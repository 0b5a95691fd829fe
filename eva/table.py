"""A table of text, as Markdown and as HTML."""

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of text under their titles, with a note below. `print` gives Markdown; a notebook shows HTML."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def __repr__(self) -> str:
        lines = [self.titles, ["---"] * len(self.titles), *self.rows]
        escaped = ([cell.replace("|", "\\|") for cell in cells] for cells in lines)  # else it would end the cell
        table = "\n".join("| " + " | ".join(cells) + " |" for cells in escaped)
        return f"{table}\n\n{self.note}" if self.note else table

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(title)}</th>" for title in self.titles)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows)
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"

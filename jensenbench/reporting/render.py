"""Tables as values, and their text in Markdown, LaTeX and CSV."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from jensenbench.reporting.style import MISSING, format_count, format_value


@dataclass(frozen=True)
class Cell:
    """One number of a table: value, interval, how many of how many it rests on, and what must be said with it.

    ``mark`` replaces nothing: it is printed after the number (``≤ floor``, ``meaningless``).
    """

    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    n_ok: int = 0
    n: int = 0
    bold: bool = False
    mark: str = ""

    def text(self) -> str:
        """The cell without emphasis: value, interval, n ok / n, mark."""
        if self.n_ok == 0:
            return MISSING
        parts = [format_value(self.value, self.low, self.high), f"{self.n_ok}/{self.n}", self.mark]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Rank:
    """First and last rank that a method may have, equal where it is separated from all others, and its mean."""

    first: int
    last: int
    mean: float

    def text(self) -> str:
        """``3``, or ``1–8`` for a tie."""
        return str(self.first) if self.first == self.last else f"{self.first}–{self.last}"


@dataclass(frozen=True)
class Row:
    """One method and variant (or control), with its cells by column."""

    method: str
    variant: str
    cells: Mapping[str, Cell]
    control: bool = False
    status: str = "ok"
    reason: str = ""
    rank: Rank | None = None
    nfe: float = float("nan")

    @property
    def label(self) -> str:
        return self.variant.replace("_", " ") if self.control else f"{self.method}/{self.variant}"


@dataclass(frozen=True)
class Block:
    """Rows that are ranked together."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """A numbered table of one (pde, prior, task): blocks of rows over common columns.

    Attributes:
        columns: heading of each column by its metric.
        header: sentences above; verdict: first line below; notes: further lines below.
    """

    key: str
    title: str
    columns: Mapping[str, str]
    blocks: tuple[Block, ...]
    header: str = ""
    verdict: str = ""
    notes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


def one_line(text: str) -> str:
    """Text of several lines, such as a traceback's, as one."""
    return " ".join(text.split())


def plain_text(text: str) -> str:
    """Text of any origin as one line of Markdown that holds no HTML; ``<=`` stays."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", one_line(text))


def markdown(table: Table, *, footnotes: Sequence[str] = ()) -> str:
    """A section of ``tables.md``; methods named in ``footnotes`` get a mark."""
    parts = [f"### {table.title}", table.header]
    for block in table.blocks:
        parts += [f"**{block.title}**" if block.title else "", _markdown_block(table, block, footnotes)]
    parts += [table.verdict, "\n".join(f"- {plain_text(note)}" for note in table.notes)]
    return "\n\n".join(part for part in parts if part)


def _markdown_block(table: Table, block: Block, footnotes: Sequence[str]) -> str:
    heading = ["rank", "method", *table.columns.values(), "NFE"]
    return grid(heading, [_markdown_row(row, table.columns, footnotes) for row in block.rows])


def grid(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _markdown_row(row: Row, columns: Mapping[str, str], footnotes: Sequence[str]) -> list[str]:
    name = f"*{row.label}*" if row.control else f"`{row.label}`"
    mark = f"[^{row.method}]" if row.method in footnotes and not row.control else ""
    cells = [_emphasis(text, row.cells.get(key), row.control, "**{}**", "*{}*") for key, text in _texts(row, columns)]
    return [_rank(row), name + mark, *(plain_text(cell).replace("|", "\\|") for cell in cells), format_count(row.nfe)]


def _rank(row: Row) -> str:
    return MISSING if row.rank is None else row.rank.text()


def _texts(row: Row, columns: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Cell texts; a row without results says why in its first cell."""
    for index, key in enumerate(columns):
        if row.status != "ok" and index == 0 and not row.cells:
            yield key, f"{row.status}: {row.reason or 'no reason recorded'}"
        else:
            yield key, row.cells[key].text() if key in row.cells else MISSING


def _emphasis(text: str, cell: Cell | None, control: bool, bold: str, italic: str) -> str:
    if text == MISSING:
        return text
    if control:
        return italic.format(text)
    return bold.format(text) if cell is not None and cell.bold else text


def latex(table: Table) -> str:
    """A ``tabular`` (booktabs) with the header and the verdict as comments around it."""
    lines = [f"% table {table.key}", f"\\begin{{tabular}}{{rl{'l' * len(table.columns)}r}}", "\\toprule"]
    lines += [_latex_line(["rank", "method", *map(_escape, table.columns.values()), "NFE"]), "\\midrule"]
    for index, block in enumerate(table.blocks):
        width = len(table.columns) + 3
        lines += ["\\midrule"] * bool(index)
        lines += [f"\\multicolumn{{{width}}}{{l}}{{{_escape(block.title)}}} \\\\"] * bool(block.title)
        lines += [_latex_row(row, table.columns) for row in block.rows]
    notes = [f"% {one_line(text)}" for text in (table.header, table.verdict, *table.notes) if text]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", *notes]) + "\n"


def _latex_row(row: Row, columns: Mapping[str, str]) -> str:
    texts = [(key, _escape(text)) for key, text in _texts(row, columns)]
    bold, italic = "\\textbf{{{}}}", "\\textit{{{}}}"
    cells = [_emphasis(text, row.cells.get(key), row.control, bold, italic) for key, text in texts]
    name = f"\\textit{{{_escape(row.label)}}}" if row.control else _escape(row.label)
    return _latex_line([_escape(_rank(row)), name, *cells, _escape(format_count(row.nfe))])


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + " \\\\"


def latex_grid(key: str, heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A ``tabular`` (booktabs) of plain cells."""
    lines = [f"% table {key}", f"\\begin{{tabular}}{{{'l' * len(heading)}}}", "\\toprule"]
    lines += [_latex_line([*map(_escape, heading)]), "\\midrule"]
    lines += [_latex_line([*map(_escape, row)]) for row in rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "≤": r"$\leq$", "σ": r"$\sigma$", "–": "--", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "→": r"$\to$",
    "†": r"$\dagger$", "²": "$^2$", "₂": "$_2$", "^": r"\^{}", "~": r"\~{}",
}  # fmt: skip


def _escape(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in one_line(text))


def frame(table: Table) -> pd.DataFrame:
    """One line per cell: everything the table shows, and the numbers in full precision."""
    records = [
        {
            **table.labels, "block": block.title, "rank": _rank(row), "method": row.method, "variant": row.variant,
            "control": row.control, "status": row.status, "reason": one_line(row.reason), "nfe": row.nfe, "metric": key,
            **vars(row.cells.get(key, Cell())),
        }
        for block in table.blocks for row in block.rows for key in table.columns
    ]  # fmt: skip
    return pd.DataFrame(records)

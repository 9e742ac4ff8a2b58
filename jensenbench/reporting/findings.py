"""Findings: sentences written by people, in which every number is a reference into a published table.

A source is Markdown. In its text, ``{name}`` stands for a number. Blocks fenced as ``yaml`` say what each name is:

    name: {file: reports/questions.md, section: …, row: {PDE: burgers-32, quantity: residual}, column: value}

``file`` is a CSV or Markdown table below the root of the repository, or a pattern for several of equal columns;
``section`` is the heading above a table in Markdown. ``row`` gives the text of cells that choose one row; a list allows
any of several texts. ``column`` is the cell that is printed, or three cells: a value and the ends of its interval.
With ``of: least``, ``largest`` or ``count`` several rows may fit. Rendered text links each number to its file.

The rule: the text holds no digit outside ``{name}``, but in code spans, links, arXiv identifiers and the level of
intervals, ``95 %``. :func:`typed_digits` finds what breaks it.
"""

import csv
import gzip
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jensenbench.errors import UserError
from jensenbench.io.files import write_text
from jensenbench.io.provenance import ROOT
from jensenbench.reporting.style import format_value

SOURCE, PAGE = ROOT / "docs" / "findings.md", ROOT / "reports" / "findings.md"
BLOCK = re.compile(r"^```yaml\n(.*?)^```\n+", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"\{([^{}]+)\}")
ALLOWED = re.compile(r"`[^`]*`|\]\([^)]*\)|arXiv:\d{4}\.\d{4,5}|95 %")  # code, link targets, papers, level of intervals
HEADING, RULE = re.compile(r"#+ (.*)"), re.compile(r"\|[ |:-]+\|")  # a heading; the line below the head of a table
CELLS = re.compile(r"(?<!\\)\|")  # what parts the cells of a line
ENDS = {"least": min, "largest": max}
DIGITS = 3  # of a number that is printed
KEYS = {"file", "section", "row", "column", "of"}
Row = Mapping[str, str]


@dataclass(frozen=True)
class Reference:
    """Where a number of the text stands; attributes as in the head of this module."""

    name: str
    file: str
    column: Sequence[str]
    row: Mapping[str, Sequence[str]]
    section: str = ""
    of: str = ""

    def resolve(self, root: Path) -> tuple[str, Path]:
        """The number's text and its file; raises where not exactly one row fits, or none of several."""
        files = sorted(root.glob(self.file))
        rows = [(row, file) for file in files for row in _rows(file, self.section) if self._fits(row, file)]
        if self.of == "count" and files:
            return str(len(rows)), rows[0][1] if rows else files[0]
        if not rows or (len(rows) > 1 and not self.of):
            raise UserError(f"{{{self.name}}}: {len(rows)} rows of {self.file} fit; change `row` or add `of`")
        if self.of:
            rows = [ENDS[self.of](rows, key=lambda pair: float(pair[0][self.column[0]]))]
        row, file = rows[0]
        return _shown([row[name] for name in self.column]), file

    def _fits(self, row: Row, file: Path) -> bool:
        missing = {*self.row, *self.column} - set(row)
        if missing:
            raise UserError(f"{{{self.name}}}: {file} has no column {', '.join(sorted(missing))}")
        number = self.of in ("", "count") or _number(row[self.column[0]])
        return number and all(row[name] in texts for name, texts in self.row.items())


def render(source: Path = SOURCE, out: Path = PAGE, *, root: Path = ROOT) -> None:
    """Write ``out``: the text of ``source`` with its numbers, each a link to its file.

    Raises:
        UserError: a reference that is unknown, unused or does not fit exactly one number, or a digit typed by hand.
    """
    text = source.read_text(encoding="utf-8")
    typed = list(typed_digits(text))
    if typed:
        raise UserError(f"{source} has digits typed by hand, use references: {typed[0]}")
    found = references(text)
    body = BLOCK.sub("", text)
    used = set(NAME.findall(body))
    if used != set(found):
        raise UserError(f"{source}: names without a number or numbers without use: {sorted(used ^ set(found))}")

    def number(match: re.Match[str]) -> str:
        value, file = found[match[1]].resolve(root)
        return f"[{value}]({Path(os.path.relpath(file, out.parent)).as_posix()})"

    write_text(out, NAME.sub(number, body).rstrip() + "\n")


def references(text: str) -> dict[str, Reference]:
    """All references of a source by name."""
    found: dict[str, Reference] = {}
    for block in BLOCK.findall(text):
        for name, fields in _definitions(block).items():
            if name in found or not {"file", "column"} <= set(fields) <= KEYS:
                raise UserError(f"{{{name}}} is defined twice or has other keys than {', '.join(sorted(KEYS))}")
            if fields.get("of", "count") not in ("count", *ENDS):
                raise UserError(f"{{{name}}}: `of: {fields['of']}` is none of count, {', '.join(ENDS)}")
            row = {key: _texts(value) for key, value in fields.get("row", {}).items()}
            column = _texts(fields["column"])
            found[name] = Reference(name, **{**fields, "row": row, "column": column})
    return found


def _definitions(block: str) -> Mapping[str, Any]:
    try:
        return yaml.safe_load(block)
    except yaml.YAMLError as error:
        raise UserError(f"a block of references is no YAML: {error}") from error


def typed_digits(text: str) -> Iterator[str]:
    """Lines of the text that hold a digit where the rule allows none."""
    for line in BLOCK.sub("", text).splitlines():
        if re.search(r"\d", ALLOWED.sub("", NAME.sub("", line))):
            yield line


def _texts(value: Any) -> list[str]:
    return [str(part) for part in (value if isinstance(value, list) else [value])]


def _shown(texts: Sequence[str]) -> str:
    """Text and numbers of at most three digits as they stand, other numbers with three digits."""
    short = len(texts) == 1 and sum(map(str.isdigit, texts[0].lstrip("-0."))) <= DIGITS
    if len(texts) == 1 and (short or not _number(texts[0])):
        return texts[0]
    return format_value(*(float(text or "nan") for text in texts))


def _number(text: str) -> bool:
    try:
        return bool(float(text) == float(text))
    except ValueError:
        return False


def _rows(file: Path, section: str) -> Iterator[Row]:
    """Rows of a CSV file, or of the tables of a page in Markdown below one heading."""
    if file.suffix == ".md":
        yield from _markdown_rows(file.read_text(encoding="utf-8").splitlines(), section)
        return
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rt", newline="", encoding="utf-8") as stream:
        yield from csv.DictReader(stream)


def _markdown_rows(lines: Sequence[str], section: str) -> Iterator[Row]:
    head: list[str] = []
    inside = not section
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if title := HEADING.fullmatch(line):
            inside = not section or title[1] == section
        if not line.startswith("|"):
            head = []
        elif RULE.fullmatch(after):
            head = _cells(line)
        elif inside and head and not RULE.fullmatch(line):
            yield dict(zip(head, _cells(line), strict=True))


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in CELLS.split(line)[1:-1]]

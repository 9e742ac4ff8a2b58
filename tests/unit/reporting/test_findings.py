"""Findings: every number of the text is a reference that resolves, and none is typed by hand."""

import re

import pytest

from jensenbench.errors import UserError
from jensenbench.io.provenance import ROOT
from jensenbench.reporting import findings

CSV = "method,variant,value,low,high,rank\ndps,a,0.51234,0.4,0.6,1\ndps,b,0.75,,,2\neci,a,,,,\n"
PAGE = """# Page
## First
| method | R \\| x | reading |
| --- | --- | --- |
| `dps` | × 2.00 [1.90, 2.10] | higher |
## Second
| method | R \\| x | reading |
| --- | --- | --- |
| `dps` | 0.0312 | lower |
"""


@pytest.fixture
def render(tmp_path):
    """Text of one sentence with one number, rendered from a small repository."""
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "table.csv").write_text(CSV)
    (tmp_path / "reports" / "page.md").write_text(PAGE)

    def rendered(reference: str, text: str = "The value is {one}.") -> str:
        source, out = tmp_path / "source.md", tmp_path / "reports" / "findings.md"
        source.write_text(f"{text}\n\n```yaml\none: {reference}\n```\n")
        findings.render(source, out, root=tmp_path)
        return out.read_text()

    return rendered


def test_the_findings_of_the_repository_resolve_and_are_rendered(tmp_path):
    """The page below ``reports/`` is that of today's tables; ``python -m jensenbench findings`` writes it."""
    out = tmp_path / "findings.md"
    findings.render(out=out)
    unlinked = [re.sub(r"\]\([^)]*\)", "]", page.read_text()) for page in (out, findings.PAGE)]
    assert unlinked[0] == unlinked[1]
    targets = re.findall(r"\]\(([^)]*)\)", findings.PAGE.read_text())
    assert len(targets) == len(findings.NAME.findall(findings.BLOCK.sub("", findings.SOURCE.read_text())))
    assert all((findings.PAGE.parent / target).is_file() for target in targets)


def test_no_number_of_the_source_is_typed_by_hand():
    assert list(findings.typed_digits(findings.SOURCE.read_text())) == []


def test_the_readme_states_findings_without_numbers():
    section = (ROOT / "README.md").read_text().split("## What it says so far\n")[1].split("\n## ")[0]
    assert "reports/findings.md" in section
    assert list(findings.typed_digits(section)) == []


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("falls to 0.26 times", True),
        ("in ２ of them", True),
        ("falls to {name 2} times", False),
        ("x₀ + σε, 95 % intervals, `32` × `32`, arXiv:2403.14404, [a](b2.md)", False),
        ("inside 90 %", True),
    ],
)
def test_a_digit_is_typed_unless_the_rule_allows_it(line, typed):
    assert bool(list(findings.typed_digits(line))) == typed


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        (
            "{file: reports/table.csv, row: {method: dps, variant: a}, column: [value, low, high]}",
            "0.512 [0.400, 0.600]",
        ),
        ("{file: reports/table.csv, row: {method: dps, variant: a}, column: value}", "0.512"),
        ("{file: reports/table.csv, row: {variant: b}, column: value}", "0.75"),
        ("{file: reports/table.csv, row: {variant: b}, column: [value, low, high]}", "0.750"),
        ("{file: reports/*.csv, column: value, of: largest}", "0.75"),
        ("{file: reports/table.csv, column: value, of: least}", "0.512"),
        ("{file: reports/table.csv, row: {method: [dps, eci]}, column: value, of: count}", "3"),
        ("{file: reports/table.csv, row: {rank: 1}, column: method}", "dps"),
    ],
)
def test_a_reference_names_a_cell_of_a_table(render, reference, value):
    assert render(reference) == f"The value is [{value}](table.csv).\n"


def test_a_reference_to_a_page_names_its_section(render):
    reference = "{{file: reports/page.md, section: {}, row: {{method: '`dps`'}}, column: 'R | x'}}"
    assert render(reference.format("First")) == "The value is [× 2.00 [1.90, 2.10]](page.md).\n"
    assert render(reference.format("Second")) == "The value is [0.0312](page.md).\n"


@pytest.mark.parametrize(
    ("reference", "text", "said"),
    [
        ("{file: reports/table.csv, row: {method: pcfm}, column: value}", "{one}", "0 rows"),
        ("{file: reports/table.csv, row: {method: dps}, column: value}", "{one}", "2 rows"),
        ("{file: reports/gone.csv, column: value}", "{one}", "0 rows"),
        ("{file: reports/gone.csv, column: value, of: count}", "{one}", "0 rows"),
        ("{file: reports/table.csv, row: {variant: b}, column: mean}", "{one}", "no column mean"),
        ("{file: reports/table.csv, row: {task: b}, column: value}", "{one}", "no column task"),
        ("{file: reports/table.csv, row: {variant: b}, column: value}", "{one} {two}", "two"),
        ("{file: reports/table.csv, row: {variant: b}, column: value}", "none", "one"),
        ("{file: reports/table.csv, row: {variant: b}, column: value}", "{one} of 4", "typed by hand"),
        ("{file: reports/table.csv, row: {variant: b}, column: value, digits: 3}", "{one}", "other keys"),
        ("{file: reports/table.csv, column: value, of: mean}", "{one}", "mean"),
        ("{file: reports/table.csv", "{one}", "no YAML"),
    ],
)
def test_what_does_not_resolve_is_refused(render, reference, text, said):
    with pytest.raises(UserError, match=said):
        render(reference, text)

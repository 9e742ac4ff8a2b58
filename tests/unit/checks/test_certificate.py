"""Certificates of PDE modules: statistics that tell the released law from another, floors, times, and their page."""

import json
from typing import ClassVar

import pytest
import torch

from jensenbench import cli
from jensenbench.checks import certificate
from jensenbench.plugins.registry import make_pde
from pdes.poisson import Poisson


class Louder(Poisson):
    """A law with 20 % larger amplitude."""

    name: ClassVar[str] = "poisson"

    def draw(self, indices, *, seed):
        return 1.2 * super().draw(indices, seed=seed)


class Shifted(Poisson):
    def draw(self, indices, *, seed):
        return super().draw(indices, seed=seed) + 0.05


@pytest.fixture
def fewer(monkeypatch):
    monkeypatch.setattr(certificate, "STATES", 300)
    monkeypatch.setattr(certificate, "POINTS", 24)
    monkeypatch.setattr(certificate, "SIZES", (8,))


def farthest(pde) -> dict[str, float]:
    return {s.field: max(abs(s.z_mean), abs(s.z_std)) for s in certificate.compare_released(pde)}


def test_the_law_is_told_from_a_louder_and_a_shifted_one(fewer):
    right, louder, shifted = (farthest(pde(pde.Config(n=8))) for pde in (Poisson, Louder, Shifted))
    assert max(right.values()) < certificate.FARTHEST, right
    assert min(louder.values()) > certificate.FARTHEST, louder
    assert shifted["f"] > certificate.FARTHEST


def test_a_wrong_law_fails_the_certificate(fewer):
    (failed,) = certificate.certify(Louder(Louder.Config(n=8))).failures
    assert failed.name == "released_law"


def test_an_integral_mean_does_not_depend_on_where_the_edges_lie():
    for kind in ("node", "left_closed"):
        pde = make_pde("darcy", {"n": 128, "grid": kind})
        x, y = pde.grid.mesh()
        u = torch.stack([1 + 0 * x, torch.sin(torch.pi * x) * torch.sin(torch.pi * y)])[None]
        first, second = certificate._moments(pde, u)["u"]
        assert float(first) == pytest.approx(4 / torch.pi**2, rel=1e-3)
        assert float(second) == pytest.approx(1 / 4, rel=1e-3)


def test_rounding_to_single_precision_shows():
    pde = make_pde("poisson", {"n": 16})
    floor = certificate.float32_floor(pde, pde.generate(range(8), seed=0))
    assert 1e-9 < floor < 1e-5


def test_sizes_that_would_take_too_long_are_left_out(monkeypatch):
    monkeypatch.setattr(certificate, "SIZES", (8, 16, 32))
    monkeypatch.setattr(certificate, "LONGEST", 0.0)
    speeds = certificate.speeds(make_pde("poisson", {"n": 8}))
    assert speeds[8] is not None
    assert speeds[16] is speeds[32] is None
    assert set(certificate.speeds(make_pde("circle", {})).values()) == {None}


def test_the_certificate_stands_on_the_page(tmp_path, fewer):
    for name in ("poisson", "circle"):
        assert cli.main(["check", "pde", name, "--out", str(tmp_path / f"{name}.json")]) == 0
    files = [str(tmp_path / f"{name}.json") for name in ("poisson", "circle")]
    assert cli.main(["conformance", "--out", str(tmp_path / "page.md"), *files]) == 0
    _, first, second = (tmp_path / "page.md").read_text().split("\n### ")[-3:]
    labels = json.loads((tmp_path / "poisson.json").read_text())["labels"]
    found, exact = rows_of(first)
    assert found["PDE"] == labels["PDE"] == "poisson-32"
    assert abs(float(found["order"]) - 2) < 0.3
    assert float(found["floor float64"]) < 1e-12 < float(found["floor float32"])
    assert float(found["floor 4th order"]) > 1e-3
    assert float(found["1 % noise"]) > 10
    assert (found["affine"], float(found["ms at 8²"]) > 0) == ("yes", True)
    assert (exact["declared order"], exact["order"], exact["ms at 8²"]) == ("exact", "–", "–")
    assert exact["floor 4th order"] == "–"
    assert [(row["PDE"], row["field"], row["released std"]) for row in rows_of(second)] == [
        ("poisson-32", "f", "0.2919"),
        ("poisson-32", "u", "0.004175"),
    ]


def rows_of(block: str) -> list[dict[str, str]]:
    """The rows of the table in a block of the page."""
    head, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines() if line[:2] == "| ")
    return [dict(zip(head, row, strict=True)) for row in rows]

"""Residuals, data misfits and masks against recorded outputs of DiffusionPDE's public functions."""

import re

import pytest
import torch

from jensenbench.core.codec import Codec
from jensenbench.core.masks import published_mask
from jensenbench.core.problem import Problem
from jensenbench.plugins.registry import make_pde
from tests.support.golden import Fixture, mask_observation

FIXTURE = Fixture("diffusionpde_losses")
ELLIPTIC = ("darcy", "poisson", "helmholtz")
FLOWS = ("ns_nonbounded", "ns_bounded")
MASKS = [key for key in FIXTURE.keys("masks") if key.startswith("random_index")]


def _problem(name, states, mask, truth, **settings):
    pde = make_pde(name, {"n": states.shape[-1], **settings})
    fields = len(pde.fields)
    codec = Codec(pde, shift=[0.0] * fields, scale=[1.0] * fields)
    return Problem(pde, "recorded", codec, observation=mask_observation(mask, truth, tuple(states.shape)))


@pytest.mark.parametrize("case", ELLIPTIC)
def test_elliptic_residuals_and_misfits(case):
    states, truth, mask = (
        torch.stack([FIXTURE[f"{case}/{name.format(field)}"] for field in ("a", "u")])[None]
        for name in ("{}", "{}_true", "mask_{}")
    )
    problem = _problem(case, states, mask, truth)
    FIXTURE.assert_close(f"{case}/pde", problem.residual(states, "diffusionpde")["interior"][0])
    misfit = problem.misfit(states)[0]
    FIXTURE.assert_close(f"{case}/obs_a", misfit[0])
    FIXTURE.assert_close(f"{case}/obs_u", misfit[1])


def test_burgers_residual_and_misfit():
    state, truth = (FIXTURE[f"burgers/{name}"][None, None] for name in ("u", "u_true"))
    sensors = FIXTURE["burgers/sensor_columns"]
    mask = torch.zeros_like(state)
    mask[..., sensors] = 1
    problem = _problem("burgers", state, mask, truth)
    residual = problem.residual(state, "diffusionpde")["interior"][0]
    FIXTURE.assert_close("burgers/pde_rows", residual[FIXTURE["burgers/pde_row_index"]])
    FIXTURE.assert_close("burgers/pde_border_columns", residual[:, [0, 1, -2, -1]])
    FIXTURE.assert_close("burgers/pde_norm", residual.norm())
    FIXTURE.assert_close("burgers/obs_at_sensors", problem.misfit(state)[0, 0][:, sensors])


@pytest.mark.parametrize("case", FLOWS)
def test_navier_stokes_residual_and_misfit(case):
    """The last vorticity alone enters; the recorded misfit is that to zero."""
    last = FIXTURE[f"{case}/u"]
    states, mask = torch.stack([torch.zeros_like(last), last])[None], torch.zeros(1, 2, *last.shape)
    mask[0, 1].view(-1)[FIXTURE[f"{case}/mask_index"]] = 1
    problem = _problem("navier_stokes", states, mask, torch.zeros_like(states), arm="end_points")
    FIXTURE.assert_close(f"{case}/pde", problem.residual(states, "diffusionpde")["interior"][0])
    FIXTURE.assert_close(f"{case}/obs_u_norm", problem.misfit(states).norm())


@pytest.mark.parametrize(("key", "seed"), list(zip(MASKS, FIXTURE.config["random_index_seeds"], strict=True)))
def test_random_points_follow_the_published_law(key, seed):
    recorded = FIXTURE[f"masks/{key}"]
    shape = [int(size) for size in re.findall(r"_(\d+)x(\d+)", key)[0]]
    mask = published_mask(len(recorded), shape, seed)
    FIXTURE.assert_close(f"masks/{key}", mask.flatten().nonzero().flatten())

"""What a user reads about a name that nothing answers to."""

import pytest

from jensenbench.errors import UnknownName


@pytest.mark.parametrize(
    ("typed", "known", "offered"),
    [
        ("darcie", ["burgers", "darcy"], "darcy"),
        ("darcy", ["darcy_corner"], "darcy_corner"),
        ("pv", ["edm", "vp"], "vp"),
    ],
)
def test_the_nearest_name_is_offered(typed, known, offered):
    assert f"did you mean {offered!r}?" in str(UnknownName("PDE", typed, known))


@pytest.mark.parametrize(
    ("typed", "known"), [("burgers", ["darcy"]), ("fp8", ["auto", "float32"]), ("m", ["n"]), ("x", [])]
)
def test_nothing_is_offered_where_no_name_is_near(typed, known):
    message = str(UnknownName("PDE", typed, known))
    assert "did you mean" not in message
    assert (", ".join(known) or "none") in message

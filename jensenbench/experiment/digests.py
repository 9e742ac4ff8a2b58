"""Which sources a stage runs: the plug-ins that it is given beside its own module."""

from functools import cache

from jensenbench.io.sources import digest_sources
from jensenbench.plugins.registry import HIGH_ORDER


@cache
def stage_digest(stage: str, *, pde: str = "", methods: tuple[str, ...] = ()) -> str:
    """Digest of the sources of a stage on a PDE with methods, by the names of their modules."""
    plugins = [*([f"pdes.{pde}"] if pde else []), *(f"methods.{method}" for method in methods)]
    judged = [HIGH_ORDER] if stage == "evaluate" else []
    return digest_sources([f"jensenbench.stages.{stage}", *plugins, *judged])

"""JensenBench: a reproducible benchmark of constrained diffusion methods for PDEs."""

__version__ = "0.1.0"

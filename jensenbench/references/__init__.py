"""Reference posteriors of nonlinear problems: Markov chains in the white noise behind the coefficient."""

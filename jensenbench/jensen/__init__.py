"""The Jensen gap E[R(x0) | x_t] - R(E[x0 | x_t]) of a residual R under a prior, by several independent estimators."""

"""PDE modules: one public file is one PDE; files that start with ``_`` are shared helpers."""

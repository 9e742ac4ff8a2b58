"""Methods: one public file is one method; files that start with ``_`` are shared helpers."""

"""The package of the eva course. `eva.data`, `eva.model` and `eva.training` are where to begin; see README.md."""

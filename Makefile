# `make train` trains the network, `make test` runs every test, `make lab` opens the course.
# Each makes the virtual environment first, where it is missing or older than pyproject.toml. Set VENV to share one.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TESTS ?= notebooks tests
READY := $(VENV)/.installed-for-eva

.PHONY: train test lab lint refresh badges

train: $(READY)
	$(BIN)/python -m eva train

test: $(READY)
	$(BIN)/python -m pytest --nbmake $(TESTS)

lab: $(READY)
	$(BIN)/jupyter lab notebooks/01_the_data.ipynb

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Execute the notebooks, or one (NB=02), and keep their outputs.
refresh: $(READY)
	$(BIN)/python tools/notebooks.py refresh $(NB)

# Write the Colab links and set-up cells from the repository that pyproject.toml names.
badges: $(READY)
	$(BIN)/python tools/notebooks.py badges

# pip takes an installed torch as it is: put the CPU-only build there first to save 5 GB (README.md).
$(READY): pyproject.toml
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[notebooks,dev]'
	touch $@

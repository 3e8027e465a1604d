# make venv        a virtual environment in .venv with the locked versions
# make quickstart  the example pipeline, end to end on this machine
# make test        every test that needs no GPU and no cluster
# make check       format, lint, types, import directions, fast tests
# make lock        writes requirements.lock anew from pyproject.toml

PYTHON ?= python3
UV_VERSION = 0.13.9
BIN = .venv/bin

.PHONY: venv quickstart test check lock

venv: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --compile-bytecode --no-deps --no-build-isolation --editable .
	touch $@

quickstart: venv
	$(BIN)/pipeline run examples/quickstart/dag.yaml

test: venv
	$(BIN)/python -m pytest -m "not gpu and not cluster and not slow" $(PYTEST_ARGS)

check: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit tests/property tests/architecture -m "not gpu and not cluster and not slow"

lock:
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --extra dev --extra s3 pyproject.toml -o requirements.lock

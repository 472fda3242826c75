# Two commands do everything: `make demo` and `make test`. The rest is for those who work on holdfast.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check laws docs lint clean
.DELETE_ON_ERROR:

demo: .venv/.installed  ## simulate a shop, train, back-test, promote, score, and say where to look
	$(BIN)/holdfast demo

test: .venv/.developer  ## every test, on all cores
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

check: .venv/.developer lint  ## lint, strict types, the rooms' walls, generated docs = committed docs
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/generate.py --check

lint: .venv/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

laws: .venv/.developer  ## the laws with 1,000 examples each instead of 50
	HOLDFAST_EXAMPLES=1000 $(BIN)/python -m pytest tests/laws --numprocesses auto

docs: .venv/.installed  ## write the generated pages anew
	$(BIN)/python docs/generate.py

clean:
	rm -rf .venv build dist demo .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(FITS)' \
		|| { echo "holdfast needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing holdfast into .venv (a minute or two, once)"
	$(PIP) --editable .
	@touch $@

.venv/.developer: .venv/.installed
	@echo "installing the developers' tools into .venv (a minute or two, once)"
	$(PIP) --editable '.[dev,postgres,tune]'
	@touch $@

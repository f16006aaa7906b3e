# make demo: train, evaluate, compare and film an HRM on 4 x 4 Sudoku (a few minutes on a CPU); results in demo/
# make test: lint, types and the test suite
# Both make their own virtual environment in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test install lint types clean

demo: $(INSTALLED)
	$(BIN)/hrm-gym demo

test: $(INSTALLED) lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "hrm-gym needs Python 3.10 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy follows files, not the package-dir mapping, so it is shown the package as it is installed
types: $(INSTALLED)
	rm -rf build/types && mkdir -p build/types/hrm_gym
	cp -rs $(CURDIR)/hrm_gym/. build/types/hrm_gym/
	for room in envs agents train; do ln -s $(CURDIR)/$$room build/types/hrm_gym/$$room; done
	MYPYPATH=build/types $(BIN)/mypy -p hrm_gym

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis demo

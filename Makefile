# Archive7.  `make demo` and `make test` need Python 3.11 or newer (with its module venv) and make;
# everything else is installed into .venv.  Another Python: make PYTHON=/path/to/python3 test

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# -qq: errors only.  The version of pip that came with the Python is good enough.
PIP := PIP_ROOT_USER_ACTION=ignore $(BIN)/python -m pip --disable-pip-version-check -qq
# More for pytest, such as PYTEST_ARGS='-x -k crash'.
PYTEST_ARGS ?=
# More for tests/crash/run.py: a goal of distinct states, seconds, --seed, --jobs.
CRASH_ARGS ?= --states 1000000 --jobs 2
# More for tests/fuzz/run.py: --seconds, --seed, --only.
FUZZ_ARGS ?= --seconds 60
# More for bench/run.py, such as BENCH_ARGS=--quick.
BENCH_ARGS ?=

# Folders are among them, so that a module that was removed is noticed too.
SOURCES := $(shell find archive7 -name __pycache__ -prune -o \
	\( -type d -o -name '*.py' -o -name py.typed \) -print)
READY := $(VENV)/.stamp-venv
PACKAGE := $(VENV)/.stamp-package

.PHONY: help demo test lint types format docs bench bench-large soak crash fuzz install clean distclean
# Two pips at once in one environment would spoil it.
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo 'make demo         install, then run ar7 demo on this tree'
	@echo 'make test         lint, types, then all tests of a default run'
	@echo 'make lint         ruff check, ruff format --check'
	@echo 'make types        mypy --strict'
	@echo 'make format       let ruff format and fix what it can'
	@echo 'make docs         test the documents, write build/docs/*.html'
	@echo 'make bench        Archive7 beside its peers (bench-large: up to 10^6 files)'
	@echo 'make crash        crashes and faults, then 1,000,000 crash states more (CRASH_ARGS)'
	@echo 'make fuzz         mutated containers for a minute (FUZZ_ARGS)'
	@echo 'make soak         the tests that run for long'
	@echo 'make install      bring the package in $(VENV) up to date'
	@echo 'make clean        remove what tools left (distclean: and $(VENV))'

demo: $(VENV)/.stamp-cli $(PACKAGE)
	$(BIN)/ar7 demo

# pytest comes last, so its summary is the last line.
test: lint types
	$(BIN)/pytest $(PYTEST_ARGS)

lint: $(VENV)/.stamp-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.stamp-test $(PACKAGE)
	$(BIN)/mypy --strict

format: $(VENV)/.stamp-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.stamp-test $(PACKAGE)
	$(BIN)/pytest tests/test_docs.py $(PYTEST_ARGS)
	mkdir -p build/docs
	for page in README.rst CHANGELOG.rst docs/*.rst; do \
		$(BIN)/docutils --writer=html5 --halt=2 "$$page" \
			"build/docs/$$(basename "$$page" .rst).html" || exit 1; \
	done

# The peers first, then the cases of pytest-benchmark.  -W default: a peer's warnings are not ours
# to turn into errors.
BENCH_CASES := $(wildcard bench/test_*.py)

bench: $(VENV)/.stamp-bench $(PACKAGE)
	$(BIN)/python bench/run.py $(BENCH_ARGS)
	$(if $(BENCH_CASES),$(BIN)/pytest bench -W default -m 'not large' $(PYTEST_ARGS))

bench-large: $(VENV)/.stamp-bench $(PACKAGE)
	$(BIN)/python bench/run.py --size 1024 $(BENCH_ARGS)
	$(if $(BENCH_CASES),$(BIN)/pytest bench -W default -m large $(PYTEST_ARGS))

crash: $(VENV)/.stamp-test $(PACKAGE)
	$(BIN)/pytest tests/crash tests/faults -s -m 'not soak and not large' $(PYTEST_ARGS)
	$(BIN)/python tests/crash/run.py $(CRASH_ARGS)

fuzz: $(VENV)/.stamp-test $(PACKAGE)
	$(BIN)/python tests/fuzz/run.py $(FUZZ_ARGS)

soak: $(VENV)/.stamp-test $(PACKAGE)
	$(BIN)/pytest -s -m soak $(PYTEST_ARGS)

install: $(VENV)/.stamp-test $(PACKAGE)

clean:
	rm -rf build dist *.egg-info .coverage .coverage.* .benchmarks
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find archive7 tests bench -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf $(VENV) .tox

# --- the environment

$(READY):
	@command -v '$(PYTHON)' >/dev/null || { \
		echo 'Archive7 needs Python 3.11 or newer; $(PYTHON) was not found.' >&2; \
		echo 'Another one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		found=$$('$(PYTHON)' -V 2>&1 | head -n 1); \
		echo "Archive7 needs Python 3.11 or newer; $(PYTHON) says: $$found" >&2; \
		echo 'Another one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' || { \
		echo 'The modules venv and ensurepip of $(PYTHON) are missing.' >&2; \
		echo 'On Debian and Ubuntu they are in the package python3-venv.' >&2; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || '$(PYTHON)' -m venv $(VENV)
	$(PIP) install 'setuptools >= 70.1'
	@touch $@

# What is installed is the built wheel, never the tree: what setup.cfg forgets to ship is missed at
# once.  build/lib would ship modules that were removed.  Each installs the package as well, hence
# the second stamp.
install_package = rm -rf build/lib build/bdist.* archive7.egg-info && \
	$(PIP) install --no-build-isolation

$(VENV)/.stamp-cli: setup.cfg pyproject.toml | $(READY)
	$(install_package) '.[cli]'
	@touch $@ $(PACKAGE)

$(VENV)/.stamp-test: setup.cfg pyproject.toml | $(READY)
	$(install_package) '.[test]'
	@touch $@ $(PACKAGE)

$(VENV)/.stamp-bench: setup.cfg pyproject.toml | $(READY)
	$(install_package) '.[test,bench]'
	@touch $@ $(PACKAGE)

$(PACKAGE): setup.cfg pyproject.toml README.rst $(SOURCES) | $(READY)
	$(install_package) --no-deps --force-reinstall .
	@touch $@

# Every target does its own set-up, on a fresh machine and in any state.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo install test test-all test-lowest package mutate lint format bench docs site notebooks forerunners clean system
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/core ## train on real handwritten digits, print the scores and where the report is
	$(BIN)/likewise train digits

install: .venv/dev ## all that the documents and the tests use, in .venv

test: .venv/dev ## the quick tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not system"

test-all: .venv/ray .venv/docs system ## every test: real data, browser, long ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

test-lowest: ## the quick tests against the lowest allowed versions, in an environment of their own
	$(PYTHON) tools/test_lowest.py

package: ## build wheel and sdist, and use each in a clean environment outside the clone
	$(PYTHON) tools/smoke_package.py

mutate: .venv/dev ## change the source in 200 places, one at a time, and see whether a test notices (an hour on two cores)
	nice -n 10 $(BIN)/python tools/mutate.py --jobs 2

lint: .venv/dev ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/dev ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/dev ## every benchmark (long; on a quiet machine)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

forerunners: .venv/dev ## the forerunners' experiments, whole (hours on two cores; interrupted, they go on), and their page
	for name in video-objects friends mlp-pairs epoch-series folder-trainer; do $(BIN)/likewise reproduce $$name || exit 1; done
	$(BIN)/python tools/forerunners_page.py

docs: .venv/dev ## the pages that are made from the functions
	$(BIN)/python tools/losses_page.py
	$(BIN)/python tools/loss_figures.py
	$(BIN)/python tools/architecture.py

site: .venv/docs ## the documentation as a web site, offline: build/site/index.html; checks every link
	$(BIN)/python tools/build_site.py

notebooks: .venv/docs ## the examples as notebooks, beside their scripts: examples/*.ipynb
	$(BIN)/jupytext --quiet --to ipynb examples/*.py

clean: ## remove what the targets made; runs/ stays
	rm -rf .venv .venv-lowest build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info examples/*.ipynb

.venv/core: pyproject.toml constraints.txt
	test -x $(BIN)/python -a -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/dev: .venv/core
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,view]'
	touch $@

.venv/docs: .venv/core
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

.venv/ray: .venv/dev
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[ray]'
	touch $@

# Debian's chromium and ffmpeg, for the tests of the page and of the video; installed where they are missing.
system:
	@command -v chromium >/dev/null && command -v ffmpeg >/dev/null || { \
	  command -v apt-get >/dev/null || { echo "make test-all needs chromium and ffmpeg on the PATH; install them and try again"; exit 1; }; \
	  as=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$as apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$as apt-get install -y -qq chromium ffmpeg >/dev/null; }

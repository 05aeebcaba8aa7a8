# make book and make test need Linux, git, make and Python >= 3.11; everything else they install into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOWEST := .venv-lowest
NOTEBOOKS := $(sort $(wildcard book/*.ipynb))
EXECUTED := _build/source
# A page with a warning is no page.
BUILD = $(BIN)/jupyter-book build --config _config.yml --toc "$(CURDIR)/_toc.yml" -W -n --keep-going --quiet

# The notebooks' own size is the smallest, and their runs stay out of data/runs. Paths are seen from book/.
NOTEBOOK_ENV := SDNET_PRESET=smoke SDNET_DATASET=digits SDNET_OUTPUT=../_build/outputs SDNET_LEDGER=../_build/ledger
# Several at a time, each on one thread and in a folder of its own: two of them may train the same network.
JOBS ?= $(shell nproc)
EACH := $(MAKE) --no-print-directory --keep-going --jobs=$(JOBS) --output-sync=target
alone = SDNET_PRESET=smoke SDNET_DATASET=digits OMP_NUM_THREADS=1 \
    SDNET_OUTPUT=../_build/alone/$(1)/outputs SDNET_LEDGER=../_build/alone/$(1)/ledger

# As in sdnet/__main__.py, for notebooks and tests.
export GOMP_SPINCOUNT ?= 20000

.DEFAULT_GOAL := help
.PHONY: help book pdf notebooks test test-slow lowest faults nbval walk lint clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml
	@echo "Setting up $(VENV): PyTorch is large, this takes a few minutes the first time."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed; say which with make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar on --editable '.[test]'
	touch $@

book: $(READY) ## train the smallest network, re-execute every notebook, build the book
	rm -rf $(EXECUTED) && mkdir -p $(EXECUTED)
	cp -R book/. $(EXECUTED)
	$(EACH) $(NOTEBOOKS:book/%.ipynb=execute-%)
	$(BUILD) $(EXECUTED) --path-output .
	$(BIN)/python -m pytest tests/book_walk.py
	@echo "Open $(CURDIR)/_build/html/index.html"

BROWSERS := chromium chromium-browser google-chrome google-chrome-stable chrome
BROWSER ?= $(shell for name in $(BROWSERS); do command -v "$$name" && break; done)

pdf: $(READY) ## print the whole book, as it stands in the notebooks, to _build/sdnet.pdf; needs Chromium or Chrome
	@test -n "$(BROWSER)" || { echo "make pdf prints with Chromium or Chrome, and none is on the PATH ($(BROWSERS));" \
	    "install one, or say where it is: make pdf BROWSER=/path/to/chrome"; exit 1; }
	$(BUILD) book --path-output _build/print --builder singlehtml
	"$(BROWSER)" --headless --no-sandbox --disable-gpu --no-first-run --user-data-dir="$(CURDIR)/_build/print/profile" \
	    --virtual-time-budget=60000 --no-pdf-header-footer --generate-pdf-document-outline \
	    --print-to-pdf="$(CURDIR)/_build/sdnet.pdf" "file://$(CURDIR)/_build/print/_build/singlehtml/index.html"
	@echo "Open $(CURDIR)/_build/sdnet.pdf"

notebooks: $(READY) ## renew the outputs that stand in the notebooks
	$(NOTEBOOK_ENV) $(BIN)/python -m sdnet renew $(NOTEBOOKS)

execute-%: $(READY)
	@echo "Executing $*"
	@$(call alone,$*) $(BIN)/papermill --cwd book --no-progress-bar --log-level WARNING \
	    book/$*.ipynb $(EXECUTED)/$*.ipynb

test: $(READY) ## run everything: lint, types, unit tests, notebooks, and the pages in a browser
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow" tests
	@$(EACH) walk lint $(NOTEBOOKS:book/%.ipynb=nbval-%)

nbval: $(READY) ## re-run the notebooks and compare their outputs with the committed ones
	@$(EACH) $(NOTEBOOKS:book/%.ipynb=nbval-%)

nbval-%: $(READY)
	@$(call alone,$*) $(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout 300 \
	    --nbval-sanitize-with tests/nbval.cfg book/$*.ipynb

walk: $(READY) ## build the book as it stands in the notebooks, and visit every page in a browser
	$(BUILD) book --path-output _build/walk
	BOOK="$(CURDIR)/_build/walk/_build/html" $(BIN)/python -m pytest tests/book_walk.py

test-slow: $(READY) ## run the slow tests only: ranks that die, two nodes, rivals in notebook 04; about 7 minutes on two cores (see lowest too)
	$(BIN)/python -m pytest -m slow tests

$(LOWEST)/.ready: pyproject.toml
	@echo "Setting up $(LOWEST) with the lowest versions that pyproject.toml allows."
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13) and \
	    "The lowest versions exist for Python 3.11 and 3.12 only; say which with make lowest PYTHON=...")'
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/python -m uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[test]'
	touch $@

lowest: $(LOWEST)/.ready ## test the library with the lowest allowed versions, in an environment of their own; about 4 minutes
	$(LOWEST)/bin/python -m pytest -n $(JOBS) --dist loadfile -m "not slow" tests/test_parameters.py \
	    tests/csc tests/models tests/data tests/training tests/robust tests/results

faults: $(READY) ## put in faults, quick and long form, and count what became of them in data/faults.csv; about 5 minutes
	SDNET_FAULTS="$(CURDIR)/data/faults.csv" $(BIN)/python -m pytest tests/faults

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean: ## remove everything that was built, the environment included
	rm -rf _build $(VENV) $(LOWEST) .mypy_cache .ruff_cache .pytest_cache

# Every target sets itself up in .venv; only Python >= 3.11 and make are needed.
PYTHON ?= python3
VENV ?= .venv
# Installed first and by itself, so that you can choose another build or version of it.
TORCH ?= torch==2.13.0
BACKENDS = jax tensorflow torch numpy

BIN = $(VENV)/bin
DEMO = $(VENV)/installed-demo
BROWSER = $(VENV)/installed-browser
TEST = $(VENV)/installed-test
DOCS = $(VENV)/installed-docs

.PHONY: help demo browser test test-export test-browser check docs dist lowest nightly clean

help:
	@echo "make demo   train an S5 on handwritten digits (about a minute) into runs/demo"
	@echo "make browser  train a model that streams and serve a page that runs it"
	@echo "make test   run the tests on every backend"
	@echo "make test-export  write files for other runtimes and run them there: minutes"
	@echo "make test-browser  drive the page of make browser in Chromium, and compare it with Keras"
	@echo "make check  lint, formatting and types"
	@echo "make docs   build the site with the API reference into site"
	@echo "make dist   build the wheel, and try it as a newcomer would in an empty environment"
	@echo "make lowest run the tests with the lowest versions that pyproject.toml allows"
	@echo "make nightly  run the tests with the nightly build of Keras"
	@echo "make clean  remove all environments and what was built"

demo: $(DEMO)
	$(BIN)/keras-ssm train digits --layer s5 --backend jax --set epochs=24 --out runs/demo --overwrite

browser: $(BROWSER)
	test -f runs/streaming/result.json || $(BIN)/keras-ssm train digits --layer s5 --backend jax --set model.bidirectional=false epochs=24 --out runs/streaming --overwrite
	$(BIN)/python examples/browser/prepare.py runs/streaming --serve

test: $(TEST)
	$(BIN)/pytest -p no:cacheprovider --dist=each $(foreach name,$(BACKENDS),--tx popen//env:KERAS_BACKEND=$(name))

test-export: $(TEST)
	for name in tensorflow torch jax numpy; do KERAS_BACKEND=$$name KERAS_SSM_ARTEFACTS=1 $(BIN)/pytest -p no:cacheprovider -m artefact tests || exit 1; done

# Under the backend that writes ONNX fastest.
test-browser: $(TEST)
	KERAS_BACKEND=torch KERAS_SSM_ARTEFACTS=1 $(BIN)/pytest -p no:cacheprovider tests/test_browser.py

check: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DOCS)
	$(BIN)/mkdocs build --strict

# The newcomer's hour is the one in tests/newcomer.py; FRAMEWORK is the only one installed.
FRAMEWORK ?= jax
dist: | $(BIN)/python
	$(BIN)/python -m pip install --quiet build
	rm -rf dist .venv-dist
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv .venv-dist
	.venv-dist/bin/python -m pip install --quiet "$$(ls dist/*.whl)[$(FRAMEWORK),plot,data]"
	KERAS_BACKEND=$(FRAMEWORK) .venv-dist/bin/python tests/newcomer.py

lowest:
	$(MAKE) test VENV=.venv-lowest INSTALL=lowest

nightly:
	$(MAKE) test VENV=.venv-nightly INSTALL=nightly

clean:
	rm -rf .venv .venv-dist .venv-lowest .venv-nightly dist build site

# Stamps: installed once, and again when the requirements change.
$(DEMO): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[jax,plot,data]"
	touch $@

$(BROWSER): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[jax,tensorflow,plot,data,export]"
	touch $@

# What the tests run with: `current`, `lowest` (pip takes the newest of everything; uv can be told
# the opposite) or `nightly`.
INSTALL ?= current
$(TEST): pyproject.toml | $(BIN)/python
	$(install-$(INSTALL))
	touch $@

define install-current
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
endef

define install-lowest
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --resolution lowest-direct --editable ".[test]"
endef

define install-nightly
	$(install-current)
	$(BIN)/python -m pip uninstall --quiet --yes keras
	$(BIN)/python -m pip install --quiet --pre keras-nightly
endef

$(DOCS): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 expected, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)

# Every target sets itself up in .venv; only Python >= 3.11 and make are needed.
PYTHON ?= python3
VENV ?= .venv
# Installed first and by itself, so that you can choose another build or version of it.
TORCH ?= torch==2.13.0
BACKENDS = jax tensorflow torch numpy

BIN = $(VENV)/bin
DEMO = $(VENV)/installed-demo
TEST = $(VENV)/installed-test
DOCS = $(VENV)/installed-docs

.PHONY: help demo test check docs clean

help:
	@echo "make demo   train an S5 on handwritten digits (about a minute) into runs/demo"
	@echo "make test   run the tests on every backend"
	@echo "make check  lint, formatting and types"
	@echo "make docs   build the site with the API reference into site"
	@echo "make clean  remove $(VENV)"

demo: $(DEMO)
	$(BIN)/keras-ssm train digits --layer s5 --backend jax --set epochs=24 --out runs/demo --overwrite

test: $(TEST)
	$(BIN)/pytest -p no:cacheprovider --dist=each $(foreach name,$(BACKENDS),--tx popen//env:KERAS_BACKEND=$(name))

check: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DOCS)
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV)

# Stamps: installed once, and again when the requirements change.
$(DEMO): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[jax,plot,data]"
	touch $@

$(TEST): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

$(DOCS): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 expected, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)

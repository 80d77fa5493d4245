# make setup | train | test | lint | tensorboard   (each sets itself up first; the second call starts at once)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Test processes, of one thread each: the cores that there are, at most four (a process takes a gigabyte).
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 4 ] && echo 4 || echo $$n)
STAMP := $(VENV)/.ready

export NO_ALBUMENTATIONS_UPDATE = 1

.PHONY: setup train test lint tensorboard clean

setup: $(STAMP)

$(STAMP): requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  $$($(BIN)/python -c "import tomllib; print(' '.join(tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['dev']))")
	@touch $(STAMP)

train: $(STAMP)
	$(BIN)/python train.py $(ARGS)

test: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

tensorboard: $(STAMP)
	$(BIN)/tensorboard --logdir runs --bind_all

clean:
	rm -rf $(VENV)

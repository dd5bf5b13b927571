# Everything runs from a fresh clone with Python >= 3.11 and make. Node is needed only to rebuild contracts and the Aspect.
PYTHON ?= python3
PIP_ARGS ?=
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo up down logs demo-stack stack-test test page page-test screenshots check lint types protos artifacts drift conformance bench constraints clean

## demo: train a shared model on a chain and serve it behind a token (KEEP=1 leaves it running)
demo: $(VENV)/.suite
	@$(BIN)/linklearner demo $(if $(KEEP),--keep) $(DEMO_ARGS)

## test: every test that needs no container engine
test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile $(TEST_ARGS)

## conformance: replay recordings of a real Artela node on the embedded chain (REC=file for another one)
conformance: $(VENV)/.dev
	$(BIN)/python -m devchain.conformance $(REC)

## check: lint, types, and that generated code and artifacts are what their sources give
check: lint types drift

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

## protos: regenerate src/linklearner/{v1,oip}
protos: $(VENV)/.dev
	$(BIN)/python tools/generate_protos.py

## artifacts: rebuild the contracts and the Aspect (needs Node)
artifacts: $(VENV)/.dev
	tools/build_artifacts

## page: rebuild the page that browsers are served (needs Node)
page:
	tools/build_page

## page-test: what `make test` leaves out of the page in a real Chromium: what can go wrong, a phone, a node's pace (minutes).
## Without a Chromium it is skipped, and fails where CI is set (CHROMIUM=none: skipped there, too)
page-test: $(VENV)/.dev
	PAGE_TESTS=all $(BIN)/python -m pytest tests/page/test_troubles.py tests/page/test_gone_and_back.py tests/page/test_page_evidence.py tests/page/test_flow.py::test_without_a_wallet_on_a_phone $(TEST_ARGS)
	PAGE_MINING=interval:0.5 $(BIN)/python -m pytest tests/page/test_flow.py $(TEST_ARGS)

## screenshots: every screen of the page in both sizes, from a suite that runs here (`make demo KEEP=1`)
screenshots: $(VENV)/.dev
	$(BIN)/python -m tests.page.screenshots

## drift: generated protobuf code and built artifacts must be what their sources give (needs Node)
drift: $(VENV)/.dev
	$(BIN)/python tools/generate_protos.py --check
	$(BIN)/python -m tools.settings_table --check
	$(BIN)/python -m tools.data_page --check
	tools/build_artifacts --check
	tools/build_page --check

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "LinkLearner needs Python 3.11 or newer; run make PYTHON=python3.x")'
	@$(PYTHON) -m venv $(VENV)

# Said before the download: on Linux, PyPI's torch is the CUDA build. Silent where torch is there already, or where pip is sent elsewhere.
TORCH_ADVICE = if [ "$$(uname -s)" = Linux ] \
	&& ! $(BIN)/python -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' \
	&& ! { printf '%s\n' '$(PIP_ARGS)'; $(BIN)/python -m pip config list; } 2>/dev/null | grep -qiE 'cpu|find-links'; then \
	printf '%s\n' \
		"torch as PyPI has it for Linux brings CUDA: 5.4 GB in $(VENV), where the CPU build needs about 1 GB and is all that is used here." \
		"For the CPU build stop this now (Ctrl-C) and type, with the index that pytorch.org shows under Get started, Pip, CPU:" \
		"" \
		"    make $(or $(MAKECMDGOALS),demo) PIP_ARGS='--extra-index-url URL-OF-THE-CPU-INDEX'" \
		""; \
	fi

$(VENV)/.suite: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(TORCH_ADVICE)
	@echo "Installing LinkLearner into $(VENV) (once; torch is the large part) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) -c constraints.txt -e '.[suite]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(TORCH_ADVICE)
	@echo "Installing LinkLearner and its development tools into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.suite

## constraints: write down the versions that are installed now, those of every extra
constraints: $(VENV)/.dev
	@$(BIN)/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) -c constraints.txt -e '.[dev,ray]'
	@$(BIN)/python -m pip freeze --exclude-editable | sed "s,+cpu$$,," > constraints.txt

clean:
	rm -rf $(VENV) .slither .linklearner

## up: the stack in containers (settings in .env, e.g. `CONTRIBUTORS=5 make up`); down, logs: stop it, watch it
up: $(VENV)/.dev
	@$(BIN)/python -m tools.stack up

down: $(VENV)/.dev
	@$(BIN)/python -m tools.stack down $(if $(WIPE),--wipe)

logs: $(VENV)/.dev
	@$(BIN)/python -m tools.stack logs $(LOGS_ARGS)

## demo-stack: five rounds trained by containers, a gated inference and an audit from here (KEEP=1 leaves it running)
demo-stack: $(VENV)/.dev
	@$(BIN)/python -m tools.stack demo $(if $(KEEP),--keep)

## stack-test: what must hold of the stack, kill -9 in the middle of a round included
stack-test: $(VENV)/.dev
	@$(BIN)/python -m tools.stack test

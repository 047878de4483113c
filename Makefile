# Everything starts here: `make` alone lists what there is. A machine with Python >= 3.11 and make is
# enough; the first target that needs it makes .venv and installs the tested versions into it.

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .peers
PEERS_STAMP := $(PEERS)/.installed
LIBRARIES_STAMP := $(PEERS)/.libraries
RSL_RL := 2.3.3 3.1.2 4.0.1 5.5.1
ELEMENTS := 3.22.4
FOREIGN := tests/fixtures/foreign
FUZZ ?= 10000
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# pyright comes bundled; it need not look for a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# mkdocs-material greets every build with a notice about a future mkdocs.
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test test-kill fuzz fixtures peers bench docs lint format lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with every extra that the tests and examples use
	@echo "Ready: $(BIN)/heredity --help"

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "heredity needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=/path/to/python3.11 $(or $(MAKECMDGOALS),setup)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing every extra into $(VENV): about 3 GB, a few minutes."
	$(BIN)/python -m pip install --quiet -c requirements.lock -e '.[all,dev]'
	@touch $@

demo: $(STAMP) ## train, interrupt, resume and look at a brax policy, into runs/demo (about a minute, after the setup)
	$(BIN)/python examples/demo.py

test: lint docs ## everything that must pass: lint, types, import rules, docs, tests (under 20 minutes)
	$(BIN)/python -m pytest -m "not kill" -n $(WORKERS) --dist worksteal
	@echo
	@echo "All passed: ruff, pyright, import rules, docs, tests."
	@echo "To look at: site/index.html (the docs); make demo (a policy that learns); make test-kill."

test-kill: $(STAMP) ## kill runs at random moments, in every adapter, resume them, and compare every byte
	$(BIN)/python -m pytest -m kill
	@echo
	@echo "Every killed run resumed to the same bytes. How it is done: docs/concepts.md, 'Exact resume'."

fuzz: $(STAMP) ## damage files of every format that is imported, 10,000 times each (FUZZ=100: fewer)
	PYTHONPATH=src:. $(BIN)/python -m tests.weights.fuzzing --files $(FUZZ)

fixtures: $(LIBRARIES_STAMP) ## let the original libraries write tests/fixtures anew (see benchmarks/conformance/README.md)
	$(PEERS)/bin/python benchmarks/conformance/vit.py
	rm -rf $(FOREIGN)
	for recipe in sb3 torch brax; do \
	  JAX_PLATFORMS=cpu PYTHONPATH=benchmarks/conformance $(PEERS)/bin/python \
	    benchmarks/conformance/foreign_$$recipe.py $(FOREIGN) || exit 1; done
	PYTHONPATH=$(PEERS)/elements-$(ELEMENTS):benchmarks/conformance $(PEERS)/bin/python \
	  benchmarks/conformance/foreign_others.py $(FOREIGN)
	for version in $(RSL_RL); do \
	  PYTHONPATH=$(PEERS)/rsl_rl-$$version:benchmarks/conformance $(PEERS)/bin/python \
	    benchmarks/conformance/foreign_rsl_rl.py $(FOREIGN) || exit 1; done

$(LIBRARIES_STAMP): $(PEERS_STAMP) benchmarks/conformance/libraries.txt
	$(PEERS)/bin/python -m pip install --quiet -c benchmarks/peers.txt -r benchmarks/conformance/libraries.txt
	for version in $(RSL_RL); do \
	  $(PEERS)/bin/python -m pip install --quiet --no-deps --upgrade \
	    --target $(PEERS)/rsl_rl-$$version rsl-rl-lib==$$version || exit 1; done
	$(PEERS)/bin/python -m pip install --quiet --no-deps --upgrade \
	  --target $(PEERS)/elements-$(ELEMENTS) elements==$(ELEMENTS)
	@touch $@

peers: $(PEERS_STAMP) ## make .peers with the libraries that `make bench` measures beside ours (Linux, Python 3.11)
	@echo "Ready: make bench measures them too."

# torch first, from its index of builds for processors: PyPI's brings gigabytes of CUDA.
$(PEERS_STAMP): benchmarks/peers.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "benchmarks/peers.txt is for Python 3.11: make peers PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --no-deps --index-url $(TORCH_INDEX) "$$(grep '^torch==' $<)"
	$(PEERS)/bin/python -m pip install --quiet -r $<
	@touch $@

bench: $(STAMP) ## measure ours beside the peers of `make peers`, if they are there (ROWS="brax-ant predict": some rows)
	$(BIN)/python benchmarks/run.py $(ROWS)

docs: $(STAMP) ## build the documentation into site/ (warnings are errors)
	$(BIN)/mkdocs build --strict --quiet
	@echo "Documentation: site/index.html"

lint: $(STAMP) ## ruff, formatting, pyright, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	@echo "Clean: style, formatting, types, import rules."

format: $(STAMP) ## rewrite the files the way `make lint` wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## resolve every extra anew and write requirements.lock (with the oldest Python, 3.11)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "lock with Python 3.11, the oldest one supported: make lock PYTHON=python3.11" >&2; exit 1; }
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet '.[all,dev]'
	{ echo "# The versions heredity is tested with. Written by 'make lock' (Python 3.11); used as constraints."; \
	  build/lock/bin/python -m pip freeze --exclude heredity; } > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf build/lock
	@echo "Wrote requirements.lock: look at 'git diff requirements.lock', then make test."

clean: ## remove what was built (not runs/)
	rm -rf $(VENV) $(PEERS) site build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# `make` lists what there is.  Every target sets up what it needs by itself; the second time that takes no time.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The oldest Python that is new enough, unless you name one: make install PYTHON=/path/to/python3.11
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif
VENV ?= .venv
BUILD ?= .build
INTEROP := $(BUILD)/interop
PY := $(VENV)/bin/python
MIMICME := $(VENV)/bin/mimicme
INSTALLED := $(VENV)/.mimicme-installed

WORKSPACE ?=
JOBS ?=
ARGS ?=
# Tests side by side, a file at a time (nproc heeds OMP_NUM_THREADS).
TEST_JOBS ?= $(shell n=$$(env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))
DEMO ?= demo

# The stages are mimicme's to name: they are asked for once it is installed, and only when a goal is none of this file's.
FIXED := $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))
STAGE_LIST := $(BUILD)/stages.mk
ifneq ($(filter-out $(FIXED),$(MAKECMDGOALS)),)
include $(STAGE_LIST)
UNKNOWN := $(filter-out $(FIXED) $(STAGES) $(STAGE_LIST),$(MAKECMDGOALS))
ifneq ($(STAGES),)
ifneq ($(UNKNOWN),)
$(error There is no target '$(firstword $(UNKNOWN))'. There are: $(filter-out workspace-given,$(FIXED)), and the stages $(STAGES))
endif
endif
else  # read, not included: make would make the list again, and install everything for it
STAGES := $(if $(wildcard $(STAGE_LIST)),$(shell sed -n 's/^STAGES := //p' $(STAGE_LIST)))
endif

# Numpy's threads inside the workers only fight each other for the same cores.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: $(FIXED) $(STAGES)

help:  ## this list
	@echo 'make TARGET [WORKSPACE=DIR] [JOBS=N] [ARGS="--more --options"]'
	@awk -F ':.*## ' '/^[a-z$$(][^:]*:.*## / {sub(/\$$\(STAGES\)/, "STAGE", $$1); printf "  %-12s %s\n", $$1, $$2}' Makefile
	@echo '  STAGE is one of: $(or $(STAGES),those that mimicme names (make install))'

install: $(STAGE_LIST)  ## the virtual environment .venv with everything in it

$(INSTALLED): setup.cfg constraints.txt tools/install.py
	@test -n "$(PYTHON)" || { \
		echo 'mimicme needs Python 3.11 or newer and found none.' >&2; \
		echo 'Install it (Debian 12: apt-get install python3), or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11' >&2; \
		exit 2; }
	@$(PYTHON) tools/install.py --venv $(VENV) --build $(BUILD)
	@touch $@

$(STAGE_LIST): stages/__init__.py $(INSTALLED)
	@mkdir -p $(@D)
	@names=$$($(MIMICME) stages --names); echo STAGES := $$names > $@.tmp  # in two steps: a failure must leave no list
	@mv $@.tmp $@

lint: $(INSTALLED)  ## ruff (rules and format) and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@mkdir -p .build/mypy/mimicme
	@ln -sfn ../../../pipeline ../../../stages ../../../commands ../../../cli.py ../../../py.typed .build/mypy/mimicme/
	$(VENV)/bin/mypy | sed 's#\.build/mypy/mimicme/##'

modules:  ## docs/modules.md, the list of what each module is
	$(PYTHON) tools/modules.py

format: $(INSTALLED)  ## let ruff put the code in order
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

test: $(INSTALLED)  ## the tests (ARGS="-k name" for some of them)
	$(PY) -m pytest -n $(TEST_JOBS) --dist loadfile $(ARGS)

# What is too slow or too heavy for `make test`: each has a folder in tests/, and installs what it needs
# (an extra of setup.cfg with its name).  test-interop, which needs PyTorch and node's glTF-Validator, has an environment
# of its own on top of .venv.
test-fuzz: $(VENV)/.extra-fuzz  ## readers of files, with files damaged in every way (minutes)
test-faults: $(INSTALLED)  ## runs that are killed, lose workers or run out of room (minutes)
test-browser: $(VENV)/.extra-browser  ## report and viewer in a real browser (Chromium)
test-interop: $(INTEROP)/.extra-interop  ## our files in other programs, and theirs in ours
	$(INTEROP)/bin/python -m pytest tests/interop tests/pipeline/release/test_packing.py $(ARGS)
test-fuzz test-faults test-browser:
	$(PY) -m pytest tests/$(@:test-%=%) $(ARGS)

$(VENV)/.extra-%: setup.cfg constraints.txt tools/install.py $(INSTALLED)
	@$(PYTHON) tools/install.py --venv $(VENV) --build $(BUILD) --add $*
	@touch $@

$(INTEROP)/.extra-%: setup.cfg constraints.txt tools/install.py tests/interop/package.json $(INSTALLED)
	@$(PYTHON) tools/install.py --venv $(VENV) --build $(BUILD) --add $* --into $(INTEROP) --node tests/interop/package.json
	@touch $@

demo: $(INSTALLED)  ## the whole flow on embedded data, into ./demo (DEMO=DIR for another place)
	$(MIMICME) demo $(DEMO) $(if $(JOBS),--jobs $(JOBS)) $(ARGS)

bench: $(INSTALLED)  ## speed and accuracy, measured on this machine
	$(PY) benchmarks $(ARGS)

run: $(INSTALLED) workspace-given  ## all stages on WORKSPACE
	$(MIMICME) run $(WORKSPACE) $(if $(JOBS),--jobs $(JOBS)) $(ARGS)

$(STAGES): $(INSTALLED) workspace-given  ## one stage on WORKSPACE
	$(MIMICME) $@ $(WORKSPACE) $(if $(JOBS),--jobs $(JOBS)) $(ARGS)

status: $(INSTALLED) workspace-given  ## what is done and what is not
	$(MIMICME) status $(WORKSPACE) $(ARGS)

verify: $(INSTALLED) workspace-given  ## check WORKSPACE/release.h5
	$(MIMICME) verify $(WORKSPACE)/release.h5 $(ARGS)

report: $(INSTALLED) workspace-given  ## pictures and figures of WORKSPACE, to open in a browser
	$(MIMICME) report $(WORKSPACE) $(ARGS)

view: $(INSTALLED) workspace-given  ## scans and meshes of WORKSPACE in 3D, and review
	$(MIMICME) view $(WORKSPACE) $(ARGS)

workspace-given:
	@test -n "$(WORKSPACE)" || { echo 'Which workspace? make $(MAKECMDGOALS) WORKSPACE=DIR' >&2; exit 2; }

clean:  ## remove everything that make made, but not demo/ and no workspace
	rm -rf .venv .build build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find pipeline stages commands tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# `make test` is all that continuous integration runs; `make install` needs neither pip nor a network.
PREFIX ?= /usr/local
DESTDIR ?=
# Where a distribution wants the bus policy and the polkit actions, if elsewhere than these look by themselves.
DBUSDIR ?=
POLKITDIR ?=
# What the installed programs run on, and what makes the virtual environment of the tests.
PYTHON ?= /usr/bin/python3

VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
SOURCES := daemon client tools tests

.PHONY: help demo test lab-trees test-unit test-bus test-nix test-lab test-lab-1 test-lab-2 test-lab-3 test-lab-gui test-gui test-gui-full test-vm test-security test-fuzz fuzz bench lint fmt generate generate-check install enable uninstall lab-shell bootstrap venv clean

help:
	@echo "make demo        see it work: boots a host with containers, runs isoctl as an ordinary user"
	@echo "make test        everything that must pass; test-unit, test-bus, test-nix, test-lab, lint are its parts"
	@echo "make test-security  [FULL=1] every attack of docs/threat-model.md, and a table of what was tried"
	@echo "make test-vm     real graphics devices, in a virtual machine"
	@echo "make fuzz        [FUZZ_SECONDS=600] look for inputs that break what reads untrusted bytes"
	@echo "make fmt         format; make generate: write what is made from the contract"
	@echo "make lab-shell   a root shell on the lab host; make bench [PARTS=\"host neighbours floods desktop\"]: measure there"
	@echo "make install     [DESTDIR=] [PREFIX=/usr/local]; make enable: have this host run it"
	@echo "make uninstall   takes it away again, but for /etc/isod"

bootstrap:
	tools/bootstrap.sh

venv: $(VENV)/.made

$(VENV)/.made: pyproject.toml | bootstrap
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --quiet --disable-pip-version-check install $$($(PYTHON) tools/requirements.py)
	touch $@

test: venv
	@# at once: building the trees of the lab is mostly downloading
	+$(MAKE) --no-print-directory -j3 --output-sync=target lint test-unit lab-trees
	+$(MAKE) --no-print-directory test-bus test-nix test-fuzz test-lab

test-unit: venv
	$(PYTEST) tests/unit

# What fails among real brokers and systemds is tried once more, alone: a fault of the product stays. Both runs are
# shown, and what failed in the first is to be looked into all the same. Only where tests failed (1): a run that was cut
# short (any other code) has not tried the rest, and a cache of an earlier run would say that there is none.
twice = rm -rf .pytest_cache/$@; $(PYTEST) -o cache_dir=.pytest_cache/$@ $(1) || { code=$$?; [ $$code = 1 ] || exit $$code; \
	echo "$@: what failed is tried once more, alone"; \
	$(PYTEST) -o cache_dir=.pytest_cache/$@ --last-failed --last-failed-no-failures=none $(1); }

test-bus: venv
	$(call twice,tests/bus)

test-nix: venv
	$(PYTEST) tests/nix

# Apart from the tests, since building them takes longer than a test may.
lab-trees: venv
	PYTHONPATH=tests/lab $(BIN)/python -m lab prepare --tree plain desktop fresh

test-lab: lab-trees
	@# on four labs at once: most tests wait
	+$(MAKE) --no-print-directory -j4 --output-sync=target test-lab-1 test-lab-2 test-lab-3 test-lab-gui

test-lab-1 test-lab-2 test-lab-3: LAB_TESTS = $(shell ls tests/lab/test_*.py | awk 'NR % 3 == $(subst test-lab-,,$@) - 1')
test-lab-gui: LAB_TESTS = tests/lab/gui
test-lab-1 test-lab-2 test-lab-3 test-lab-gui: venv
	$(call twice,$(LAB_TESTS))

test-gui: venv
	PYTHONPATH=tests/lab $(BIN)/python -m lab prepare --tree desktop
	$(PYTEST) -m "gui and not gui_full" tests/lab/gui

test-gui-full: venv
	PYTHONPATH=tests/lab $(BIN)/python -m lab prepare --tree desktop-full
	$(PYTEST) -m "gui_full" tests/lab/gui

# On a host of its own, in an emulated machine: real graphics devices, real controllers. Out of `make test`: it is slow.
test-vm: venv
	PYTHONPATH=tests/lab:tests/vm $(BIN)/python -m vm prepare
	$(PYTEST) tests/vm -m vm

# Every attack of docs/threat-model.md, with a table of what was tried; FULL=1: races as often as it says there.
test-security: lab-trees
	$(PYTEST) -m "attack and not gui_full" --attack-table $(if $(FULL),--attack-full) tests

# A few seconds each, for what a change broke; what is found lands in tests/fuzz/corpus, which the unit tests replay.
test-fuzz: venv
	tools/fuzz.sh $(BIN)/python 6 --optional

FUZZ_SECONDS ?= 600
fuzz: venv
	tools/fuzz.sh $(BIN)/python $(FUZZ_SECONDS)

bench: venv
	PYTHONPATH=tests/lab $(BIN)/python tests/bench $(PARTS)

lint: venv generate-check
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	PYTHONPATH=daemon:client $(BIN)/lint-imports --no-cache
	$(BIN)/python tools/module_length.py $(SOURCES)

fmt: venv
	$(BIN)/ruff check --fix-only --exit-zero $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

generate: venv
	@for generator in tools/generate_*.py; do $(BIN)/python $$generator || exit; done

generate-check: venv
	@for generator in tools/generate_*.py; do $(BIN)/python $$generator --check || exit; done

demo: bootstrap
	tools/demo.sh

lab-shell: venv
	PYTHONPATH=tests/lab $(BIN)/python -m lab shell

install:
	DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' PYTHON='$(PYTHON)' DBUSDIR='$(DBUSDIR)' POLKITDIR='$(POLKITDIR)' tools/install.sh

enable:
	tools/enable.sh

uninstall:
	DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' PYTHON='$(PYTHON)' DBUSDIR='$(DBUSDIR)' POLKITDIR='$(POLKITDIR)' tools/uninstall.sh

clean:
	rm -rf $(VENV) .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis

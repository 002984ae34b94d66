# `make demo` and `make test` do all set-up themselves: the first time in minutes, after that in a second.
# Without an NVIDIA driver torch's CPU build is taken where an index offers it: one that pip is told of (by the variable
# PIP_EXTRA_INDEX_URL, say), or PyTorch's own if it answers. It is gigabytes smaller.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --quiet --disable-pip-version-check
# Tests run in CLIENTS, an environment of its own upon VENV: the frameworks that read our NIR files and whose nets we read.
# VENV, where demo and check run, has none of them, as a new user. sinabs asks for an old nir: what it asks for goes into a
# folder that only its test imports from. What cannot be installed ends make.
CLIENTS := $(VENV)/clients
FRAMEWORKS := tests/requirements-spikingjelly.txt tests/requirements-frameworks.txt tests/requirements-neurobench.txt
SINABS := tests/interop/requirements-sinabs.txt
# SANA-FE is under the GPL: only a script that a test runs in a process of its own imports it.
SANAFE := tests/report/requirements-sanafe.txt
REQUIREMENTS := pyproject.toml constraints.txt $(FRAMEWORKS) $(SINABS) $(SANAFE)
# BASE says that snn2hw itself is installed, which is enough for the demo; READY that the tests' packages are too. Each is
# written last and holds the folder's name; UNFINISHED is there from a step's beginning to its end.
BASE := $(VENV)/.base
READY := $(VENV)/.ready
UNFINISHED := $(VENV)/.unfinished

# Tried in this order, unless `make PYTHON=...` names one. One that is found but does not run is passed over.
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python)

TORCH_CPU := https://download.pytorch.org/whl/cpu
ANSWERS := from urllib.request import urlopen; urlopen("$(TORCH_CPU)/torch/", timeout=5)
CPU_BUILD = $$(command -v nvidia-smi >/dev/null || ! $(PY) -c '$(ANSWERS)' 2>/dev/null || echo --extra-index-url $(TORCH_CPU))

# One thread each, so that the workers do not take the cores from each other.
WORKERS ?= 2
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test test-all faults fuzz bench docs check format base setup lava browser clean FORCE

help:
	@echo 'make demo     export, run in Lava and verify a trained SEW ResNet'
	@echo 'make test     run the tests                  (PYTEST="-k name" selects, WORKERS=n)'
	@echo 'make test-all the same, the slow tests and more drawn nets besides'
	@echo 'make faults   inject each fault of a Lava run ten times                           (ROUNDS=n)'
	@echo 'make fuzz     read and refuse thousands of changed files               (ROUNDS=n of each kind, FIRST=n)'
	@echo 'make bench    measure the simulator side by side with SpikingJelly and snnTorch   (CASES="18-224-4 ...")'
	@echo 'make docs     build the documentation site into build/site'
	@echo 'make check    formatting, lint and types     (make format puts the first two right)'
	@echo 'make clean    remove the environment and caches of this folder'

demo: base
	@$(PY) examples/demo.py

test: setup lava browser
	@$(ONE_THREAD) $(CLIENTS)/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(PYTEST)

test-all: setup lava browser
	@$(ONE_THREAD) SNN2HW_ALL_TESTS=1 $(CLIENTS)/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(PYTEST)

faults: setup lava
	@$(ONE_THREAD) SNN2HW_FAULT_ROUNDS=$(or $(ROUNDS),10) $(CLIENTS)/bin/python -m pytest --numprocesses $(WORKERS) tests/exporters/lava/test_faults.py

fuzz: setup
	@$(ONE_THREAD) SNN2HW_FUZZ=$(or $(ROUNDS),300) SNN2HW_FUZZ_FIRST=$(or $(FIRST),15) $(CLIENTS)/bin/python -m pytest \
	    --numprocesses $(WORKERS) tests/cli/test_strange_files.py

bench: setup
	@$(CLIENTS)/bin/python -W ignore benchmarks/simulator.py $(CASES)

docs: setup
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs --quiet build --strict

check: setup
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) -m mypy --config-file exporters/lava/runtime/mypy.ini exporters/lava/runtime

format: setup
	@$(PY) -m ruff check --fix-only .
	@$(PY) -m ruff format .

# Lava runs without torch, in an environment of its own, kept in the user's cache folder and made once.
lava: setup
	@$(PY) -m snn2hw.exporters.lava.environment >/dev/null

# Tests open the report's page in a headless Chromium: that of SNN2HW_CHROMIUM or of the PATH; root gets Debian's.
browser:
	@if [ -z "$$SNN2HW_CHROMIUM" ] && \
	    ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null; then \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        echo 'Installing Chromium, in which the tests open the report.' >&2; \
	        export DEBIAN_FRONTEND=noninteractive; \
	        apt-get -qq update && apt-get -qq --yes --no-install-recommends install chromium >/dev/null; \
	    else \
	        echo 'There is no Chromium for the tests of the report: apt-get install chromium, or name one by' >&2; \
	        echo 'SNN2HW_CHROMIUM. Those tests will fail.' >&2; \
	    fi; \
	fi

base: $(BASE)
setup: $(READY)

# An environment that moved with its folder has the old folder's name written all over it.
ifneq ($(shell cat $(BASE) 2>/dev/null),$(CURDIR))
$(BASE): FORCE
endif

$(BASE): pyproject.toml constraints.txt
	@if [ -e $(UNFINISHED) ] || { [ -e $(BASE) ] && [ "$$(cat $(BASE))" != '$(CURDIR)' ]; }; then rm -rf $(VENV); fi
	@if ! $(PY) -c '' 2>/dev/null; then \
	    for python in $(PYTHONS); do \
	        if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	            found=$$python; break; \
	        fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo 'snn2hw needs Python 3.11 or later with its venv module; of $(PYTHONS) none has it.' >&2; \
	        echo 'Install one (Debian, Ubuntu: apt-get install python3-venv) or name one: make PYTHON=/path/to/python3.11' >&2; \
	        exit 1; \
	    fi; \
	    echo "Setting up $(VENV) with $$($$found --version): a few minutes, once." >&2; \
	    rm -rf $(VENV) && mkdir $(VENV) && touch $(UNFINISHED) && "$$found" -m venv $(VENV) || exit 1; \
	fi
	@touch $(UNFINISHED)
	@$(PIP) install --constraint constraints.txt setuptools
	@$(PIP) install --constraint constraints.txt $(CPU_BUILD) --no-build-isolation --editable .
	@printf '%s\n' '$(CURDIR)' >$(BASE) && rm $(UNFINISHED)

$(READY): $(BASE) $(REQUIREMENTS)
	@touch $(UNFINISHED)
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[test,dev,docs]'
	@rm -rf $(CLIENTS) && $(PY) -m venv --without-pip $(CLIENTS)
	@$(PY) -c 'import sysconfig as s; print("import site; site.addsitedir(" + repr(s.get_path("purelib")) + ")")' \
	    >$$($(CLIENTS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/snn2hw.pth
	@$(PIP) --python $(CLIENTS)/bin/python install --no-deps --no-build-isolation --editable .
	@$(PIP) --python $(CLIENTS)/bin/python install --no-deps $(foreach file,$(FRAMEWORKS),--requirement $(file))
	@$(PIP) install --no-deps --target $(CLIENTS)/sinabs --requirement $(SINABS)
	@$(PIP) install --no-deps --target $(CLIENTS)/sanafe --requirement $(SANAFE)
	@printf '%s\n' '$(CURDIR)' >$(READY) && rm $(UNFINISHED)

clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find snn2hw exporters targets tests examples -name __pycache__ -prune -exec rm -rf {} +

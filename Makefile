# make demo    see, hear and answer: sets everything up, builds the shipped assistant for this machine, runs it
# make test    everything but the slow tests, under 15 minutes on two cores, installs included
# make check   lint, types and fast tests, about a minute once installed
# make test-arm    the device half on aarch64, emulated: its answers and drift beside this machine's; 17 minutes of one core (BUNDLE=FOLDER: that one)
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
EXTRAS := build,openvino,quantize,rtx,assistant,distill,eval,page,dev
CPU_TORCH := https://download.pytorch.org/whl/cpu
PIP    := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: setup demo check lint tools test test-slow test-arm bench clean
.DEFAULT_GOAL := check

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: $(PYTHON) is older than Python 3.10"; echo "fix: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { echo "error: $(PYTHON) cannot make a virtual environment"; echo "fix: install its venv module (Debian, Ubuntu: python3-venv)"; exit 2; }
	@echo "setup 1/3: pip and the build backend"
	@$(PIP) install --quiet --constraint constraints.txt --upgrade pip hatchling editables
	@echo "setup 2/3: torch for the CPU (about 200 MB)"
	@$(PIP) install --quiet --constraint constraints.txt torch 2>$(VENV)/torch.log \
	  || { echo "pip's own sources lack the CPU build: taking it from $(CPU_TORCH)"; \
	       $(PIP) install --quiet --constraint constraints.txt --extra-index-url $(CPU_TORCH) torch; } \
	  || { cat $(VENV)/torch.log; exit 2; }
	@echo "setup 3/3: everything else (about 500 MB)"
	@$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable ".[$(EXTRAS)]"
	@touch $@

demo: setup
	@$(BIN)/mmedge demo

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy -n 2

check: lint
	$(PYTEST) -q -m "not full and not slow"

# A browser for the page of a profile, ssh and rsync for push: as root on Debian, what is missing is installed. Without them, their tests are skipped and say so.
tools: setup
	@have() { for name; do command -v $$name >/dev/null 2>&1 && return; done; return 1; }; \
	missing="$$(have chromium chromium-browser google-chrome || echo ' chromium'; have sshd /usr/sbin/sshd || echo ' openssh-server'; \
	           have ssh || echo ' openssh-client'; have rsync || echo ' rsync')"; \
	[ -z "$$missing" ] && exit 0; \
	[ "$$(id -u)" = 0 ] && have apt-get || { echo "some tests will be skipped: apt-get install --no-install-recommends" $$missing; exit 0; }; \
	echo "tools of the tests:" $$missing; \
	{ apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing; } >$(VENV)/apt.log 2>&1 \
	  || echo "some tests will be skipped: apt-get failed, see $(VENV)/apt.log"

test: lint tools
	$(PYTEST) --durations 10 -m "not slow"

test-slow: setup
	$(PYTEST) --durations 10 -m slow

test-arm: setup
	@BUNDLE='$(BUNDLE)' $(BIN)/python tests/arm/run.py

bench: setup
	$(BIN)/python bench/run.py

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache

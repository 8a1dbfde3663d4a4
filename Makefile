# Everything here sets up what it needs; nothing is expected but Debian, root (or sudo) and the package registries.
CACHE  ?= $(or $(INTACT_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/intact)
VENV   := $(CACHE)/venv
PY     := $(VENV)/bin/python
PYTHON ?= python3

.PHONY: env lock lint types contracts unit

$(VENV)/.ready: requirements.lock pyproject.toml
	@mkdir -p $(CACHE)
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Python environment: $(VENV)"
	@$(PY) -m pip install --quiet --require-hashes -r requirements.lock
	@$(PY) -m pip install --quiet --no-deps --editable .
	@touch $@

env: $(VENV)/.ready  ## the Python environment

lock: env  ## pin every dependency with its hashes
	@$(PY) -m pip install --quiet uv
	@$(PY) -m uv pip compile --quiet --universal --extra controller --extra cli --group dev --generate-hashes --no-header \
	  pyproject.toml -o requirements.lock

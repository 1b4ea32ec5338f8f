# `make help` lists what there is. Each target does all its own set-up, in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo ui help test check bytecode install clean

demo: install ## paint six small canvases
	$(BIN)/python run.py -m experiment=quickstart

ui: install ## look at what was painted in MLflow, until Ctrl-C
	$(BIN)/mlflow ui --host 127.0.0.1 --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}"

help: ## what make can do; python run.py --help says what can be painted
	@sed -n 's/^\([a-z]*\):.* *## \(.*\)/make \1	\2/p' Makefile

# While working: .venv/bin/python -m pytest -m "not e2e" -n 2
test: install ## all checks and all tests
	$(MAKE) --jobs=2 --output-sync=target check bytecode
	$(BIN)/python -m pytest -n auto --dist worksteal

check: install ## format, types, imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Else each worker of pytest compiles PyTorch and MLflow for itself; mypy leaves the other core free.
bytecode: install
	PYTHONPATH=tests env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c "import support.preloaded, torchvision, playwright.sync_api"

install: .venv/.installed ## into .venv, nothing else

# constraints.txt holds the versions that were tested together; delete it to try newer ones.
.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	touch $@

clean: ## remove .venv; what was painted stays
	rm -rf .venv

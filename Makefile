# Everything happens in $(VENV); nothing is installed elsewhere.
VENV ?= .venv
PYTHON ?= python3
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test slow fuzz soak kills disk damage mutants audit lint format wheel benchmark clean

demo: $(VENV)/.base
	$(VENV)/bin/lidiag run

test: $(VENV)/.test
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

slow: $(VENV)/.test
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m slow

# Every reader of files from outside, over thousands of spoilt files; counts per reader.
fuzz: $(VENV)/.test
	$(VENV)/bin/python -m tests.fuzz.run --cases 3000

# 200 runs in one process: memory and open files by run.
soak: $(VENV)/.test
	$(VENV)/bin/python -m tests.soak.run --runs 200

# One formula changed at a time: do its tests see it? About an hour on a core; writes docs/mutation.md.
mutants: $(VENV)/.mutants
	$(VENV)/bin/python -m tests.mutation.run --page

# 40 runs of all probes killed at random moments, 40 on a full disk (a small tmpfs: as root), every file of a cache spoilt in turn.
kills disk damage: $(VENV)/.test
	$(VENV)/bin/python -m tests.faults.run $(@:damage=files)

# Known vulnerabilities of all that constraints.txt pins; needs the network. pip-audit has an environment of its own.
audit:
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet 'pip-audit>=2.9,<3'
	$(VENV)-audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright -p pyproject.toml --pythonpath $(VENV)/bin/python

format: $(VENV)/.test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

wheel: $(VENV)/.test
	rm -rf build dist
	$(VENV)/bin/python -m build --wheel --outdir dist .
	$(VENV)/bin/check-wheel-contents dist/*.whl

benchmark: $(VENV)/.test
	$(VENV)/bin/python tests/benchmarks/scoring.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[test]'
	touch $@ $(VENV)/.base

$(VENV)/.mutants: $(VENV)/.test
	$(PIP) -e '.[mutation]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info

# Two commands do everything: make demo, make test. Both make their own environment in .venv.
PYTHON ?= python3
VENV   ?= .venv
DATA   ?=
ONLY   ?=
BENCH  ?=
NOTEBOOKS ?=
BENCH_VENV ?= .venv-bench
BIN    := $(VENV)/bin

.PHONY: demo test test-clinic lint notebooks bench viewer docs runtime sbom clean

demo: $(VENV)/.installed
	rm -rf demo
	$(BIN)/vesal demo -o demo

# A process a core, each with one thread: half the time of one process with all of them; and one more, as many tests
# wait for servers and signals. The files that take longest come first (tests/conftest.py).
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
TEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --maxprocesses 5 --dist loadfile --no-loadscope-reorder

# ONLY takes an expression of markers, such as ONLY="not clinic".
test: lint
	$(TEST) $(if $(DATA),--data=$(DATA)) $(if $(ONLY),-m "$(ONLY)")

# The tests beside real parts of a clinic: Orthanc, DCMTK, dciodvfy, plastimatch, dcmqi, MONAI Label's client, and Chromium
# with the viewer, which is built anew. Installs them, and does not pass by skipping.
test-clinic: $(VENV)/.installed-clinic
	.ci/clinic-parts
	$(MAKE) viewer
	$(TEST) -m clinic --clinic $(if $(DATA),--data=$(DATA))

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Executes the notebooks and stores them with small outputs; NOTEBOOKS takes some of their names.
notebooks: $(VENV)/.installed-dev
	$(BIN)/python notebooks/store.py $(NOTEBOOKS)

# Beside nnU-Net and MONAI, in an environment that holds all of them. BENCH takes parts and options of
# benchmarks/beside.py, such as make bench BENCH="step windows --runs 3".
bench: $(BENCH_VENV)/.installed
	$(BENCH_VENV)/bin/python -m benchmarks.beside $(BENCH) $(if $(DATA),--data $(DATA))

# The page of vesal serve and vesal view, into src/vesal/serve/viewer_files/. Needs npm.
viewer:
	cd viewer && npm ci && npm run check && npm test && npm run build

# The site of the documentation, into site/: docs/*.md, and the reference from the code. Loads nothing from elsewhere.
docs: $(VENV)/.installed-docs
	$(BIN)/python docs/make_site.py build/docs
	$(BIN)/mkdocs build --strict

# vesal-runtime, which predicts without torch: dist/vesal_runtime-*.tar.gz, and the wheel that is built of it.
runtime: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt build
	$(BIN)/python -m build --outdir dist runtime

# What an installation consists of, with versions and licences (CycloneDX): sbom.cdx.json.
sbom: $(VENV)/.installed
	$(PYTHON) -m venv .venv-sbom
	.venv-sbom/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt cyclonedx-bom
	.venv-sbom/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
		-o sbom.cdx.json $(BIN)/python

$(BENCH_VENV)/.installed: pyproject.toml constraints.txt benchmarks/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Vesal needs Python 3.11 or newer; name one with make PYTHON=python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-r benchmarks/requirements.txt -e .
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Vesal needs Python 3.11 or newer; name one with make PYTHON=python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# constraints.txt holds the versions that were tested, the CPU build of torch among them.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-clinic: pyproject.toml constraints.txt | $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dcmqi playwright \
		'legacy-cgi; python_version >= "3.13"'
	@# Its client alone is driven; what the package needs is a server of its own.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps monailabel
	@touch $@

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) .venv-sbom sbom.cdx.json demo build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

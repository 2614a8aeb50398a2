# Each target does its own set-up on a fresh Debian machine with Python 3.11 or later:
# Debian packages that are missing (with sudo unless root), a virtual environment in .venv
# from the hash-checked lock, and the viewer's archive. A second run finds all in place.

PYTHON ?= python3
BIN := .venv/bin
CACHE := .cache

APT_BASE := python3-venv
APT_VIEWER := npm
APT_TEST := ceph-common ceph-mon ceph-osd chromium curl dcmtk dicom3tools e2fsprogs mount orthanc orthanc-dicomweb postgresql radosgw strace unzip
APT_BENCH := ceph-common ceph-mon ceph-osd iproute2 nghttp2-client nginx orthanc orthanc-dicomweb postgresql radosgw util-linux varnish wrk

OHIF := @ohif/app@3.13.2
OHIF_ARCHIVE := $(CACHE)/ohif-app-3.13.2.tgz
OHIF_SHA256 := b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1

.PHONY: help demo test check drill bench lock viewer docs wheel clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(CACHE)/venv.stamp ## origin, edge, a sample study and the pages, in one command
	-@$(MAKE) --no-print-directory viewer || echo "The demo runs without the viewer; make viewer installs it later."
	$(BIN)/nearframe demo $(ARGS)

# Two processes: tests wait for nodes more than they compute. A file stays whole, for the nodes its tests share.
test: $(CACHE)/venv.stamp $(CACHE)/apt-test.stamp ## the whole suite but drills and benchmarks
	-@$(MAKE) --no-print-directory viewer || echo "Tests that need the viewer are skipped."
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not drill" $(ARGS)

check: $(CACHE)/venv.stamp ## form, lint, types, fast tests
	scripts/check

drill: $(CACHE)/venv.stamp $(CACHE)/apt-test.stamp viewer ## slow fault drills, and the viewer on every kind of object
	$(BIN)/python -m pytest -m drill $(ARGS)
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile drill tests/unit

bench: $(CACHE)/venv.stamp $(CACHE)/apt-bench.stamp ## measure against Orthanc and nginx, side by side
	$(BIN)/python -m bench $(ARGS)

lock: $(CACHE)/venv.stamp ## pin dependencies anew from pyproject.toml
	scripts/lock $(ARGS)

docs: $(CACHE)/venv.stamp ## write the reference pages that are made from the code
	$(BIN)/python scripts/generate_reference.py

wheel: $(CACHE)/venv.stamp ## build dist/*.whl and the source archive
	$(BIN)/python -m build --no-isolation

viewer: $(CACHE)/viewer.stamp ## fetch and unpack the OHIF viewer

clean: ## remove what these targets made, but for the downloads
	rm -rf .venv dist build $(CACHE)/*.stamp .mypy_cache .ruff_cache .pytest_cache .hypothesis

# -- set-up ----------------------------------------------------------------------------------

$(CACHE)/apt-%.stamp: Makefile scripts/apt-install
	@mkdir -p $(CACHE)
	scripts/apt-install $(APT_$(shell echo $* | tr a-z A-Z))
	@touch $@

# Debian's Python refuses pip outside a virtual environment (PEP 668) and needs a package to make one.
$(CACHE)/venv.stamp: requirements/dev.lock pyproject.toml
	@mkdir -p $(CACHE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "nearframe needs Python 3.11 or later" >&2; exit 1)
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/apt-install $(APT_BASE)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# npm knows which registry this machine uses; the pinned digest decides whether to believe it.
$(OHIF_ARCHIVE):
	@mkdir -p $(CACHE)
	@command -v npm > /dev/null || scripts/apt-install $(APT_VIEWER)
	cd $(CACHE) && npm pack --silent $(OHIF)

$(CACHE)/viewer.stamp: $(OHIF_ARCHIVE) | $(CACHE)/venv.stamp
	@echo "$(OHIF_SHA256)  $(OHIF_ARCHIVE)" | sha256sum --check --quiet || (rm -f $(OHIF_ARCHIVE); exit 1)
	$(BIN)/nearframe viewer install --archive $(OHIF_ARCHIVE)
	@touch $@

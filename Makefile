# Everything a developer or CI types. Needs Python 3.11+, make and a package index.
PYTHON ?= $(or $(shell command -v python3.11 2>/dev/null),python3)
BIN := .venv/bin

.DELETE_ON_ERROR:
.PHONY: run install check docs format test test-end-to-end test-parts test-browser screenshots test-push-service test-node test-cluster test-prometheus test-all lock

run: .venv/.runtime  ## start everything on one machine, on one port
	$(BIN)/tidings up

install: .venv/.development

check: .venv/.development  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/coverage run -m pytest -q tests/unit
	$(BIN)/coverage report --fail-under=100 --include='$(PURE)'

docs: .venv/.development  ## write the tables of settings, metrics and errors anew
	$(BIN)/python -m docs.tables

format: .venv/.development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Of whole processes, which wait more than they compute, and of the rest: `make -j2 test` has both at once.
EVERYWHERE := not long and not browser and not push_service and not node and not cluster and not prometheus

test: test-end-to-end test-parts  ## everything, with real embedded NATS and PostgreSQL

test-end-to-end: .venv/.development
	$(BIN)/python -m pytest -m "end_to_end and $(EVERYWHERE)"

test-parts: .venv/.development
	$(BIN)/python -m pytest -m "not end_to_end and $(EVERYWHERE)"

test-browser: .venv/.development  ## what needs Chromium, see the README
	$(BIN)/python -m pytest -m browser

screenshots: .venv/.development  ## of the console, into docs/screenshots
	TIDINGS_TEST_SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest tests/end_to_end/test_console.py -k finds

test-push-service: .venv/.development  ## what needs npm, see the README
	$(BIN)/python -m pytest -m push_service

test-node: .venv/.development  ## what needs Node.js and npm, see the README
	$(BIN)/python -m pytest -m node

test-cluster: .venv/.development  ## what needs nginx, see the README
	$(BIN)/python -m pytest -m "cluster and not long"

test-prometheus: .venv/.development  ## what needs Prometheus, see the README
	$(BIN)/python -m pytest -m prometheus

test-all: .venv/.development  ## and what takes minutes
	$(BIN)/python -m pytest

lock: .venv/.development  ## resolve pyproject.toml again
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links --group build pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links --group dev pyproject.toml -o requirements-dev.lock

# Modules without I/O: every branch is covered by tests/unit.
PURE_MODULES := \
  services/dispatcher/append/in_hand.py \
  services/dispatcher/append/request.py \
  services/dispatcher/append/rounds.py \
  services/dispatcher/capabilities.py \
  services/dispatcher/methods/* \
  services/dispatcher/remote/answer.py \
  services/dispatcher/remote/roster.py \
  services/dispatcher/types/contacts.py \
  services/dispatcher/types/jscontact.py \
  services/console/logins.py \
  services/gateway/admission.py \
  services/gateway/connection_id.py \
  services/gateway/deadlines.py \
  services/gateway/ended.py \
  services/gateway/event_source_query.py \
  services/gateway/facts.py \
  services/gateway/frames.py \
  services/gateway/push_connection.py \
  services/gateway/record.py \
  services/gateway/watches.py \
  services/gateway/websocket_messages.py \
  services/webhooks/answers.py \
  services/webhooks/breaker.py \
  services/webhooks/health.py \
  services/webhooks/http1.py \
  services/webhooks/messages.py \
  services/webhooks/position.py \
  services/webhooks/recent_events.py \
  services/webhooks/slots.py \
  services/webhooks/spans.py \
  shared/jmap/* \
  shared/log/cursor.py \
  shared/log/event.py \
  shared/log/event_filter.py \
  services/cli/bench/report.py \
  shared/log/subjects.py \
  shared/log/verdict.py \
  shared/method_service/contract.py \
  shared/operate/connections.py \
  shared/operate/explain/case.py \
  shared/operate/explain/connection_case.py \
  shared/operate/explain/connections.py \
  shared/operate/explain/ended.py \
  shared/operate/explain/evidence.py \
  shared/operate/explain/findings.py \
  shared/operate/explain/subscriptions.py \
  shared/operate/explain/summary.py \
  shared/operate/explain/unverified.py \
  shared/operate/explain/waits.py \
  shared/operate/explain/wording.py \
  shared/operate/explain/words.py \
  shared/store/waits.py \
  shared/operate/event_lines.py \
  shared/operate/pace.py \
  shared/runtime/trace_context.py \
  shared/web_push/*
COMMA := ,
PURE := $(subst $() ,$(COMMA),$(strip $(PURE_MODULES)))

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Tidings needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.runtime: requirements.lock pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.venv/.development: requirements-dev.lock .venv/.runtime
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	touch $@

.PHONY: test audit fuzz attack demo bench soak-load openapi screenshots soak micro dist fmt clean

# Everything that must pass. Installs what the tests need first; quick when it is all there.
test:
	scripts/setup-tests
	cargo fetch --quiet --locked
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	if cargo nextest --version >/dev/null 2>&1; then scripts/with-postgres cargo nextest run --locked; \
	else scripts/with-postgres cargo test --locked; fi

# Advisories about dependencies, by cargo-deny, which is compiled first where it is missing (five minutes).
audit:
	scripts/audit

# Coverage-guided fuzzing of what others write, so many seconds for each of the targets; FUZZ_TARGETS names some of them.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=
fuzz:
	scripts/fuzz $(FUZZ_SECONDS) $(FUZZ_TARGETS)

# What attacks cost others, measured against a release build: a minute or two, on this machine alone.
attack:
	cargo build --release --locked
	scripts/attack

# A server, two vendors and their receivers, to look at.
demo:
	cargo run --release --locked -- demo

# A tarball, a Debian package, an OCI image, an SBOM and checksums, in target/packages: ten minutes.
dist:
	scripts/setup-packaging
	cargo build --profile dist --locked
	scripts/dist target/dist/ringback

# All benchmarks, and their figures and plot in docs/: half an hour, on a machine that has nothing else to do.
bench: target/bench/venv
	cargo build --profile dist --locked
	rm -f target/bench/*.json
	target/dist/ringback bench burst single fan-out open-loop --seconds 10 --json > target/bench/1.json
	target/dist/ringback bench backlog --rounds 1 --seconds 10 --json > target/bench/2.json
	target/dist/ringback bench retention --rounds 1 --seconds 60 --json > target/bench/3.json
	target/dist/ringback bench many --rounds 1 --seconds 10 --json > target/bench/4.json
	target/bench/venv/bin/python scripts/bench-report

# Half of the burst's rate for half an hour, with kills and a receiver that fails in every way; the plot in docs/. It needs 20 GB.
SOAK_SECONDS ?= 1800
soak-load: target/bench/venv
	cargo build --profile dist --locked
	rm -f target/bench/*.json
	target/dist/ringback bench soak --rounds 1 --seconds $(SOAK_SECONDS) --json > target/bench/soak.json
	target/bench/venv/bin/python scripts/bench-report

target/bench/venv:
	mkdir -p target/bench
	python3 -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check matplotlib==3.10.0

# docs/openapi.json from the code; it stays as it was if the program fails.
openapi:
	mkdir -p docs target
	cargo run --quiet --locked -- openapi > target/openapi.json
	mv target/openapi.json docs/openapi.json

# The pictures of the panel in docs/screenshots, four minutes; look at each of them afterwards.
screenshots:
	scripts/setup-tests
	cargo build --locked
	node tests/panel/screenshots.mjs

# Random walks that make test does not make, for so many minutes.
SOAK_MINUTES ?= 30
soak:
	cargo test --no-run --locked --test sim
	scripts/with-postgres scripts/soak $(SOAK_MINUTES)

# What the parts cost, each by itself: figures to compare with, and no test.
micro:
	cargo bench --locked --bench micro

fmt:
	cargo fmt

clean:
	cargo clean
	rm -rf tests/receivers/node_modules

.PHONY: test demo openapi micro fmt clean

# Everything that must pass. Installs what the tests need first; quick when it is all there.
test:
	scripts/setup-tests
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --locked; else cargo test --locked; fi

# A server, two vendors and their receivers, to look at.
demo:
	cargo run --release --locked -- demo

# docs/openapi.json from the code; it stays as it was if the program fails.
openapi:
	mkdir -p docs target
	cargo run --quiet --locked -- openapi > target/openapi.json
	mv target/openapi.json docs/openapi.json

# What the parts cost, each by itself: figures to compare with, and no test.
micro:
	cargo bench --locked --bench micro

fmt:
	cargo fmt

clean:
	cargo clean
	rm -rf tests/receivers/node_modules

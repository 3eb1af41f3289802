# The two commands of the README, and the commands of developers.
.PHONY: demo test soak test-oldest bench bench-memory fuzz lint deny docs reference base tools

# A first rotation, a password change and a second rotation, on real programs: Vault, Secrets Manager, API server, registries.
demo:
	@cargo build --quiet --package regcred --package demo --bins
	@$${CARGO_TARGET_DIR:-target}/debug/demo

# Every test, unit to end-to-end.
test: tools
	cargo test --workspace

# Every test with its full counts: hours.
soak: tools
	REGCRED_SOAK=1 cargo test --workspace

# The end-to-end tests against the oldest Kubernetes and Vault that the documentation promises (`make test` runs the newest).
test-oldest: tools
	REGCRED_WORLD_KUBERNETES=oldest REGCRED_WORLD_VAULT=oldest cargo test --test e2e --test controller

# The costs of the one-shot command and of the controller, compared with the baseline and with the bare writes of the same
# run, those of the sidecar beside vault agent, and the memory of an optimized binary under the largest objects. The
# programs are built as in the images. `make bench-run ARGS='--namespaces 5000'` runs one of them.
bench bench-%: export RUSTFLAGS = $(shell sed -n 's/^ENV RUSTFLAGS="\(.*\)"$$/\1/p' deploy/Dockerfile)
bench bench-%: export CARGO_BUILD_TARGET = $(shell uname -m)-unknown-linux-gnu
bench: tools
	cargo bench --no-fail-fast --bench rotate --bench run --bench sidecar
	$(MAKE) bench-memory

bench-memory: tools
	cargo test --release --test controller memory:: -- --nocapture --test-threads 1

bench-%: tools
	cargo bench --bench $* -- $(ARGS)

# Random inputs, FUZZ_SECONDS for each target of tests/fuzz; findings are stored in tests/fuzz/artifacts. No code here is
# unsafe, so that no sanitizer is needed, and the pinned toolchain is enough.
FUZZ_SECONDS ?= 600
fuzz:
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz@0.13.2
	cp Cargo.lock tests/fuzz/Cargo.lock
	for target in $$(cargo fuzz list --fuzz-dir tests/fuzz); do \
		mkdir -p tests/fuzz/corpus/$$target; \
		cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none $$target \
			tests/fuzz/corpus/$$target tests/fuzz/seeds/$$target \
			-- -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -rss_limit_mb=2048 || exit 1; \
	done

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --no-default-features --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --quiet
	cargo test --quiet --locked --test lint -- --show-output

# Checks the dependencies against deny.toml: crates, licences, sources.
deny:
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny@0.20.2
	cargo deny check bans licenses sources

# Builds the book from docs/ into docs/book, after a check of all links and generated blocks.
docs:
	@command -v mdbook >/dev/null || cargo install --locked mdbook@0.5.4
	cargo test --quiet --test docs --test links
	mdbook build

# Renews the generated blocks of docs/reference from the types, the binary and the chart.
reference:
	REGCRED_RENEW=1 cargo test --quiet --test docs -- reference

# Renders deploy/base and deploy/rbac.yaml from the chart, and writes the schema of stores and triggers into the chart.
base:
	REGCRED_RENEW=1 cargo test --quiet --test deploy -- committed_files_match_the_rendered_chart values_schema_matches_the_manifests

# Programs that tests call and that cannot be built from Go modules.
tools:
	@for tool in skopeo curl openssl; do \
		command -v $$tool >/dev/null && continue; \
		echo "installing $$tool with apt-get" >&2; \
		sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		{ $$sudo apt-get -qq update && $$sudo apt-get -qq -y install $$tool >/dev/null; } || { \
			echo "error: $$tool is missing, and a test calls it: install it with your package manager" >&2; exit 1; }; \
	done

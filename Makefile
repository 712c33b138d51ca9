# The README's commands. Each brings what is missing first (scripts/setup.sh); with nothing missing that takes
# no time and no root.

# A shell that was open while rustup was installed does not have its folder on PATH yet.
export PATH := $(PATH):$(HOME)/.cargo/bin
CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help run build test bench bench-list bench-whisper bench-story bench-erase lint clean-data

help:
	@echo 'make run         build, start callfold on 127.0.0.1:5000 and play one call to it (ARGS="…" goes to `callfold up`)'
	@echo 'make build       target/release/callfold, and a nats-server in .tools/ when there is no adequate one'
	@echo 'make test        every test; brings PostgreSQL and Chromium for it'
	@echo 'make bench       events a second of a rebuild in SQLite and PostgreSQL, beside the bare read and insert (ARGS="--events 1000000")'
	@echo 'make bench-list  lists, searches and cards of a table of 1,000,000 leads in SQLite and PostgreSQL (ARGS="--leads N")'
	@echo 'make bench-whisper  words, time and memory of speech recognition beside plain whisper.cpp (20 min; ARGS="--hours 0" leaves the 2 h recording out)'
	@echo 'make bench-story  the story of the oldest and of the newest call in a stream of 1,000,000 events (ARGS="--events N")'
	@echo 'make bench-erase  the voice webhook while 1,000 calls are erased, beside what it was before (ARGS="--calls N --rate N")'
	@echo 'make lint        format, clippy, documentation, dependency rules'
	@echo 'make clean-data  SURE=yes deletes ./data: the calls, recordings and leads of `make run`'

build:
	@scripts/setup.sh build
	$(CARGO) build --release --locked -p callfold

# `exec`, so that Ctrl-C and a SIGTERM to this process meet the program and no shell in between. The demonstration
# call's recording is served from loopback, which has to be allowed by name.
run:
	@scripts/setup.sh run
	$(CARGO) build --release --locked -p callfold
	@exec env CALLFOLD_RECORDING_HOSTS="$${CALLFOLD_RECORDING_HOSTS:-127.0.0.1:5001}" target/release/callfold up --demo $(ARGS)

# The release profile, as everywhere: whisper.cpp and the dependencies are compiled once for program and tests.
test:
	@scripts/setup.sh test
	@scripts/setup-test.sh
	$(CARGO) test --release --locked --workspace --no-fail-fast

bench:
	@scripts/setup.sh test
	@scripts/setup-test.sh
	$(CARGO) run --release --locked -p callfold-projector --example bench_rebuild -- $(ARGS)

bench-list:
	@scripts/setup.sh test
	@scripts/setup-test.sh
	$(CARGO) run --release --locked -p callfold-projector --example bench_list -- $(ARGS)

bench-whisper:
	@scripts/setup.sh build
	$(CARGO) run --release --locked -p callfold-transcriber --example bench_whisper -- $(ARGS)

bench-story:
	@scripts/setup.sh build
	$(CARGO) run --release --locked -p callfold --example bench_story -- $(ARGS)

bench-erase:
	@scripts/setup.sh build
	$(CARGO) run --release --locked -p callfold --example bench_erase -- $(ARGS)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --release --locked --workspace --no-deps
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	    $(CARGO) deny --locked check --config .deny.toml; \
	else \
	    echo 'lint: cargo-deny is not installed, .deny.toml was not checked (cargo install --locked cargo-deny)'; \
	fi

clean-data:
	@test "$(SURE)" = yes || { echo 'this deletes ./data with all calls in it: make clean-data SURE=yes' >&2; exit 1; }
	rm -rf ./data

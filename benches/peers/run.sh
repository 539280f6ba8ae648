#!/usr/bin/env bash
# Measures opendo beside what else there is, and writes what came out: results.jsonl, results.md, plots/*.svg and the
# README's table. On a machine that does nothing else: a quarter of an hour beside building, or a few minutes with `quick`, which counts no
# allocations and says little of times. Needs Rust and `taskset`. `run.sh report` only writes anew, from results.jsonl.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
export CARGO_INCREMENTAL=0 # which changes what is compiled
programs="$CARGO_TARGET_DIR/release"

build() {
    cargo build --release --locked --workspace --exclude rank "$@"
    cargo build --release --locked --manifest-path ../../Cargo.toml -p opendo-peer "$@"
}

cargo build --release --locked -p rank
if [ "${1:-}" != report ]; then
    if [ "${1:-}" != quick ]; then
        # Counting slows allocations down, so the programs that count are others.
        build --features allocations
        mkdir -p "$programs/allocations"
        for program in floor opendo kameo ractor tarpc tonic remoc jsonrpsee irpc capnp-rpc; do
            cp "$programs/$program" "$programs/allocations/"
        done
    fi
    build
    "$programs/rank" run results.jsonl "$@"
fi
"$programs/rank" report results.jsonl

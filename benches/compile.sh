#!/usr/bin/env bash
# How long the macros' code takes to compile: one object with 300 methods, and 50 objects with 10 methods each.
#
# Makes both crates in a temporary directory, builds their dependencies, and then times the crate alone, three times,
# from scratch (and once the same methods without opendo, to tell the compiler's share from ours).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR="$work/target"

# A crate with so many objects and so many methods each; with a third argument, without opendo.
generate() {
    local objects=$1 methods=$2 plain=${3:-}
    mkdir -p "$work/subject/src"
    cp "$root/Cargo.lock" "$work/subject/" # the same versions, and no look at a registry
    cat >"$work/subject/Cargo.toml" <<EOF
[package]
name = "subject"
edition = "2024"
[workspace]
[dependencies]
opendo = { path = "$root/opendo" }
EOF
    {
        [[ $plain ]] || echo 'use opendo::prelude::*;'
        for ((object = 0; object < objects; object++)); do
            echo "pub struct O$object { value: u64 }"
            [[ $plain ]] || echo '#[durable_object]'
            echo "impl O$object {"
            for ((method = 0; method < methods; method++)); do
                echo "    pub async fn m$method(&mut self, by: u64, name: String) -> Result<u64, String> {"
                echo '        self.value += by; if name.is_empty() { Err(name) } else { Ok(self.value) }'
                echo '    }'
            done
            echo '}'
            [[ $plain ]] || cat <<EOF
impl DurableObject for O$object {
    async fn new(_: Ctx) -> opendo::Result<Self> { Ok(Self { value: 0 }) }
}
EOF
        done
        [[ $plain ]] || {
            echo 'pub async fn node() -> Node {'
            echo '    Node::builder()'
            for ((object = 0; object < objects; object++)); do echo "        .object::<O$object>()"; done
            echo '        .start().await.unwrap()'
            echo '}'
        }
    } >"$work/subject/src/lib.rs"
}

# The middle of three, in seconds.
timed() {
    local i
    "$@" >/dev/null # the dependencies
    for i in 1 2 3; do
        touch "$work/subject/src/lib.rs"
        local start=$EPOCHREALTIME
        "$@"
        awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'
    done | sort -n | awk 'NR == 2 { printf "%.2f", $1 }'
}

# Lines of the crate after expansion; that needs the compiler's unstable printer.
expanded() {
    (cd "$work/subject" && RUSTC_BOOTSTRAP=1 cargo rustc --quiet --lib -- -Zunpretty=expanded 2>/dev/null | wc -l)
}

export CARGO_INCREMENTAL=0
echo '| crate | methods | lines | expanded | `cargo check` s | `cargo build` s |'
echo '| --- | --- | --- | --- | --- | --- |'
row() {
    local name=$1
    shift
    generate "$@"
    local manifest="$work/subject/Cargo.toml"
    local check build
    check=$(timed cargo check --quiet --manifest-path "$manifest")
    build=$(timed cargo build --quiet --manifest-path "$manifest")
    echo "| $name | $(($1 * $2)) | $(wc -l <"$work/subject/src/lib.rs") | $(expanded) | $check | $build |"
}
row '1 object × 300 methods' 1 300
row '1 object × 300 methods, no opendo' 1 300 plain
row '50 objects × 10 methods' 50 10
row '50 objects × 10 methods, no opendo' 50 10 plain

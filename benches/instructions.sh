#!/usr/bin/env bash
# Fails if calls take more instructions than `instructions.txt` expects. They are counted by valgrind, which is installed
# where `apt-get` can do it; where it cannot, this says so and checks nothing. `--record` expects what there is now.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null && ! .ci/apt-install valgrind; then
    echo "NOT CHECKED: instructions are counted by valgrind, which is not here and cannot be installed" >&2
    exit 0
fi
export CARGO_INCREMENTAL=0 # which changes what is compiled
exec cargo bench -p opendo-benches --bench instructions -- "${1:---check}"

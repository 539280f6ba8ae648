#!/usr/bin/env bash
# Every test. Some drive this project's nodes with Cloudflare's own client, in Node and in Chromium: what is missing of
# those is installed where `apt-get` can do it, and named where it cannot.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
if [ -z "${OPENDO_CHROMIUM:-}" ] && ! command -v chromium chromium-browser google-chrome >/dev/null; then
    missing+=(chromium)
fi
if [ ${#missing[@]} -gt 0 ] && ! .ci/apt-install "${missing[@]}"; then
    echo "please install ${missing[*]}, or set OPENDO_SKIP_NODE=1 and OPENDO_SKIP_BROWSER=1 to go without" >&2
    exit 1
fi

# All of them, also when one fails.
exec cargo test --workspace --no-fail-fast "$@"

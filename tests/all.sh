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
if [ ${#missing[@]} -gt 0 ]; then
    if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
        as_root=() && [ "$(id -u)" = 0 ] || as_root=(sudo)
        "${as_root[@]}" apt-get update -q
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}"
    else
        echo "please install ${missing[*]}, or set OPENDO_SKIP_NODE=1 and OPENDO_SKIP_BROWSER=1 to go without" >&2
        exit 1
    fi
fi

# All of them, also when one fails.
exec cargo test --workspace --no-fail-fast "$@"

#!/usr/bin/env bash
# Gets the programs of others that the server is tested with: OpenAI's clients for Python and Node, lm-evaluation-harness, and what drives
# a browser over the page. Chromium itself comes from the system's packages.
#   tests/fetch-clients.sh DIR && TCC_TEST_CLIENTS=DIR TCC_TEST_MODELS=… cargo test -p tc-server --release
# What cannot be had is left out, and its test says so.
set -uo pipefail
dir=${1:?usage: fetch-clients.sh DIR}
mkdir -p "$dir"
[ -x "$dir/venv/bin/python" ] || python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -c 'import openai' 2>/dev/null || "$dir/venv/bin/pip" install --quiet openai
"$dir/venv/bin/python" -c 'import lm_eval, transformers, gguf' 2>/dev/null ||
    "$dir/venv/bin/pip" install --quiet 'lm_eval[api]' transformers gguf
for package in openai playwright-core axe-core; do
    [ -d "$dir/node_modules/$package" ] || npm install --silent --no-audit --no-fund --prefix "$dir" "$package"
done
exit 0

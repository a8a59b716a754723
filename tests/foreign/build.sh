#!/usr/bin/env bash
# Builds the components of other toolchains: rust.wasm, c.wasm, js.wasm, python.wasm and courier.wasm.
#
#   tests/foreign/build.sh [--installed-only] [OUT]        OUT is target/foreign unless named
#
# A component newer than its sources is left alone, and then its tools are not asked for either. Missing tools are
# installed: the Rust target by rustup, compilers and interpreters by apt-get, the rest into OUT/build by npm and pip.
# With --installed-only nothing is installed, and what cannot be built is left out.
set -euo pipefail

installed_only=false
if [ "${1:-}" = --installed-only ]; then
    installed_only=true
    shift
fi
foreign=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$foreign/../../target/foreign}
mkdir -p "$out/build"
out=$(cd "$out" && pwd)

main() {
    component rust "wit rust"
    component c "wit c componentize"
    component js "wit js"
    component python "wit python"
    component courier "courier js/package-lock.json"
}

# component NAME SOURCES: calls build_NAME with the file to write, unless what it wrote before is up to date.
component() {
    local name=$1 sources
    read -ra sources <<<"build.sh $2"
    if up_to_date "$out/$name.wasm" "${sources[@]/#/$foreign/}"; then
        echo "foreign: $name.wasm is up to date"
        return
    fi
    if $installed_only && ! "has_$name"; then
        # One that is older than its sources would be tested for what it is not.
        rm -f "$out/$name.wasm"
        echo "foreign: $name.wasm is left out: its tools are not installed"
        return
    fi
    echo "foreign: building $name.wasm"
    # Written beside and renamed, so that a build that was cut short leaves nothing that looks finished. The sources
    # are as old as the start of the build: an edit made meanwhile is built next time.
    touch "$out/build/started"
    "build_$name" "$out/build/$name.wasm"
    touch -r "$out/build/started" "$out/build/$name.wasm"
    mv "$out/build/$name.wasm" "$out/$name.wasm"
}

up_to_date() {
    local made=$1
    shift
    [ -f "$made" ] && [ -z "$(find "$@" -type d -name target -prune -o -type f -newer "$made" -print -quit)" ]
}

has_rust() {
    command -v cargo >/dev/null && [ -d "$(rustc --print target-libdir --target wasm32-wasip2)" ]
}

build_rust() {
    need cargo "install Rust with rustup"
    if ! has_rust; then
        need rustup "install the Rust target wasm32-wasip2"
        rustup target add wasm32-wasip2
    fi
    cargo_build rust --release --target wasm32-wasip2
    cp "$out/build/cargo/wasm32-wasip2/release/acme_weather.wasm" "$1"
}

has_c() {
    has_clang && has_clang_library && command -v cargo >/dev/null
}

build_c() {
    has_clang || apt_install clang lld wasi-libc
    # It is a package named after the version of the compiler.
    has_clang_library || apt_install "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev-wasm32"
    need cargo "install Rust with rustup"
    clang --target=wasm32-wasi --sysroot=/usr -mexec-model=reactor -std=c11 -Os -Wall -Wextra -Werror \
        -o "$out/build/c.core.wasm" "$foreign/c/weather.c"
    cargo_build componentize
    "$out/build/cargo/debug/componentize" "$out/build/c.core.wasm" "$foreign/wit" station "$1"
}

has_clang() {
    command -v clang >/dev/null && command -v wasm-ld >/dev/null && [ -f /usr/lib/wasm32-wasi/crt1-reactor.o ]
}

# The compiler's own library for this target.
has_clang_library() {
    [ -f "$(clang --target=wasm32-wasi -print-libgcc-file-name)" ]
}

has_js() {
    command -v node >/dev/null && cmp -s "$foreign/js/package-lock.json" "$out/build/npm/installed"
}

build_js() {
    # No network: what is not in the component's imports need not be granted.
    componentize_js "$foreign/js/weather.js" \
        --wit "$foreign/wit" --world-name station --disable http fetch-event --out "$1"
}

has_courier() {
    has_js
}

build_courier() {
    # It makes requests and serves none.
    componentize_js "$foreign/courier/courier.js" \
        --wit "$foreign/courier" --world-name courier --disable fetch-event --out "$1"
}

componentize_js() {
    local modules=$out/build/npm
    if ! has_js; then
        command -v npm >/dev/null || apt_install nodejs npm
        mkdir -p "$modules"
        cp "$foreign/js/package.json" "$foreign/js/package-lock.json" "$modules/"
        npm ci --prefix "$modules" --no-audit --no-fund
        cp "$foreign/js/package-lock.json" "$modules/installed"
    fi
    "$modules/node_modules/.bin/componentize-js" "$@"
}

has_python() {
    cmp -s "$foreign/python/requirements.txt" "$out/build/python/installed"
}

build_python() {
    local venv=$out/build/python
    if ! has_python; then
        # Debian's own Python comes without the module that fills a new environment.
        python3 -c 'import ensurepip' 2>/dev/null || apt_install python3 python3-venv
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

# Sourced by try, check and prepare: where things are, and how they speak.
# shellcheck shell=bash

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache
# Outside the project's folder, so that every clone on a machine uses the same one. Used by prepare and check.
# shellcheck disable=SC2034
tools=${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/tools
musl=x86_64-unknown-linux-musl

export LEASEHOLD_ROOT=$root
export LEASEHOLD_RACK_PYTHON=$cache/venv/bin/python
export LEASEHOLD_CLIENTS=$cache/clients/bin
export LEASEHOLD_BIN=$root/target/debug/leasehold
export LEASEHOLD_BOOT_IMAGES=$root/target/boot-images
export LEASEHOLD_SYSTEM_IMAGE=$root/target/system-image.raw
export LEASEHOLD_DEBIAN_IMAGE=$root/target/debian-image.raw

# Ends with one clear line.
die() {
    echo "${program:-packaging}: $*" >&2
    exit 1
}

# A line of progress with the seconds since the start.
say() {
    printf '%6d s  %s\n' "$SECONDS" "$*"
}

require_root() {
    [ "$(id -u)" = 0 ] || die "this needs root: it $1"
}

# The version of the toolchain that the project is built with.
wanted_rust() {
    sed -n 's/^channel *= *"\(.*\)"/\1/p' "$root/rust-toolchain.toml"
}

# require_rust: cargo and rustc are there in the version of rust-toolchain.toml or newer.
require_rust() {
    local wanted found
    wanted=$(wanted_rust)
    command -v cargo >/dev/null ||
        die "Rust is missing: install rustup, then 'rustup toolchain install $wanted'"
    # Inside the project's folder rustup picks the toolchain of rust-toolchain.toml; elsewhere rustc is asked as it is.
    found=$(cd "$root" && rustc --version 2>/dev/null | cut -d' ' -f2) ||
        die "Rust $wanted is missing: 'rustup toolchain install $wanted'"
    [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n1)" = "$wanted" ] ||
        die "Rust $found is too old: the project needs $wanted ('rustup toolchain install $wanted')"
}

# require_space GB FOLDER
require_space() {
    local free
    free=$(df -Pk -- "$2" | awk 'NR == 2 { printf "%d", $4 / 1000000 }')
    [ "$free" -ge "$1" ] || die "$2 has $free GB free, this needs $1 GB"
}

# Where this machine gets Debian's own packages: the registry in its apt sources, whatever that is called there.
debian_registry() {
    local release
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    apt-get indextargets --format "\$(REPO_URI) \$(CODENAME) \$(COMPONENT)" 'Created-By: Packages' |
        awk -v release="$release" '$2 == release && $3 == "main" && !seen++ { print $1 } END { exit !seen }'
}

# cargo_build ARGUMENTS…: quiet but for what is wrong. A registry that does not answer and a full disk are one clear line.
cargo_build() {
    local log why
    log=$(mktemp)
    if (cd "$root" && cargo build --quiet "$@") 2>"$log"; then
        cat "$log" >&2
        rm -f "$log"
        return
    fi
    if grep -q 'No space left on device' "$log"; then
        why="no space is left for the build in $root/target or ${TMPDIR:-/tmp}"
    elif grep -qE 'spurious network error|[Ff]ailed to (download|fetch)|[Uu]nable to update' "$log"; then
        why="the Rust package registry does not answer: $(grep -E '\[[0-9]+\]|[Ff]ailed to' "$log" | tail -n1 | sed 's/^ *//')"
    else
        cat "$log" >&2
        why="the build failed"
    fi
    rm -f "$log"
    die "$why"
}

# Builds what the rack boots: the program, the agent, the first-boot program, and from them the boot images.
build_all() {
    say "building leasehold, the agent and the rack (the first time some minutes)"
    cargo_build -p leasehold -p leasehold-rack -p leasehold-boot-images
    cargo_build -p leasehold-agent -p leasehold-first-boot --profile agent --target "$musl"
    build_images
}

# Builds the boot images anew when their programs or sources have changed since.
build_images() {
    local builder=$root/target/debug/leasehold-boot-images static=$root/target/$musl/agent inputs stamp
    stamp=$root/target/boot-images.stamp
    inputs=$(cd "$root" && {
        sha256sum "$builder" "$static/leasehold-agent" "$static/leasehold-first-boot"
        find boot-images -type f -print0 | sort -z | xargs -0 sha256sum
    } | sha256sum)
    if [ -f "$LEASEHOLD_BOOT_IMAGES/manifest.json" ] && [ -f "$LEASEHOLD_SYSTEM_IMAGE.sha256" ] &&
        [ "$(cat "$stamp" 2>/dev/null)" = "$inputs" ]; then
        return
    fi
    say "building the boot images from Debian packages"
    rm -f "$stamp"
    (cd "$root" && "$builder" all --agent "$static/leasehold-agent" --first-boot "$static/leasehold-first-boot" \
        --out "$LEASEHOLD_BOOT_IMAGES" --system "$LEASEHOLD_SYSTEM_IMAGE") || die "the boot images cannot be built"
    echo "$inputs" >"$stamp"
}

# Builds the Debian image (0.8 GB) when what it is made by has changed since. Its packages are those of the day it was built.
build_debian() {
    local stamp=$root/target/debian-image.stamp inputs
    inputs=$(cd "$root" && {
        sha256sum boot-images/build/src/{debian,disk}.rs
        find boot-images/debian -type f -print0 | sort -z | xargs -0 sha256sum
        sed -n 's/^VERSION_CODENAME=//p' /etc/os-release
    } | sha256sum)
    if [ -f "$LEASEHOLD_DEBIAN_IMAGE.sha256" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$inputs" ]; then
        return
    fi
    require_space 4 "$root/target"
    say "building the Debian image (a minute or more)"
    rm -f "$stamp"
    (cd "$root" && target/debug/leasehold-boot-images debian --kernel linux-image-cloud-amd64 \
        --out "$LEASEHOLD_DEBIAN_IMAGE") || die "the Debian image cannot be built"
    echo "$inputs" >"$stamp"
}

#!/usr/bin/env bash
# Checks that Rust is installed and new enough (`rust-version` in Cargo.toml), and installs or updates it where it is not,
# after showing the commands (install.sh). Does nothing, in a tenth of a second, when nothing is to be done.
#
#   rustup is here                      its toolchain `stable` is installed or updated. Where something else is chosen, it
#                                       becomes the choice for this checkout alone (`rustup override`)
#   no Rust, and a package `rustup`     the distribution's package, then as above
#   otherwise                           rustup's own installer, for this user, into ~/.cargo and ~/.rustup. It is fetched
#                                       over https and must have the checksum that is published beside it. A Rust of the
#                                       distribution stays; env.sh prefers the newer one
#
# Variables of rustup, which are respected: RUSTUP_UPDATE_ROOT (the installer; https, or file:// for a copy on this
# machine), RUSTUP_DIST_SERVER (toolchains), RUSTUP_HOME, CARGO_HOME; and those of curl for proxies and certificates.
set -euo pipefail

setup_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/setup/env.sh
source "$setup_dir/env.sh"

say() { printf 'rust: %s\n' "$*"; }
die() {
    say "$*" >&2
    exit 1
}
# shellcheck source=deploy/setup/install.sh
source "$setup_dir/install.sh"

if fastness_has_rust; then exit 0; fi

wanted=$fastness_rust_version
found=$(rustc --version 2>/dev/null | cut -d' ' -f2 || true)
if [[ -z "$found" ]]; then
    say "Rust $wanted or newer is needed, but not installed"
elif ! command -v cargo >/dev/null; then
    say "Rust $wanted or newer is needed: $(command -v rustc) is $found, and cargo is not installed"
else
    say "Rust $wanted or newer is needed, but $(command -v rustc) is $found"
fi
[[ -z "${RUSTUP_TOOLCHAIN:-}" ]] || die "RUSTUP_TOOLCHAIN=$RUSTUP_TOOLCHAIN chooses a toolchain that is not enough: unset it, and try again"

toolchain=(--profile minimal --component rustfmt --component clippy)

# --- With rustup -----------------------------------------------------------------------------------
# The commands that make `stable` the toolchain of this checkout, one a line.
toolchain_commands() {
    local active
    echo "rustup toolchain install stable ${toolchain[*]} --no-self-update"
    active=$(cd "$fastness_root" && rustup show active-toolchain 2>/dev/null || true)
    case "$active" in
        stable-*) ;;
        "") echo "rustup default stable" ;;
        *) echo "rustup override set stable --path $(printf '%q' "$fastness_root")" ;;
    esac
}
run_lines() { # run_lines LINE...: commands that were shown as text
    local line
    for line in "$@"; do
        say "running: $line"
        bash -c "$line" || return 1
    done
}
install_toolchain() {
    run_lines "$@" || die "rustup could not install the toolchain. Behind a mirror, set RUSTUP_DIST_SERVER (https://rust-lang.github.io/rustup/environment-variables.html)"
}

# --- The distribution's package ----------------------------------------------------------------------
has_package() {
    command -v apt-cache >/dev/null \
        && apt-cache policy rustup 2>/dev/null | grep -q '^ *Candidate: [0-9]'
}
install_package() {
    local commands=("$(sudo_shown)apt-get install -y --no-install-recommends rustup"
        "rustup toolchain install stable ${toolchain[*]} --no-self-update" "rustup default stable")
    agree "${commands[@]}" || exit 1
    apt_install rustup || { by_hand "${commands[@]}"; exit 1; }
    install_toolchain "${commands[@]:1}"
}

# --- rustup's own installer --------------------------------------------------------------------------
installer_root=${RUSTUP_UPDATE_ROOT:-https://static.rust-lang.org/rustup}
case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) triple=x86_64-unknown-linux-gnu ;;
    Linux-aarch64) triple=aarch64-unknown-linux-gnu ;;
    *) triple= ;;
esac
installer_url="$installer_root/dist/$triple/rustup-init"
installer_options=(-y --no-modify-path --default-toolchain stable --profile minimal -c rustfmt -c clippy)
case "$installer_root" in
    https://*) curl=(curl --proto '=https' --proto-redir '=https' --tlsv1.2 -sSfL --retry 3) ;;
    file://*) curl=(curl --proto '=file' -sSf) ;;
    *) curl=() ;;
esac

fetch_installer() { # fetch_installer FOLDER: verified
    local sum
    "${curl[@]}" -o "$1/rustup-init" "$installer_url" && "${curl[@]}" -o "$1/rustup-init.sha256" "$installer_url.sha256" \
        || die "rustup's installer could not be fetched from $installer_url. Behind a proxy, set https_proxy; behind a mirror, set RUSTUP_UPDATE_ROOT and RUSTUP_DIST_SERVER"
    sum=$(cut -d' ' -f1 "$1/rustup-init.sha256")
    [[ "$(sha256sum "$1/rustup-init" | cut -d' ' -f1)" == "$sum" ]] \
        || die "$installer_url does not have the checksum $sum that is published beside it: not installed"
    chmod +x "$1/rustup-init"
}
run_installer() {
    local folder commands=()
    [[ -n "$triple" ]] || die "there is no way to install Rust by itself on $(uname -sm): see https://rustup.rs"
    ((${#curl[@]} > 0)) || die "RUSTUP_UPDATE_ROOT is $installer_root, but must start with https:// or file://"
    if ! command -v curl >/dev/null; then
        command -v apt-get >/dev/null || die "curl is needed to fetch rustup: install it with this system's package manager, then try again"
        can_be_root || die "curl is needed to fetch rustup, root is needed to install it, and sudo is not installed; as root: apt-get update && apt-get install -y curl ca-certificates"
        commands+=("$(sudo_shown)apt-get update" "$(sudo_shown)apt-get install -y --no-install-recommends curl ca-certificates")
    fi
    commands+=("${curl[*]} -O $installer_url   # and rustup-init.sha256, which it must match"
        "chmod +x rustup-init; ./rustup-init ${installer_options[*]}")
    agree "${commands[@]}" || exit 1
    if ! command -v curl >/dev/null; then
        { apt_update && apt_install curl ca-certificates; } || { by_hand "${commands[@]}"; exit 1; }
    fi
    folder=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
    fetch_installer "$folder"
    say "running: rustup-init ${installer_options[*]}"
    # A Rust of the distribution in PATH is no reason to stop.
    RUSTUP_INIT_SKIP_PATH_CHECK=yes "$folder/rustup-init" "${installer_options[@]}" \
        || die "rustup's installer failed. Behind a mirror, set RUSTUP_DIST_SERVER (https://rust-lang.github.io/rustup/environment-variables.html)"
    say "to use cargo in a shell of your own: source ${CARGO_HOME:-$HOME/.cargo}/env"
}

# --- Which of them ------------------------------------------------------------------------------------
if command -v rustup >/dev/null; then
    mapfile -t commands < <(toolchain_commands)
    agree "${commands[@]}" || exit 1
    install_toolchain "${commands[@]}"
elif [[ -z "$(command -v rustc cargo)" ]] && has_package && can_be_root; then
    install_package
else
    run_installer
fi

# What was installed may be in a folder that is not in PATH yet.
hash -r
# shellcheck source=deploy/setup/env.sh
source "$setup_dir/env.sh"
fastness_has_rust || die "Rust was installed, but the one in PATH is $(command -v rustc || echo none) ($(rustc --version 2>/dev/null || echo "does not run")), and $wanted or newer is needed"
say "ready: $(rustc --version)"

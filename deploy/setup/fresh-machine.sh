#!/usr/bin/env bash
# The first minutes of a stranger, in a bare Debian container: installs what README names, clones the current commit, runs
# `make run`, writes, stops, starts again, reads, stops; and, if asked, `make test`. As root, and as a user with sudo.
# The container has nothing that was built or installed here: it takes as long as the first build on a new machine.
#
#   FRESH_AS       who runs it: "root user" (default), or one of them
#   FRESH_TEST     yes: also `make test`, which takes an hour
#   FRESH_SUITE    the Debian release (default: this machine's)
#   FRESH_KEEP     yes: keep the container, to look into it
#   FRESH_DOCKER   more options of `docker run`: '--cpus 1'; '--volume /root --volume /home' where a container's storage is slow;
#                  '--privileged' for the tests that root needs it for
#
# The container reaches the network as this machine does: apt's mirror and options, proxies, certificates of authorities
# that were added, and the configuration of cargo and pip are copied into it, and removed with it.
set -euo pipefail

fastness_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=deploy/lab/steps/env.sh
source "$fastness_root/deploy/lab/steps/env.sh"
# shellcheck source=deploy/lab/steps/images.sh
source "$fastness_root/deploy/lab/steps/images.sh"

say() { printf 'fresh-machine: %s\n' "$*"; }
die() {
    say "$*" >&2
    exit 1
}

who=${FRESH_AS:-root user}
minutes=()
container=
work=$(mktemp -d "${TMPDIR:-/tmp}/fastness-fresh.XXXXXX")

remove_container() {
    if [[ -z "$container" ]]; then return 0; fi
    if [[ "${FRESH_KEEP:-no}" == yes ]]; then
        say "kept: docker exec -it $container bash"
    else
        docker rm -f -v "$container" >/dev/null || true
    fi
    container=
}
finish() {
    remove_container
    rm -rf "$work"
    if ((${#minutes[@]} > 0)); then printf '%s\n' "${minutes[@]}"; fi
}
trap finish EXIT

# --- The container -------------------------------------------------------------------------------------
make_image() {
    local error
    command -v docker >/dev/null || die "docker is not installed"
    error=$(docker version --format '{{.Server.Version}}' 2>&1 >/dev/null) \
        || die "the Docker engine does not answer ($(head -n 1 <<<"$error"))"
    if [[ -n "${FRESH_SUITE:-}" ]]; then
        lab_own_base="fastness-lab-base:$FRESH_SUITE" lab_base="debian:$FRESH_SUITE-slim"
        if present "$lab_own_base"; then lab_base=$lab_own_base; elif ! obtain "$lab_base"; then
            # Another release of the same distribution has the same mirror.
            debootstrap_base "$FRESH_SUITE" "$(mirror_of "$(. /etc/os-release && echo "$VERSION_CODENAME")")"
            lab_base=$lab_own_base
        fi
    else
        make_base
    fi
}

# How this machine reaches the network, as files for the container.
copy_network_settings() {
    local file
    mkdir -p "$work/etc/apt/apt.conf.d" "$work/authorities" "$work/cargo"
    apt-config dump 2>/dev/null | grep '^Acquire::' >"$work/etc/apt/apt.conf.d/90of-the-host" || true
    cp /usr/local/share/ca-certificates/*.crt "$work/authorities/" 2>/dev/null || true
    for file in config.toml config; do cp "${CARGO_HOME:-$HOME/.cargo}/$file" "$work/cargo/" 2>/dev/null || true; done
    for file in /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf"; do
        if [[ -f "$file" ]]; then cp "$file" "$work/etc/pip.conf"; fi
    done
}
variables=()
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY RUSTUP_DIST_SERVER RUSTUP_UPDATE_ROOT \
    PIP_INDEX_URL PIP_CERT SSL_CERT_FILE CURL_CA_BUNDLE; do
    if [[ -n "${!name:-}" ]]; then variables+=(--env "$name"); fi
done

as_root() { docker exec "${variables[@]}" "$container" bash -euo pipefail -c "$1"; }
# Nobody can answer a question: no terminal is attached.
as_stranger() {
    docker exec --user "$account" --workdir "$home" --env HOME="$home" "${variables[@]}" "$container" \
        bash -euo pipefail -c "$1"
}

start_container() { # start_container root|user
    local options=()
    read -ra options <<<"${FRESH_DOCKER:-}"
    container=$(docker run --detach --init "${options[@]}" "$lab_base" sleep infinity)
    docker cp -q "$work/etc/." "$container:/etc/" 2>/dev/null || docker cp "$work/etc/." "$container:/etc/"
    docker cp "$work/authorities/." "$container:/usr/local/share/ca-certificates/"
    docker cp "$work/fastness.bundle" "$container:/tmp/fastness.bundle"
    docker cp "$work/ask.sh" "$container:/tmp/ask.sh"
    as_root 'update-ca-certificates >/dev/null 2>&1 || true'
    account=root home=/root
    # What README names, and nothing else.
    as_root "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; apt-get install -qq -y $packages >/dev/null"
    if [[ "$1" == user ]]; then
        account=stranger home=/home/stranger
        as_root "export DEBIAN_FRONTEND=noninteractive; apt-get install -qq -y sudo >/dev/null
            useradd --create-home --shell /bin/bash stranger; echo 'stranger ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/stranger"
    fi
    docker cp "$work/cargo/." "$container:$home/.cargo/"
    as_root "chown -R $account: $home"
    as_stranger 'git clone -q /tmp/fastness.bundle fastness'
}

# --- The steps -----------------------------------------------------------------------------------------
step() { # step NAME COMMAND: in the clone
    local started=$SECONDS status=0
    say "as $account: $2"
    as_stranger "cd fastness; $2" </dev/null || status=$?
    minutes+=("$(awk -v s=$((SECONDS - started)) -v n="as $account: $1" 'BEGIN { printf "%6.1f min  %s", s / 60, n }')")
    ((status == 0)) || die "as $account: '$2' failed with status $status"
}

# A client in bash: sends a command, follows redirects, and prints the reply.
cat >"$work/ask.sh" <<'END'
ask() { # ask PORT COMMAND
    local reply
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf '%s\r\n' "$2" >&3
    IFS= read -r -t 20 reply <&3
    reply=${reply%$'\r'}
    case "$reply" in
        -MOVED*) ask "${reply##*:}" "$2" ;;
        '$'[0-9]*) IFS= read -r -t 20 reply <&3 && printf '%s\n' "${reply%$'\r'}" ;;
        *) printf '%s\n' "$reply" ;;
    esac
}
END
check() { # check COMMAND REPLY
    local reply
    reply=$(as_stranger "source /tmp/ask.sh; ask 7400 '$1'" 2>&1) || reply="nothing: $reply"
    [[ "$reply" == "$2" ]] || die "as $account: $1 was answered with '$reply', not $2"
    say "as $account: $1: $reply"
}

walk() {
    step 'make run (installs, builds, starts)' 'make run'
    check 'SET token:42 paid' '+OK'
    check 'GET token:42' paid
    step 'make stop' 'make stop'
    step 'make run (again)' 'make run'
    check 'GET token:42' paid
    step 'make stop' 'make stop'
    if [[ "${FRESH_TEST:-no}" == yes ]]; then step 'make test' 'make test'; fi
}

# The line of README's that says what a bare machine needs.
packages=$(sed -n 's/^.*`apt-get install -y \(.*make.*\)`.*$/\1/p' "$fastness_root/README.md" | head -n 1)
[[ -n "$packages" ]] || die "README.md does not say what to install on a bare machine"
if [[ -n "$(git -C "$fastness_root" status --porcelain)" ]]; then say "changes that are not committed are left out"; fi
git -C "$fastness_root" bundle create -q "$work/fastness.bundle" HEAD
make_image
copy_network_settings
for one in $who; do
    [[ "$one" == root || "$one" == user ]] || die "FRESH_AS may have root and user, not '$one'"
    start_container "$one"
    walk
    remove_container
    say "as $account: README's commands are all that is needed"
done

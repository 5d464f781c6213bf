# The images: a base, the node (with the binary of this checkout), and Prometheus with a client. What a registry has is
# pulled; where there is none, the base is made from this machine's own Debian mirror.

present() { docker image inspect "$1" >/dev/null 2>&1; }

# Whether an image is there, or can be pulled.
obtain() {
    present "$1" && return 0
    [[ "$lab_pull" == yes ]] || return 1
    say "pulling $1"
    timeout 600 docker pull --quiet "$1" >/dev/null 2>&1
}

# The binary is linked with this machine's C library, so the base is the same distribution.
make_base() {
    # shellcheck disable=SC1091
    local id codename
    id=$(. /etc/os-release && echo "${ID:-}") codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    lab_own_base="fastness-lab-base:${codename:-none}"
    case "$id" in
        debian) lab_base="debian:$codename-slim" ;;
        ubuntu) lab_base="ubuntu:$codename" ;;
        *) lab_base= ;;
    esac
    lab_base=${FASTNESS_LAB_BASE:-$lab_base}
    [[ -n "$lab_base" ]] || die "this is neither Debian nor Ubuntu: set FASTNESS_LAB_BASE to an image with this machine's C library"
    present "$lab_own_base" && lab_base=$lab_own_base && return
    obtain "$lab_base" && return
    [[ -z "${FASTNESS_LAB_BASE:-}" ]] || die "the image $lab_base is not here and cannot be pulled"
    debootstrap_base "$codename"
    lab_base=$lab_own_base
}

# The mirror in apt's own sources, of either format, that has this distribution.
mirror_of() {
    # Not every file exists.
    { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } \
        | awk -v suite="$1" '
            $1 == "deb" { for (i = 2; i < NF; i++) if (!mirror && $i ~ /^https?:/ && $(i + 1) == suite) mirror = $i }
            $1 == "URIs:" { uri = $2 }
            $1 == "Suites:" { for (i = 2; i <= NF; i++) if (!mirror && $i == suite) mirror = uri }
            END { print mirror }'
}

debootstrap_base() { # debootstrap_base SUITE [MIRROR]
    local suite=$1 mirror folder as_root=()
    mirror=${2:-$(mirror_of "$suite")}
    [[ -n "$mirror" ]] || die "no image can be pulled, and apt's sources name no mirror of $suite to make one from"
    command -v debootstrap >/dev/null || [[ -x /usr/sbin/debootstrap ]] \
        || die "no image can be pulled, and debootstrap, which can make one, is not installed: apt-get install debootstrap"
    if (($(id -u) != 0)); then
        command -v sudo >/dev/null || die "no image can be pulled, and debootstrap, which can make one, needs root"
        as_root=(sudo)
    fi
    say "no image can be pulled: making $lab_own_base from $mirror, once for this machine (half a minute, 220 MB)"
    folder=$(mktemp -d "${TMPDIR:-/tmp}/fastness-lab-base.XXXXXX")
    if ! "${as_root[@]}" env PATH="/usr/sbin:/sbin:$PATH" debootstrap --variant=minbase --include=ca-certificates \
        "$suite" "$folder/root" "$mirror" >"$folder/log" 2>&1; then
        tail -n 5 "$folder/log" >&2
        "${as_root[@]}" rm -rf "$folder"
        die "debootstrap failed"
    fi
    "${as_root[@]}" tar -C "$folder/root" -c . | docker import - "$lab_own_base" >/dev/null
    "${as_root[@]}" rm -rf "$folder"
}

build() { # build DOCKERFILE TAG CONTEXT ARGUMENT...
    local file="$fastness_root/deploy/lab/$1" tag=$2 context=$3 log="$lab_dir/build.log"
    shift 3
    docker build --tag "$tag" --file "$file" --build-arg "BASE=$lab_base" "$@" "$context" >"$log" 2>&1 \
        || { tail -n 15 "$log" >&2; die "the image $tag cannot be built; the whole log is in $log"; }
}

# The context is a folder with the binary alone.
make_node_image() {
    local context="$lab_dir/image"
    [[ -x "$lab_binary" ]] || die "there is no binary $lab_binary"
    mkdir -p "$context"
    # Unchanged binary, unchanged image: Docker compares the content.
    cp "$lab_binary" "$context/fastness"
    build Dockerfile "$lab_image" "$context" --target local --build-arg "UID=$lab_uid" --build-arg "GID=$lab_gid"
    rm -r "$context"
    local output
    output=$(docker run --rm "$lab_image" --version 2>&1) \
        || die "the binary does not run on $lab_base (set FASTNESS_LAB_BASE to an image like this machine): $output"
}

# Prometheus, and a client for the printed commands.
make_tools() {
    local own="fastness-lab-tools:${lab_own_base#*:}"
    if present "$own" || ! { obtain "$lab_prometheus_pulled" && obtain "$lab_client_pulled"; }; then
        if ! present "$own"; then
            say "building $own: Prometheus and redis-cli from Debian's packages, once for this machine"
            mkdir -p "$lab_dir/image"
            build tools.Dockerfile "$own" "$lab_dir/image" --network host
            rmdir "$lab_dir/image"
        fi
        lab_prometheus_image=$own lab_client_image=$own lab_client=redis-cli
    else
        lab_prometheus_image=$lab_prometheus_pulled lab_client_image=$lab_client_pulled lab_client=valkey-cli
    fi
}

find_grafana() {
    lab_grafana=no
    if obtain "$lab_grafana_image"; then lab_grafana=yes; fi
}

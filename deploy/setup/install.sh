# How the other scripts install something: they show the commands, ask if somebody is there to answer, and use sudo where
# root is needed. Sourced, after `say` is defined; installs nothing by itself.
#
#   FASTNESS_INSTALL   yes: install without a question; no: install nothing, and print what to do by hand;
#                      ask (default): ask if a terminal is attached, otherwise as yes

# The prefix of commands that need root; `can_be_root` sets it.
as_root=()

# Whether commands can be run as root. Where nobody could type a password, sudo must not ask for one.
can_be_root() {
    as_root=()
    if [[ "$(id -u)" == 0 ]]; then return 0; fi
    command -v sudo >/dev/null || return 1
    as_root=(sudo)
    if ! { : </dev/tty; } 2>/dev/null; then as_root=(sudo -n); fi
}

# The same for commands that are shown.
sudo_shown() { if [[ "$(id -u)" != 0 ]]; then printf 'sudo '; fi; }

by_hand() { # by_hand COMMAND...: what to do without this script
    say "not installed. To install it by hand:" >&2
    printf '    %s\n' "$@" >&2
}

agree() { # agree COMMAND...: shows what will be run, and fails, after saying what to do by hand, if that is not wanted
    local answer=yes
    say "this will be run:"
    printf '    %s\n' "$@"
    case "${FASTNESS_INSTALL:-ask}" in
        yes) ;;
        no) answer=no ;;
        ask)
            if [[ -t 0 ]]; then
                read -r -p "Run it? [Y/n] " answer || answer=no
                answer=${answer:-yes}
            fi
            ;;
        *)
            say "FASTNESS_INSTALL is '$FASTNESS_INSTALL', but must be yes, no or ask" >&2
            return 1
            ;;
    esac
    if [[ ! "$answer" =~ ^[Yy] ]]; then
        by_hand "$@"
        return 1
    fi
}

run() {
    say "running: $*"
    "$@"
}

apt_update() { run "${as_root[@]}" apt-get update -q; }
apt_install() {
    local quiet=()
    # Without a terminal, no progress in per cent.
    if [[ ! -t 1 ]]; then quiet=(-q -o Dpkg::Use-Pty=0); fi
    run "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y "${quiet[@]}" --no-install-recommends "$@"
}

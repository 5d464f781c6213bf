# Checks what the lab needs, before anything is made or started.

check_engine() {
    command -v docker >/dev/null \
        || die "docker is not installed. \`make run\` starts the same cluster without containers"
    local error
    error=$(docker version --format '{{.Server.Version}}' 2>&1 >/dev/null) \
        || die "the Docker engine does not answer ($(head -n 1 <<<"$error")). \`make run\` starts the same cluster without containers"
    find_compose
}

check_memory() {
    local free_mib
    [[ -z "$(running)" ]] || return 0
    free_mib=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
    ((free_mib >= lab_memory_mib)) \
        || die "the lab needs $lab_memory_mib MiB of memory, but only $free_mib MiB are free"
}

check_ports() {
    if [[ -n "${FASTNESS_LAB_PORT:-}" && "$lab_port" != "$FASTNESS_LAB_PORT" ]]; then
        die "the lab in $lab_dir uses the ports from $lab_port on: stop asking for $FASTNESS_LAB_PORT, or remove it with \`make lab-clean\`"
    fi
    local own port
    own=$(docker ps --filter "label=com.docker.compose.project=$lab_name" --format '{{.Ports}}')
    for ((port = lab_port; port <= lab_grafana_port; port++)); do
        published "$port" "$own" && continue
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            die "port $port is taken by another program: choose 17 free ports in a row with FASTNESS_LAB_PORT (now $lab_port)"
        fi
    done
}

# Data that nobody can read is not taken for that of a new cluster.
check_volumes() {
    if [[ ! -d "$lab_dir/nodes" && -n "$(docker volume ls --quiet --filter "name=^${lab_name}_data-")" ]]; then
        die "there are volumes of an earlier lab, but $lab_dir has no keys to them: remove them with \`make lab-clean\`"
    fi
}

# Whether a running container of the lab has this port, as `docker ps` lists them: `127.0.0.1:7500-7502->7500-7502/tcp`.
published() {
    local range first last
    for range in $(grep -oE '127\.0\.0\.1:[0-9]+(-[0-9]+)?->' <<<"$2" | sed -E 's/^127\.0\.0\.1:|->$//g'); do
        first=${range%-*} last=${range#*-}
        if (($1 >= first && $1 <= last)); then return 0; fi
    done
    return 1
}

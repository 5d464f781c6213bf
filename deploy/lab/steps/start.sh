# Starts the containers, creates the cluster if there is none, and waits until every shard has a primary.

# Seconds until which the nodes must answer, and the shards must serve.
lab_patience=60

start() {
    local profile=()
    if [[ "$lab_grafana" == yes ]]; then profile=(--profile grafana); fi
    # What this call has started is stopped if it fails; what ran before is left alone.
    lab_fresh=no
    if [[ -z "$(running)" ]]; then lab_fresh=yes; fi
    say "starting the containers"
    compose "${profile[@]}" up --detach >"$lab_dir/up.log" 2>&1 || give_up "the containers do not start" "$lab_dir/up.log"
    local node
    for node in "${lab_azs[@]}"; do wait_for_node "node-$node"; done
    if [[ "$lab_state" == *"belongs to no cluster"* ]]; then create; fi
    wait_for_shards
}

give_up() { # give_up REASON [LOG]
    if [[ -n "${2:-}" ]]; then tail -n 15 "$2" >&2; fi
    if [[ "$lab_fresh" == yes ]]; then compose down >/dev/null 2>&1 || true; fi
    die "$1$([[ "$lab_fresh" != yes ]] || printf '; all containers were removed, and the volumes kept')"
}

wait_for_node() {
    local until=$((SECONDS + lab_patience)) log="$lab_dir/up.log"
    while ! lab_state=$(admin cluster describe --address "$1:17379" 2>&1); do
        if ((SECONDS >= until || $(docker inspect --format '{{.RestartCount}}' "$lab_name-$1") >= 5)); then
            { printf '%s\n' "$lab_state" && docker logs --tail 5 "$lab_name-$1"; } >"$log" 2>&1 || true
            give_up "$1 does not answer" "$log"
        fi
        sleep 0.5
    done
}

create() {
    local node az specs=()
    for node in 1 2 3; do
        az=${lab_azs[node - 1]}
        specs+=(--node "id=$node,az=$az,peer=node-$az:16379,grpc=node-$az:17379,host=node-$az,port=$(lab_plaintext_port "$node"),tls-port=6379")
    done
    say "creating the cluster: $lab_shards shards, each with a copy in every AZ, durability sync"
    admin cluster create --address node-a:17379 --shards "$lab_shards" --replicas 2 --durability sync "${specs[@]}" \
        >"$lab_dir/up.log" 2>&1 || give_up "the cluster cannot be created" "$lab_dir/up.log"
}

# A shard without a primary has `none` in its row.
wait_for_shards() {
    local until=$((SECONDS + lab_patience)) addresses=()
    for node in "${lab_azs[@]}"; do addresses+=(--address "node-$node:17379"); done
    while ! lab_state=$(admin cluster describe "${addresses[@]}" 2>&1) \
        || (($(grep -cE '^[0-9]+ +[0-9]+-[0-9]+ .* node [0-9]' <<<"$lab_state") < lab_shards)); do
        if ((SECONDS >= until)); then
            printf '%s\n' "$lab_state" >"$lab_dir/up.log"
            give_up "not every shard has a primary after $lab_patience s" "$lab_dir/up.log"
        fi
        sleep 0.5
    done
}

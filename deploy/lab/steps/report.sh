# Prints the lab, and what to try.

report() {
    local password program port ca="$lab_dir/admin/ca.crt"
    password=$(cat "$lab_dir/password") port=$(lab_plaintext_port 1)
    program=fastness
    if ! command -v fastness >/dev/null; then program=$lab_binary; fi
    printf '\n%s\n\n' "$lab_state"
    printf 'The password of the lab is %s.\n\n' "$password"
    printf 'On this machine, through mapped ports (plaintext, on loopback only):\n\n'
    printf '  %s\n' \
        "for key in a b c; do $program cli --dir $lab_dir SET \$key paid; done   # keys of three shards" \
        "$program cli --dir $lab_dir                   # a prompt; any cluster client works on port $port with the password"
    printf '\nIn another container, over TLS:\n\n'
    printf '  %s\n' "docker run --rm -it --network $lab_network -v $ca:/ca.crt:ro $lab_client_image $lab_client -c --tls --cacert /ca.crt -h node-b -a $password"
    printf '\nBreak it under a load that knows every acknowledged write:\n\n'
    printf '  %s\n' \
        "$program lab load start --dir $lab_dir" \
        "$program lab az down a --dir $lab_dir          # then up a; or partition, slow, heal" \
        "$program lab disk full --node 2 --dir $lab_dir # then disk heal" \
        "$program lab status --dir $lab_dir" \
        "$program lab load stop --dir $lab_dir          # reads everything back: the verdict" \
        "$program lab console --dir $lab_dir            # all of this as buttons in a browser, with live figures"
    printf '\nMetrics:    http://127.0.0.1:%s (Prometheus)\n' "$lab_prometheus_port"
    if [[ "$lab_grafana" == yes ]]; then
        printf '            http://127.0.0.1:%s (Grafana)\n' "$lab_grafana_port"
    else
        printf '            no Grafana: its image %s cannot be pulled here\n' "$lab_grafana_image"
    fi
    printf 'Containers: %s ps\n' "$(compose_words)"
    printf 'Stop:       make lab-down (keeps the data; `make lab` brings it back), make lab-clean (removes it)\n'
}

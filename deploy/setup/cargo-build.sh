#!/usr/bin/env bash
# `cargo build ARGUMENT...`, with the minutes that are left: behind cargo's own progress bar on a terminal, as a line
# every half minute elsewhere. Everything else that cargo prints is passed on as it is, and so is its exit status.
#
# The count is cargo's: its bar ends in `12/345`, and is also printed where no terminal is attached if cargo is told to.
# If it ever looks different, there is no estimate, and nothing else is lost. CARGO_TERM_PROGRESS_WHEN=never turns both
# off.
set -euo pipefail

setup_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/setup/env.sh
source "$setup_dir/env.sh"

if [[ "${CARGO_TERM_PROGRESS_WHEN:-auto}" == never ]]; then
    exec cargo build "$@"
fi

# Seconds between two lines without a terminal, and before the first estimate, which would be a guess.
every=${FASTNESS_PROGRESS_SECONDS:-30}
warm_up=${FASTNESS_PROGRESS_SECONDS:-20}
started=$SECONDS

# How much of the time has passed, in thousandths, when that many thousandths of the crates are compiled, as measured on
# two cores from scratch: `--release -p fastness`, 398 crates in 17 minutes; and the whole workspace with its tests, 532
# in 29. The last crates are this workspace's own, which are large, and wait for each other.
crates_done=(0 100 200 300 400 500 600 700 800 850 900 940 960 980 994 997 1000)
time_passed=(0 62 151 227 271 284 316 348 402 460 513 596 607 734 778 857 1000)
if [[ " $* " == *" --tests "* ]]; then
    crates_done=(0 100 200 300 400 500 600 700 800 850 900 940 980 990 1000)
    time_passed=(0 21 42 72 99 128 193 222 277 369 681 702 849 896 1000)
fi

passed() { # passed DONE TOTAL: thousandths of the time
    local done=$(($1 * 1000 / $2)) i=1
    while ((done > crates_done[i])); do i=$((i + 1)); done
    local from=${crates_done[i - 1]} to=${crates_done[i]}
    echo $((time_passed[i - 1] + (time_passed[i] - time_passed[i - 1]) * (done - from) / (to - from)))
}

first=-1 # what had passed at the start of this build: crates that were compiled earlier count as done
estimate() { # estimate DONE TOTAL: sets `left`
    local now elapsed=$((SECONDS - started)) seconds
    left=
    now=$(passed "$1" "$2")
    if ((first < 0)); then first=$now; fi
    if ((elapsed < warm_up || now - first < 10)); then return 0; fi
    seconds=$((elapsed * (1000 - now) / (now - first)))
    if ((seconds < 60)); then left="less than a minute left"; else left="about $(((seconds + 30) / 60)) min left"; fi
}

done_of_all= # the last count: DONE TOTAL
reported=$SECONDS
report() { # a line, if it is time for one
    local reach
    [[ "$terminal" == no && -n "$done_of_all" ]] && ((SECONDS - reported >= every)) || return 0
    reported=$SECONDS
    read -ra reach <<<"$done_of_all"
    estimate "${reach[@]}"
    printf 'build: compiled %s of %s crates%s\n' "${reach[@]}" "${left:+, $left}"
}

progress() { # progress LINE: a bar of cargo
    left=
    if [[ "$1" =~ Building.*\]\ ([0-9]+)/([0-9]+) ]]; then
        done_of_all="${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"
        estimate "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
        report
    fi
    if [[ "$terminal" == yes ]]; then printf '\r\e[K%s%s' "$1" "${left:+ ($left)}"; fi
}

# Reads what cargo prints: lines, and bars that end in a carriage return.
filter() {
    local chunk status text='' erase=''
    if [[ "$terminal" == yes ]]; then erase=$'\r\e[K'; fi
    while true; do
        status=0
        IFS= read -r -t 5 -d $'\r' chunk || status=$?
        text+=$chunk
        if [[ "$text" == *$'\n'* ]]; then
            printf '%s%s\n' "$erase" "${text%$'\n'*}"
            text=${text##*$'\n'}
        fi
        if ((status == 0)); then
            progress "$text"
            text=
        elif ((status > 128)); then # nothing new for a while
            report
        else
            break
        fi
    done
    printf '%s%s' "$erase" "$text"
}

terminal=no width=100
if [[ -t 2 ]]; then
    terminal=yes
    width=$(tput cols 2>/dev/null || echo 80)
    export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-always}"
    # Room for the estimate, so that the line does not wrap.
    width=$((width > 60 ? width - 26 : width))
fi
export CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=$width
{ cargo build "$@" 2>&1 1>&3 | filter >&2; } 3>&1

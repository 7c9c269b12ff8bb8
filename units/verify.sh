#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What systemd has to say about the units, and about what goes with them.
#
#     verify.sh verify system|user LIBEXECDIR BROKER KEEPER UNIT...
#         Fails where there is anything at all: it returns 0 on a warning.
#     verify.sh security LIMIT UNIT
#         Fails where the unit is more exposed than the limit, of ten.
#     verify.sh tmpfiles FILE
#         Fails where systemd-tmpfiles says anything of it.
set -euo pipefail

verify() {
    local manager=$1 libexecdir=$2 broker keeper unit names=()
    broker=$(realpath "$3") keeper=$(realpath "$4")
    shift 4

    scratch=$(mktemp -d)
    trap 'rm -r "$scratch"' EXIT
    for unit; do
        sed -e "s|=$libexecdir/ptraced |=$broker |" -e "s|=$libexecdir/ptraced-keeper |=$keeper |" \
            "$unit" >"$scratch/${unit##*/}"
        names+=("$scratch/${unit##*/}")
    done

    # A user's manager has a place for its sockets.
    export XDG_RUNTIME_DIR=$scratch
    said=$(SYSTEMD_UNIT_PATH="$scratch:" systemd-analyze verify "--$manager" --man=no "${names[@]}" 2>&1) || {
        echo "systemd-analyze verify failed: $said"
        exit 1
    }
    if [[ -n $said ]]; then
        echo "systemd-analyze verify says: $said"
        exit 1
    fi
}

security() {
    local limit=$1 unit=$2 threshold
    threshold=$(awk -v limit="$limit" 'BEGIN { print limit * 10 }') # it takes tenths
    if ! said=$(systemd-analyze security --no-pager --offline=true --threshold="$threshold" "$unit" 2>&1); then
        echo "$said"
        exit 1
    fi
    tail -n 1 <<<"$said"
}

# To clean up is to read it, and takes no right: nothing in it has an age.
tmpfiles() {
    scratch=$(mktemp -d)
    trap 'rm -r "$scratch"' EXIT
    if ! said=$(systemd-tmpfiles --clean --root="$scratch" - <"$1" 2>&1) || [[ -n $said ]]; then
        echo "systemd-tmpfiles says: $said"
        exit 1
    fi
}

program=systemd-analyze
[[ $1 == tmpfiles ]] && program=systemd-tmpfiles
if ! command -v "$program" >/dev/null; then
    echo "skipped: $program is not installed"
    exit 77
fi
"$@"

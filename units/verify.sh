#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Fails where systemd-analyze has anything to say about the units: it returns 0 on a warning.
#
#     verify.sh LIBEXECDIR BROKER KEEPER UNIT...
set -euo pipefail

libexecdir=$1 broker=$(realpath "$2") keeper=$(realpath "$3")
shift 3

if ! command -v systemd-analyze >/dev/null; then
    echo "skipped: systemd-analyze is not installed"
    exit 77
fi

scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
names=()
for unit; do
    sed -e "s|=$libexecdir/ptraced |=$broker |" -e "s|=$libexecdir/ptraced-keeper |=$keeper |" \
        "$unit" >"$scratch/${unit##*/}"
    names+=("$scratch/${unit##*/}")
done

said=$(SYSTEMD_UNIT_PATH="$scratch:" systemd-analyze verify --man=no "${names[@]}" 2>&1) || {
    echo "systemd-analyze verify failed: $said"
    exit 1
}
if [[ -n $said ]]; then
    echo "systemd-analyze verify says: $said"
    exit 1
fi

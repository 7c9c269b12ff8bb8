#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Makes a small Debian that can be booted in a container, the same version as this machine's, from
# the mirror that this machine is configured for. Made once, kept in a cache, never written to.
#
#     rootfs.sh      prints where it is; exits with 77 and a reason where it cannot be made
#
# What one program of the tests could not make, the next ones do not try anew for five minutes.
# It is in ${XDG_CACHE_HOME:-/var/cache}/ptraced-tests; remove that to have it made anew.
set -euo pipefail

packages=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,procps,polkitd

skip() {
    echo "$*"
    exit 77
}

# Of all that apt is configured for, the archive with this version itself.
find_mirror() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CODENAME)' 2>/dev/null |
        awk -v codename="$1" '$2 == codename || $3 == codename { print $1; exit }'
}

make() {
    local codename=$1 place=$2 mirror log
    mirror=$(find_mirror "$codename")
    [[ -n $mirror ]] || skip "apt is configured for no mirror of Debian's $codename"
    # What a run that was killed has left.
    rm -rf --one-file-system "$cache"/making.*
    making=$(mktemp -d "$cache/making.XXXXXX")
    trap 'rm -rf --one-file-system "$making"' EXIT
    log=$making/log
    # What it mounts is unmounted with the name space, whatever becomes of it.
    if ! timeout --kill-after=10 240 unshare --mount --propagation private \
        debootstrap --variant=minbase --include="$packages" "$codename" "$making/root" "$mirror" \
        >"$log" 2>&1 </dev/null; then
        echo "debootstrap from $mirror failed: $(tail -n 1 "$log")" >"$failure"
        skip "$(<"$failure")"
    fi
    rm -f "$making"/root/var/cache/apt/archives/*.deb
    chmod 755 "$making/root"
    mv "$making/root" "$place"
}

((EUID == 0)) || skip "not root"
codename=$(. /etc/os-release && [[ ${ID-} == debian ]] && echo "${VERSION_CODENAME-}") || true
[[ -n $codename ]] || skip "this is no Debian with a name, whose like could be booted"
command -v debootstrap >/dev/null || skip "debootstrap is not installed"

cache=${XDG_CACHE_HOME:-/var/cache}/ptraced-tests
mkdir -p "$cache"
# Whatever this script does otherwise makes another one.
place=$cache/$codename-$(sha256sum "$0" | cut -c -12)
exec 9>"$cache/lock"
flock 9
failure=$cache/failure
if [[ ! -d $place && -n $(find "$failure" -mmin -5 2>/dev/null) ]]; then
    skip "$(<"$failure")"
fi
rm -f "$failure"
[[ -d $place ]] || make "$codename" "$place"
echo "$place"

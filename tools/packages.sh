# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What tools/try and tools/check need, and how to get it. Sourced by both.
#
# A need is one line: what it is | Debian's packages | Fedora's packages | a command that succeeds
# where it is there. Nothing is asked of a package manager while all of these succeed, so that the
# tools work offline, without root, and on any system that has what they need. Only Debian's packages
# are installed by themselves: that is where this is tested.

build_needs=(
    'a C compiler|gcc libc6-dev|gcc glibc-devel|compiles cc'
    'meson, 1.0 or newer|meson|meson|has_meson'
    'ninja|ninja-build|ninja-build|has ninja'
    'pkg-config|pkg-config|pkgconf-pkg-config|has pkg-config'
    'where Debian has its libraries, which meson asks|dpkg-dev|dpkg-dev|knows_where_libraries_go'
    'the headers of libsystemd, 250 or newer|libsystemd-dev|systemd-devel|has_library libsystemd 250'
    'the headers of libseccomp, 2.5 or newer|libseccomp-dev|libseccomp-devel|has_library libseccomp 2.5'
)

test_needs=(
    'the headers of cmocka|libcmocka-dev|libcmocka-devel|has_library cmocka 1.1'
    'python3|python3|python3|has python3'
    'dbus-daemon|dbus-daemon|dbus-daemon|has dbus-daemon'
    'polkitd and pkttyagent|polkitd|polkit|has pkttyagent'
    'busctl and systemd-analyze|systemd|systemd|has busctl systemd-analyze systemd-sysusers'
    'setpriv|util-linux|util-linux|has setpriv'
    'strace|strace|strace|has strace'
    'gdb|gdb|gdb|has gdb'
    'gdbserver|gdbserver|gdb-gdbserver|has gdbserver'
    'xsltproc|xsltproc|libxslt|has xsltproc'
    'xmllint and xmlcatalog|libxml2-utils|libxml2|has xmllint xmlcatalog'
    'the DocBook style sheets|docbook-xsl|docbook-style-xsl|has_style_sheets'
    'the DocBook DTD|docbook-xml|docbook-dtds|has_dtd'
)

if [[ $(uname -m) == x86_64 ]]; then
    # gcc-multilib would do too, but shuts the compilers for other machines out
    test_needs+=('a C compiler for 32-bit programs|gcc-12-multilib|glibc-devel.i686 libgcc.i686|compiles gcc -m32')
fi

# Only on a Debian can its like be booted, and only by root; the tests say what they lack.
system_needs=(
    'systemd-nspawn|systemd-container|systemd-container|has systemd-nspawn'
    'debootstrap|debootstrap|debootstrap|has debootstrap'
    'nsenter and unshare|util-linux|util-linux|has nsenter unshare'
    'what builds a package|debhelper|-|has dpkg-buildpackage dh'
    'lintian|lintian|-|has lintian'
)

aarch64_needs=(
    'a C compiler for aarch64|gcc-12-aarch64-linux-gnu libc6-dev-arm64-cross|gcc-aarch64-linux-gnu|compiles aarch64-linux-gnu-gcc-12'
    'qemu-aarch64|qemu-user|qemu-user|has qemu-aarch64'
)

clang_needs=('clang|clang|clang|compiles clang')

sanitize_needs=('the sanitizers of gcc|gcc libc6-dev|gcc libasan libubsan|has_sanitizers')

tidy_needs=('clang-tidy|clang-tidy|clang-tools-extra|has clang-tidy run-clang-tidy')

say() {
    echo "tools/${0##*/}: $*" >&2
}

fail() {
    say "$@"
    exit 1
}

has() {
    local program
    for program; do
        command -v "$program" >/dev/null || return
    done
}

compiles() {
    echo '#include <stdio.h>
int main(void) { return puts("") < 0; }' | "$@" -x c -o /dev/null - 2>/dev/null
}

has_sanitizers() {
    compiles gcc -fsanitize=address,undefined
}

has_meson() {
    local version
    version=$(meson --version 2>/dev/null) && ((${version%%.*} >= 1))
}

knows_where_libraries_go() {
    [[ ! -e /etc/debian_version ]] || has dpkg-architecture
}

has_library() {
    has pkg-config && pkg-config --exists "$1 >= $2"
}

style_sheets=http://docbook.sourceforge.net/release/xsl/current/manpages/docbook.xsl
has_style_sheets() {
    has xsltproc && xsltproc --nonet "$style_sheets" 2>/dev/null
}

has_dtd() {
    has xmlcatalog &&
        xmlcatalog /etc/xml/catalog http://www.oasis-open.org/docbook/xml/4.5/docbookx.dtd >/dev/null 2>&1
}

is_debian() {
    [[ -r /etc/os-release ]] && (. /etc/os-release && [[ ${ID-} == debian ]]) && has apt-get
}

# Runs a command whose output is of interest only where it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if ((status != 0)); then
        say "failed: $*"
        tail -n 40 "$log" >&2
    fi
    rm -f "$log"
    return "$status"
}

install_debian() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=120)
    if ((EUID != 0)); then
        has sudo || fail "missing: $*. As root: apt-get install $*"
        apt=(sudo "${apt[@]}")
    fi
    say "installing $*"
    # Package lists may be missing, or older than the packages.
    quietly "${apt[@]}" install --no-install-recommends "$@" 2>/dev/null && return
    quietly "${apt[@]}" update || fail "the package lists cannot be had. Is there a network?"
    quietly "${apt[@]}" install --no-install-recommends "$@" || fail "not installed: $*"
}

# provide NEED...: installs what is missing, or says what it is and fails.
provide() {
    local need what debian fedora check missing=() debian_all='' fedora_all=''
    for need; do
        IFS='|' read -r what debian fedora check <<<"$need"
        # shellcheck disable=SC2086 # a command and its arguments
        $check && continue
        missing+=("$what")
        debian_all+=" $debian"
        fedora_all+=" $fedora"
    done
    ((${#missing[@]} > 0)) || return 0
    if is_debian; then
        # shellcheck disable=SC2086
        install_debian $debian_all
        return
    fi
    say "missing: $(printf '%s; ' "${missing[@]}")install these and try again."
    say "Debian's packages:$debian_all"
    say "Fedora's packages:$fedora_all"
    exit 1
}

# Whether a directory is a build directory of this tree, where it stands now.
is_build_of() {
    [[ -e $1/build.ninja ]] && grep -qF "\"source\": \"$2\"" "$1/meson-info/meson-info.json" 2>/dev/null
}

# check_writable BUILD-DIRECTORY: it may have been made by somebody else, root for example.
check_writable() {
    local place=$1
    while [[ ! -e $place ]]; do
        place=$(dirname "$place")
    done
    [[ -w $place ]] || fail "you may not write to $place. Use --build-dir=DIR to build elsewhere."
}

# set_up_build DIRECTORY TOP [MESON-OPTION...]: makes a build directory, or brings it up to date.
set_up_build() {
    local build=$1 top=$2 again=()
    shift 2
    check_writable "$build"
    if is_build_of "$build" "$top"; then
        again=(--reconfigure)
    elif [[ -e $build/build.ninja ]]; then
        say "$build was made for another place, making it anew"
        rm -r "$build"
    fi
    quietly meson setup "${again[@]}" "$@" "$build" "$top"
}

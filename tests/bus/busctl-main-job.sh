#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The whole main job in plain busctl calls, on a persistent session: attach to every thread of a
# process, interrupt, look, take the events, continue, detach, close; with a look at /proc after each.
#
#     busctl-main-job.sh PID [BUSCTL-OPTION...]
#
# Without an option it talks to the service on the system bus. The process should have several
# threads that neither come nor go.
set -euo pipefail

pid=${1:?usage: $0 PID [BUSCTL-OPTION...]}
shift
name=org.ptraced.Tracer1
session='' process=''

# call OBJECT INTERFACE METHOD [SIGNATURE ARGUMENT...]
call() {
    local object=$1 interface=$2
    shift 2
    busctl "${options[@]}" call "$name" "$object" "$name.$interface" "$@"
}
options=("$@")

fail() {
    echo "$0: $*" >&2
    exit 1
}

# The first quoted string of a reply.
string_of() {
    local reply=${1#*\"}
    printf '%s\n' "${reply%%\"*}"
}

# tasks KEY: the values of that line of every thread's status, each once.
tasks() {
    awk -v key="$1:" '$1 == key { print $2 }' /proc/"$pid"/task/*/status | sort -u | tr '\n' ' '
}

# Gives a state half a second to become true.
expect() {
    local what=$1 _
    shift
    for _ in $(seq 50); do
        "$@" && return
        sleep 0.01
    done
    fail "$what does not come true; states: $(tasks State); tracers: $(tasks TracerPid)"
}
untraced() { [[ $(tasks TracerPid) == "0 " ]]; }
traced_by_one() { [[ $(tasks TracerPid) =~ ^[1-9][0-9]*\ $ ]]; }
all_stopped() { [[ $(tasks State) == "t " ]]; }
none_stopped() { [[ $(tasks State) != *[tT]* ]]; }

# What went wrong in between must not leave the process traced.
clean_up() {
    [[ -z $session ]] || call "$session" Session Close >/dev/null || true
}
trap clean_up EXIT

expect "an untraced start" untraced
n=$(find /proc/"$pid"/task -mindepth 1 -maxdepth 1 | wc -l)

session=$(string_of "$(call /org/ptraced/Tracer1 Manager CreateSession 'a{sv}' 2 \
    name s main-job lifetime s persistent)")
echo "CreateSession  $session"

process=$(string_of "$(call "$session" Session AttachProcess 'ua{sv}' "$pid" 0)")
echo "AttachProcess  $process"
[[ $process == "$session/process/$pid" ]] || fail "the process's path is $process"
traced_by_one || fail "not every thread is traced: $(tasks TracerPid)"
none_stopped || fail "attaching has stopped it"

call "$process" Process Interrupt >/dev/null
all_stopped || fail "Interrupt has answered, but the states are $(tasks State)"
echo "Interrupt      all threads stand"

stopped=$(call "$session" Session ListStopped)
[[ $stopped == "a(ttousba{sv}) $n "* ]] || fail "ListStopped does not list $n threads: $stopped"
echo "ListStopped    $n threads"

for ((i = 1; i <= n; i++)); do
    event=$(call "$session" Session GetEvent t 2000000)
    [[ $event == "(ttousba{sv}) $i "*"\"$process\""*' "stop" true '* ]] || fail "event $i is $event"
done
echo "GetEvent       $n times stop, the last: $event"
if event=$(call "$session" Session GetEvent t 0 2>/dev/null); then
    fail "an event too many: $event"
fi

call "$process" Process Continue 'a{sv}' 0 >/dev/null
expect "running on" none_stopped
stopped=$(call "$session" Session ListStopped)
[[ $stopped == "a(ttousba{sv}) 0" ]] || fail "ListStopped after Continue: $stopped"
echo "Continue       all threads run"

call "$process" Process Detach >/dev/null
untraced || fail "Detach has answered, but the tracers are $(tasks TracerPid)"
none_stopped || fail "Detach has left a thread stopped: $(tasks State)"
event=$(call "$session" Session GetEvent t 2000000)
[[ $event == *'"lost" false '*'"reason" s "detached"'* ]] || fail "the last event is $event"
echo "Detach         $event"

call "$session" Session Close >/dev/null
closed=$session session=''
if call "$closed" Session Close >/dev/null 2>&1; then
    fail "a second Close has succeeded"
fi
echo "Close          and a second one is refused"
untraced || fail "it is still traced by $(tasks TracerPid)"
none_stopped || fail "a thread is left stopped: $(tasks State)"

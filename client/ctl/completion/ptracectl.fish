# fish completion for ptracectl
# SPDX-License-Identifier: LGPL-2.1-or-later

# Asks the system service; nothing is offered where it does not answer.
function __ptracectl_sessions
    timeout 2 ptracectl --no-legend --no-pager sessions 2>/dev/null | string match -r '^\S+'
end

function __ptracectl_tracees
    timeout 2 ptracectl --no-legend --no-pager threads 2>/dev/null |
        string replace -rf '^\S+ +(\d+) .*' '$1' | sort -un
end

function __ptracectl_limits
    timeout 2 ptracectl --no-legend --no-pager limits 2>/dev/null | string replace -r ' .*' =
end

function __ptracectl_kinds
    set -l before (string match -r '^.*,' -- (commandline -ct | string replace -r '^--?\w+=?' ''))
    printf "$before%s\n" stop signal group-stop clone fork vfork vfork-done exec exit exited \
        killed lost step breakpoint watchpoint syscall-enter syscall-exit seccomp
end

set -l verbs run events attach sessions status threads interrupt continue detach close limits log
set -l no_verb "not __fish_seen_subcommand_from $verbs"

complete -c ptracectl -f

complete -c ptracectl -l system -d 'Use the system service'
complete -c ptracectl -l user -d 'Use the service of your session bus'
complete -c ptracectl -l embedded -d 'Trace with a broker of its own'
complete -c ptracectl -s H -l host -x -a '(__fish_print_hostnames)' -d 'Use another host'
complete -c ptracectl -s M -l machine -x -d 'Use a container'
complete -c ptracectl -l json -x -a 'short pretty off' -d 'Print JSON'
complete -c ptracectl -l no-ask-password -d 'Do not ask for permission or a password'
complete -c ptracectl -l no-pager -d 'Do not show lists in a pager'
complete -c ptracectl -l no-legend -d 'Print lists without header and summary'
complete -c ptracectl -s q -l quiet -d 'Say nothing but errors'
complete -c ptracectl -s h -l help -d 'Show help'
complete -c ptracectl -l version -d 'Show the version'

complete -c ptracectl -n "$no_verb" -a run -d 'Start a program and follow its events to its end'
complete -c ptracectl -n "$no_verb" -a events -d 'Follow the events of a process or of a session'
complete -c ptracectl -n "$no_verb" -a attach -d 'Attach to processes in a session that stays'
complete -c ptracectl -n "$no_verb" -a sessions -d 'List sessions'
complete -c ptracectl -n "$no_verb" -a status -d 'Show the service, sessions or traced processes'
complete -c ptracectl -n "$no_verb" -a threads -d 'List traced threads'
complete -c ptracectl -n "$no_verb" -a interrupt -d 'Stop processes or single threads'
complete -c ptracectl -n "$no_verb" -a continue -d 'Let them run again'
complete -c ptracectl -n "$no_verb" -a detach -d 'Stop tracing them; they run on'
complete -c ptracectl -n "$no_verb" -a close -d 'End sessions; what they traced runs on'
complete -c ptracectl -n "$no_verb" -a limits -d 'Show the service\'s limits, or set some'
complete -c ptracectl -n "$no_verb" -a log -d 'Show who traced what, from the journal'

function __ptracectl_verb
    __fish_seen_subcommand_from $argv
end

complete -c ptracectl -n '__ptracectl_verb run' -x -a '(__fish_complete_subcommand --fcs-skip=2)'
complete -c ptracectl -n '__ptracectl_verb run events attach' -s f -l follow -d 'Trace children too'
complete -c ptracectl -n '__ptracectl_verb run events attach' -s e -l events -x \
    -a '(__ptracectl_kinds)' -d 'Report these kinds alone'
complete -c ptracectl -n '__ptracectl_verb run events' -s o -l output -r -F \
    -d 'Write events to a file'
complete -c ptracectl -n '__ptracectl_verb events' -s p -l pid -x -a '(__fish_complete_pids)' \
    -d 'Attach to this process'
complete -c ptracectl -n '__ptracectl_verb events' -s n -l lines -x -d 'End after so many events'
complete -c ptracectl -n '__ptracectl_verb log' -s n -l lines -x -d 'Show the last so many entries'
complete -c ptracectl -n '__ptracectl_verb events attach' -l threads -x -a 'follow none' \
    -d 'Whether threads to come are traced'
complete -c ptracectl -n '__ptracectl_verb events attach' -l stops -x -a '(__ptracectl_kinds)' \
    -d 'Kinds that stop the thread'
complete -c ptracectl -n '__ptracectl_verb events attach threads interrupt continue detach' \
    -s s -l session -x -a '(__ptracectl_sessions)' -d 'Use this session'
complete -c ptracectl -n '__ptracectl_verb attach' -l stop -d 'Stop the processes at once'
complete -c ptracectl -n '__ptracectl_verb attach' -l name -x -d 'Name of the new session'
complete -c ptracectl -n '__ptracectl_verb attach' -a '(__fish_complete_pids)'
complete -c ptracectl -n '__ptracectl_verb interrupt continue detach' -l all \
    -d 'All of the session, or of all your sessions'
complete -c ptracectl -n '__ptracectl_verb interrupt continue detach status threads' \
    -a '(__ptracectl_tracees)'
complete -c ptracectl -n '__ptracectl_verb status threads close' -a '(__ptracectl_sessions)'
complete -c ptracectl -n '__ptracectl_verb limits' -a '(__ptracectl_limits)'

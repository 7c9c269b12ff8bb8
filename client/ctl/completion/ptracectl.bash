# bash completion for ptracectl                            -*- shell-script -*-
# SPDX-License-Identifier: LGPL-2.1-or-later

# Asks the service that the words typed so far name; nothing is offered where none answers.
__ptracectl_list() {
    local -a transport=()
    local i

    for ((i = 1; i < ${#COMP_WORDS[@]}; i++)); do
        case ${COMP_WORDS[i]} in
        --system | --user) transport=("${COMP_WORDS[i]}") ;;
        -H | -M) transport=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 1]}") ;;
        esac
    done
    timeout 2 ptracectl "${transport[@]}" --no-legend --no-pager "$@" 2>/dev/null
}

__ptracectl_sessions() {
    __ptracectl_list sessions | awk '{ print $1 }'
}

__ptracectl_tracees() {
    __ptracectl_list threads | awk '{ print $2 }' | sort -un
}

__ptracectl_limits() {
    __ptracectl_list limits | awk '{ print $1 }'
}

__ptracectl_kinds() {
    # Completes the last word of a list with commas.
    local before=
    [[ $1 == *,* ]] && before=${1%,*},
    compgen -P "$before" -W 'stop signal group-stop clone fork vfork vfork-done exec exit exited
                             killed lost step breakpoint watchpoint syscall-enter syscall-exit
                             seccomp' -- "${1##*,}"
}

_ptracectl() {
    local cur prev words cword
    local verbs='run events attach sessions status threads interrupt continue detach close limits log'
    local options='--system --user --embedded --host= --machine= --json= --no-pager --no-legend --no-ask-password
                   --quiet --help --version'
    local verb='' i

    _init_completion -n = || return
    # "--json=short" is one word here; its value is completed on its own.
    if [[ $cur == --*=* ]]; then
        prev=${cur%%=*}
        cur=${cur#*=}
    fi
    for ((i = 1; i < cword; i++)); do
        case ${words[i]} in
        -H | -M | -o | -p | -s | -e | -n | --host | --machine | --json | --output | --pid | \
            --session | --events | --stops | --lines | --threads | --name)
            ((i++))
            ;;
        -*) ;;
        *)
            verb=${words[i]}
            break
            ;;
        esac
    done
    # What follows the program of `run` is the program's.
    if [[ $verb == run ]]; then
        for ((i++; i < cword; i++)); do
            case ${words[i]} in
            -o | -e | --output | --events | --json) ((i++)) ;;
            -*) ;;
            *)
                _command_offset "$i"
                return
                ;;
            esac
        done
    fi

    case $prev in
    --json) COMPREPLY=($(compgen -W 'short pretty off' -- "$cur")) ;;
    -H | --host) _known_hosts_real -a -- "$cur" ;;
    -M | --machine)
        COMPREPLY=($(compgen -W "$(machinectl list --no-legend --no-pager 2>/dev/null |
            awk '{ print $1 }')" -- "$cur"))
        ;;
    -e | --events | --stops)
        COMPREPLY=($(__ptracectl_kinds "$cur"))
        compopt -o nospace
        ;;
    -o | --output) _filedir ;;
    -p | --pid) _pids ;;
    -s | --session) COMPREPLY=($(compgen -W "$(__ptracectl_sessions)" -- "$cur")) ;;
    --threads) COMPREPLY=($(compgen -W 'follow none' -- "$cur")) ;;
    -n | --lines | --name) ;;
    *)
        case $verb in
        '') ;;
        run) options+=' --follow --events= --output=' ;;
        events)
            options+=' --follow --events= --output= --pid= --session= --lines= --threads= --stops='
            ;;
        attach) options+=' --follow --events= --session= --threads= --stops= --stop --name=' ;;
        log) options+=' --lines=' ;;
        threads) options+=' --session=' ;;
        interrupt | continue | detach) options+=' --session= --all' ;;
        esac
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "$options" -- "$cur"))
            [[ ${COMPREPLY-} == *= ]] && compopt -o nospace
            return
        fi
        case $verb in
        '') COMPREPLY=($(compgen -W "$verbs" -- "$cur")) ;;
        run) COMPREPLY=($(compgen -c -- "$cur")) ;;
        attach) _pids ;;
        status | threads)
            COMPREPLY=($(compgen -W "$(__ptracectl_sessions) $(__ptracectl_tracees)" -- "$cur"))
            ;;
        interrupt | continue | detach)
            COMPREPLY=($(compgen -W "$(__ptracectl_tracees)" -- "$cur"))
            ;;
        close) COMPREPLY=($(compgen -W "$(__ptracectl_sessions)" -- "$cur")) ;;
        limits)
            COMPREPLY=($(compgen -S = -W "$(__ptracectl_limits)" -- "$cur"))
            compopt -o nospace
            ;;
        esac
        ;;
    esac
} && complete -F _ptracectl ptracectl

# Completion of isoctl for bash; made by tools/generate_client.py.
_isoctl() {
    local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} flags= names=
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "run exec shell enter menu clipboard list ls status start stop restart grant revoke ps top kill logs history why doctor exposure reload" -- "$word")
        return
    fi
    case $verb in
        run|exec) flags="-e --env -w --directory --login-shell --no-login-shell -u --user --display -d --detach -t --terminal -T --no-terminal -q --quiet -h --help" ;;
        shell|enter) flags="-e --env -w --directory --login-shell --no-login-shell -u --user --display -t --terminal -T --no-terminal -q --quiet -h --help" ;;
        menu) flags="-q --quiet -h --help" ;;
        clipboard) flags="-h --help" ;;
        list|ls) flags="--json -h --help" ;;
        status) flags="--json -h --help" ;;
        start) flags="--force -q --quiet -h --help" ;;
        stop) flags="--force -q --quiet -h --help" ;;
        restart) flags="--force -q --quiet -h --help" ;;
        grant) flags="-q --quiet -h --help" ;;
        revoke) flags="-q --quiet -h --help" ;;
        ps) flags="--json -h --help" ;;
        top) flags="--once --json -h --help" ;;
        kill) flags="-s --signal -h --help" ;;
        logs) flags="-f --follow -n --lines --since -h --help" ;;
        history) flags="--since -n --lines --json -h --help" ;;
        why) flags="-u --user --json -h --help" ;;
        doctor) flags="--json -h --help" ;;
        exposure) flags="--json -h --help" ;;
        reload) flags="--dry-run --json -h --help" ;;
    esac
    case $verb in
        run|exec|shell|enter|menu|clipboard|status|start|stop|restart|grant|revoke|ps|top|logs|history|why|doctor|exposure) names=$(isoctl __complete containers 2>/dev/null) ;;
        kill) names=$(isoctl __complete apps 2>/dev/null) ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$flags $names" -- "$word")
}
complete -F _isoctl isoctl


# shellcheck disable=SC2015,SC2034,SC2154 # the caller sets the values
# Finds the processes of a service, reloads and stops it, as systemd.service(5) and
# systemd.kill(5) state. Reads the state and the parent of a process from /proc/PID/stat. Fails if
# the process has ended: a zombie stays until its parent waits for it.
v2d_alive() {
  [ -n "$1" ] && { read -r v2d_stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  v2d_stat=${v2d_stat##*) }
  v2d_parent=${v2d_stat#* } v2d_parent=${v2d_parent%% *}
  case $v2d_stat in [ZX]*) return 1 ;; esac
}
# Sets v2d_group to the control group of a process.
v2d_group_of() {
  v2d_group=''
  while read -r v2d_line; do v2d_group="$v2d_group$v2d_line;"; done <"/proc/$1/cgroup"
}
# Returns whether a process belongs to the service: all processes of the container, if this script
# is its first process. Otherwise the process namespace can contain other services.
v2d_belongs() {
  if [ $$ = 1 ] || [ "$PPID" = 1 ]; then
    { v2d_group_of "$1"; } 2>/dev/null && [ "$v2d_group" = "$v2d_own" ]
    return
  fi
  # A process whose parent has ended has another parent now.
  case " $v2d_members " in *" $1 "*) return 0 ;; esac
  v2d_ancestor=$1
  while [ "$v2d_ancestor" != $$ ] && [ "$v2d_ancestor" != "$pid" ]; do
    [ "$v2d_ancestor" -gt 1 ] && v2d_alive "$v2d_ancestor" || return 1
    v2d_ancestor=$v2d_parent
  done
}
# Sets v2d_left to the running processes of the service.
v2d_remaining() {
  v2d_left=''
  v2d_group_of $$
  v2d_own=$v2d_group
  set +f
  for v2d_path in /proc/[0-9]*; do
    v2d_number=${v2d_path#/proc/}
    [ "$v2d_number" != 1 ] && [ "$v2d_number" != $$ ] && v2d_alive "$v2d_number" || continue
    ! v2d_belongs "$v2d_number" || v2d_left="$v2d_left $v2d_number"
  done
  set -f
}
# Returns whether the service has processes. A service without a known main process runs as long
# as it has any.
v2d_any() {
  pid=''
  v2d_remaining
  [ -n "$v2d_left" ]
}
# Sets pid to the only process of the service whose parent has ended (GuessMainPID=).
v2d_guess() {
  v2d_any || return 1
  for v2d_number in $v2d_left; do
    v2d_alive "$v2d_number" && [ "$v2d_parent" = 1 ] || continue
    [ -z "$pid" ] || { pid='' && return 0; }
    pid=$v2d_number
  done
}
v2d_running() { if [ -n "$pid" ]; then v2d_alive "$pid"; else v2d_any; fi; }
# Waits until v2d_find has a result. A daemon that forks twice, or replaces itself, changes its PID.
v2d_appears() {
  v2d_tries=0
  until v2d_find; do
    v2d_tries=$((v2d_tries + 1))
    [ "$v2d_tries" -lt $(($1 * 5)) ] || return 1
    sleep 0.2 & wait $! || :
  done
}
# Watches a daemon in the background.
v2d_watch() {
  trap v2d_stop TERM INT
  trap v2d_reload HUP
  v2d_appears "$v2d_start_seconds" || { echo 'error: the daemon did not start' >&2; v2d_finish 1 exit-code; }
  while :; do
    while v2d_running; do sleep 1 & wait $! || :; done
    v2d_appears 10 || break
  done
  echo 'error: the daemon exited' >&2
  v2d_finish 1 exit-code
}
# Watches the command in the foreground. A signal ends `wait` early.
v2d_watch_child() {
  trap v2d_stop TERM INT
  trap v2d_reload HUP
  v2d_code=0
  wait "$pid" || v2d_code=$?
  while v2d_alive "$pid"; do v2d_code=0; wait "$pid" || v2d_code=$?; done
  if [ "$v2d_code" -gt 128 ]; then
    v2d_again=0
    wait "$pid" 2>/dev/null || v2d_again=$?
    [ "$v2d_again" = 127 ] || v2d_code=$v2d_again
  fi
  if [ "$v2d_code" = 0 ]; then
    MAINPID='' && stop_commands || :
    v2d_finish 0 success
  fi
  v2d_finish "$v2d_code" exit-code
}
v2d_reload() {
  export MAINPID="$pid"
  if [ -n "$v2d_reload" ]; then
    reload_commands || echo 'error: the reload failed' >&2
  else
    [ -z "$pid" ] || kill -HUP "$pid" || :
  fi
}
# Sets v2d_left to the running processes that get the stop signal. With KillMode=none, only the
# stop commands end the service.
v2d_signaled() {
  case $v2d_mode in
    control-group) v2d_remaining ;;
    none) if [ -z "$v2d_stop" ] && v2d_alive "$pid"; then v2d_left=$pid; else v2d_left=''; fi ;;
    *) if v2d_alive "$pid"; then v2d_left=$pid; else v2d_left=''; fi ;;
  esac
}
# Runs the stop commands, then sends the signal to the processes that remain.
v2d_stop() {
  trap : TERM INT HUP
  export MAINPID="$pid"
  v2d_members=''
  v2d_remaining
  v2d_members=$v2d_left
  stop_commands &
  v2d_stopping=$! v2d_tries=0
  # Intervals of 0.2 s: a stopped service ends the container quickly.
  while v2d_alive "$v2d_stopping" && [ "$v2d_tries" -lt $((v2d_stop_seconds * 5)) ]; do
    sleep 0.2
    v2d_tries=$((v2d_tries + 1))
  done
  v2d_signaled
  ! v2d_alive "$v2d_stopping" || v2d_left="$v2d_left $v2d_stopping"
  if [ -n "$v2d_left" ]; then
    # shellcheck disable=SC2086 # a list of numbers
    kill -"$v2d_signal" $v2d_left 2>/dev/null || :
    # shellcheck disable=SC2086 # a list of numbers
    [ -z "$v2d_hangup" ] || kill -HUP $v2d_left 2>/dev/null || :
  fi
  v2d_tries=0
  while v2d_leaving; do
    if [ "$v2d_tries" -ge $((v2d_stop_seconds * 5)) ] && [ -n "$v2d_kill" ]; then
      # shellcheck disable=SC2086 # a list of numbers
      kill -KILL $v2d_left 2>/dev/null || :
      break
    fi
    sleep 0.2
    v2d_tries=$((v2d_tries + 1))
  done
  v2d_finish 0 success
}
# Returns whether processes that have to end still run, and sets v2d_left to them. The end of the
# container kills the main process of KillMode=none too, so it is waited for.
v2d_leaving() {
  v2d_signaled
  [ "$v2d_mode" != none ] || ! v2d_alive "$pid" || v2d_left=$pid
  [ -n "$v2d_left" ]
}
# Runs the commands after the end of the service. Arguments: exit code, and the result as systemd
# names it (SERVICE_RESULT of systemd.exec(5)).
v2d_finish() {
  trap : TERM INT HUP
  export SERVICE_RESULT="$2" EXIT_CODE=exited EXIT_STATUS="$1"
  stop_post_commands || echo 'error: a command after the stop failed' >&2
  exit "$1"
}

#!/bin/sh
# A Docker daemon of the tests' own: no bridge, no firewall rules, one unix socket, everything below one directory, ended by pid.
#   dockerd.sh start DIRECTORY    prints the address once the daemon answers; does nothing when it runs already
#   dockerd.sh stop DIRECTORY     ends it with its containers and removes the directory
# DOCKERD_OPTIONS: more arguments for the daemon, such as "--add-runtime NAME=/path".
set -eu

usage() {
	echo "usage: $0 start|stop DIRECTORY" >&2
	exit 2
}

[ $# -eq 2 ] || usage
directory=$2
socket=$directory/docker.sock
pidfile=$directory/pid

# Not so of one that is dead and that nobody has asked about yet.
is_alive() {
	state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) && [ -n "$state" ] && [ "$state" != Z ]
}

is_running() {
	[ -s "$pidfile" ] && is_alive "$(cat "$pidfile")"
}

launch() {
	rm -f "$socket" "$pidfile"
	# shellcheck disable=SC2086 # a list of arguments
	setsid dockerd --host "unix://$socket" --data-root "$directory/data" --exec-root "$directory/exec" --pidfile "$pidfile" \
		--bridge=none --iptables=false --live-restore ${DOCKERD_OPTIONS:-} >"$directory/log" 2>&1 </dev/null &
	daemon=$!
}

answers() {
	python3 - "$socket" <<'PYTHON'
import socket, sys
with socket.socket(socket.AF_UNIX) as one:
    one.settimeout(2)
    one.connect(sys.argv[1])
    one.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
    sys.exit(0 if b"200" in one.recv(64) else 1)
PYTHON
}

start() {
	command -v dockerd >/dev/null || { echo "dockerd is not installed: deploy/ci/install-debian.sh" >&2; exit 3; }
	[ "$(id -u)" -eq 0 ] || { echo "a Docker daemon needs root" >&2; exit 3; }
	mkdir -p "$directory"
	if is_running; then daemon=$(cat "$pidfile"); else launch; fi
	for _ in $(seq 300); do
		if answers 2>/dev/null; then
			echo "unix://$socket"
			return
		fi
		is_alive "$daemon" || launch # it may meet its predecessor's containerd as that dies, and give up
		sleep 0.1
	done
	echo "dockerd did not answer:" >&2
	tail -n 20 "$directory/log" >&2
	exit 1
}

# The shims of containers and the daemon's own containerd name our directory in their arguments; nobody else's do.
ours() {
	for entry in /proc/[0-9]*; do
		if { tr '\0' ' ' <"$entry/cmdline"; } 2>/dev/null | grep -qF "$directory/exec"; then
			echo "${entry#/proc/}"
		fi
	done
}

stop() {
	if is_running; then
		# the daemon leaves containers running when it ends, and they outlive their shims
		left=$(docker --host "unix://$socket" ps --all --quiet)
		# shellcheck disable=SC2086 # a list of ids
		[ -z "$left" ] || docker --host "unix://$socket" rm --force $left >/dev/null 2>&1 || true
		pid=$(cat "$pidfile")
		kill "$pid"
		for _ in $(seq 200); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
		kill -9 "$pid" 2>/dev/null || true
	fi
	for pid in $(ours); do
		kill -9 "$pid" 2>/dev/null || true
	done
	grep -F " $directory/" /proc/self/mountinfo | cut -d ' ' -f 5 | sort -r | while read -r point; do
		umount -l "$point" 2>/dev/null || true
	done
	rm -rf "$directory"
}

case $1 in
start) start ;;
stop) stop ;;
*) usage ;;
esac

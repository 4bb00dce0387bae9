#!/bin/sh
# Fetches vm2docker-self, checks it, runs it once and leaves nothing of it behind:
#
#   curl -fsSL https://github.com/vm2docker/vm2docker-self/releases/latest/download/install.sh | sudo sh -s -- --out /tmp/ctx
#
# All arguments are the program's, and so is the exit code; 20 if the program was not run, 128+N after signal N.
# Variables (sudo takes them before `sh`: sudo VM2DOCKER_VERSION=0.1.0 sh -s -- ...):
#
#   VM2DOCKER_VERSION      this version, not the latest
#   VM2DOCKER_RELEASE_URL  where releases are: URL/latest/download/FILE and URL/download/vVERSION/FILE
#   VM2DOCKER_SHA256       the program must have this checksum, whatever the server says
#   VM2DOCKER_RELEASE_KEY  file with the public key that SHA256SUMS must be signed with
#   TMPDIR                 where to put the program, before /tmp, /var/tmp, /run and /root
#
# For any POSIX shell, including dash and BusyBox. All code is in functions, and the last line calls them, so the shell
# runs nothing of a truncated script.
# shellcheck disable=SC2317 # traps call functions

# Releases are not signed yet, so there is no key here (PEM). The checksums detect damage and a mirror that differs from
# SHA256SUMS, but not an attacker who can change that file. A signature would.
release_key=''

tell() { printf 'install.sh: %s\n' "$*" >&2; }

# 20 as the program itself: refused before any work.
refuse() {
  tell "$@"
  tell 'nothing was run'
  exit 20
}

has() { command -v "$1" >/dev/null 2>&1; }

# Returns the command's exit code. The command runs in the background, because a shell that waits in the foreground handles
# a signal only afterwards. TERM ends the command, because background commands of a script ignore INT.
run() {
  [ -z "$signal" ] || exit $((128 + signal))
  code=0
  "$@" &
  child=$!
  [ -z "$signal" ] || kill "$child" 2>/dev/null || :
  # A signal ends `wait` too, so the command can still be running.
  while :; do
    wait "$child" && code=0 || code=$?
    kill -0 "$child" 2>/dev/null || break
  done
  child=
  [ -z "$signal" ] || exit $((128 + signal))
  return "$code"
}

on_signal() {
  signal=$1
  [ -z "$child" ] || kill "$child" 2>/dev/null || :
}

# Creates a private folder. All such folders are removed at the end.
make_folder() {
  case $1 in *[!0-9A-Za-z/._-]*) return 1 ;; esac
  folder=$(mktemp -d "$1/vm2docker.XXXXXX" 2>/dev/null) || return 1
  folders="$folders $folder"
}

# shellcheck disable=SC2086 # a list; see make_folder
remove_folders() { rm -rf $folders; }

# fetch URL FILE. No redirect leads curl from TLS to a connection without; wget has no such switch.
fetch() {
  if has curl; then
    only='=https'
    [ "${1#https:}" != "$1" ] || only='=http,https'
    run curl -fsSL --proto "$only" --connect-timeout 30 --speed-limit 1 --speed-time 60 -o "$2" "$1"
  elif has wget && busybox_wget; then
    # It has a time limit of its own, and Debian's crashes when it is given another.
    run wget -q -O "$2" "$1"
  elif has wget; then
    run wget -q -T 60 -t 3 -O "$2" "$1"
  else
    refuse 'neither curl nor wget is here: copy the program here yourself and run it'
  fi
}

busybox_wget() { wget --help 2>&1 | grep -q BusyBox; }

# Whether the signature will be verified, so that the certificate of the server need not be verified.
can_verify() { [ -n "$release_key${VM2DOCKER_RELEASE_KEY:-}" ] && has openssl; }

check_address() {
  case $url in
    https://*)
      # That has TLS, but looks at no certificate.
      if ! has curl && busybox_wget && [ -z "${VM2DOCKER_SHA256:-}" ] && ! can_verify; then
        refuse "BusyBox' wget takes any certificate: install curl or wget, or give VM2DOCKER_SHA256"
      fi
      ;;
    http://127.0.0.1[:/]* | http://localhost[:/]*) ;;
    *) refuse "VM2DOCKER_RELEASE_URL must begin with https://: $url" ;;
  esac
}

sha256() {
  if has sha256sum; then
    sha256sum <"$1"
  elif has openssl; then
    openssl dgst -sha256 -r <"$1"
  elif has busybox; then
    busybox sha256sum <"$1"
  fi | cut -d ' ' -f 1
}

# The signature over SHA256SUMS, if there is a key: one that the user names is never passed over.
check_signature() {
  key=${VM2DOCKER_RELEASE_KEY:-}
  if [ -z "$key" ]; then
    [ -n "$release_key" ] || return 0
    has openssl || { tell 'no openssl here: the signature is not verified'; return 0; }
    key=$folder/key
    printf '%s\n' "$release_key" >"$key"
  fi
  has openssl || refuse 'no openssl here to verify the signature with'
  fetch "$base/SHA256SUMS.sig" "$folder/SHA256SUMS.sig" || refuse "no signature: $base/SHA256SUMS.sig"
  openssl dgst -sha256 -verify "$key" -signature "$folder/SHA256SUMS.sig" "$folder/SHA256SUMS" >/dev/null 2>&1 ||
    refuse 'SHA256SUMS is not signed with the key of the releases'
}

# The name and the checksum of the one program for this machine, from SHA256SUMS.
find_asset() {
  asset='' expected=''
  while read -r sum file; do
    # shellcheck disable=SC2254 # any version, unless one is asked for
    case ${file#\*} in
      *[!0-9A-Za-z._+-]*) ;;
      vm2docker-self-${version:-*}-"$architecture"-linux)
        [ -z "$asset" ] || refuse "SHA256SUMS names two programs for $architecture"
        asset=${file#\*} expected=$sum
        ;;
    esac
  done <"$folder/SHA256SUMS"
  [ -n "$asset" ] || refuse "no program ${version:+of version $version }for $architecture at $base"
  expected=${VM2DOCKER_SHA256:-$expected}
}

download() {
  fetch "$base/SHA256SUMS" "$folder/SHA256SUMS" || refuse "cannot be fetched: $base/SHA256SUMS"
  check_signature
  find_asset
  fetch "$base/$asset" "$folder/vm2docker-self" || refuse "cannot be fetched: $base/$asset"
  actual=$(sha256 "$folder/vm2docker-self")
  [ -n "$actual" ] || refuse 'none of sha256sum, openssl and busybox is here: what was fetched cannot be checked'
  [ "$actual" = "$expected" ] || refuse "$asset is damaged or was tampered with: its SHA-256 is $actual, not $expected"
}

# Sets `program` to an executable copy. /tmp is often mounted noexec, which only an attempt to run it shows.
place_program() {
  program=''
  for place in "${TMPDIR:-/tmp}" /tmp /var/tmp /run /root; do
    make_folder "$place" || continue
    if [ -z "$program" ]; then
      download
    else
      cp "$program" "$folder/vm2docker-self" 2>/dev/null || continue
    fi
    program=$folder/vm2docker-self
    chmod 700 "$program"
    if "$program" --version >/dev/null 2>&1; then return; fi
  done
  refuse 'the program cannot be run in /tmp, /var/tmp, /run or /root (mounted noexec?): give TMPDIR=FOLDER'
}

main() {
  set -eu
  umask 077
  unset IFS
  child='' signal='' folders='' folder=''
  trap remove_folders EXIT
  trap 'on_signal 1' HUP
  trap 'on_signal 2' INT
  trap 'on_signal 3' QUIT
  trap 'on_signal 15' TERM

  [ "$(uname -s)" = Linux ] || refuse 'this is not Linux'
  case $(uname -m) in
    x86_64 | amd64) architecture=x86_64 ;;
    aarch64 | arm64) architecture=aarch64 ;;
    *) refuse "no program is made for $(uname -m)" ;;
  esac
  version=${VM2DOCKER_VERSION:-}
  version=${version#v}
  case $version in *[!0-9A-Za-z.+-]*) refuse "no version: $version" ;; esac
  url=${VM2DOCKER_RELEASE_URL:-https://github.com/vm2docker/vm2docker-self/releases}
  url=${url%/}
  check_address
  base=$url/latest/download
  [ -z "$version" ] || base=$url/download/v$version

  place_program
  code=0
  run "$program" "$@" || code=$?
  exit "$code"
}

# Standard input is the rest of this script, or its end: not the program's.
{ main "$@" </dev/null; }

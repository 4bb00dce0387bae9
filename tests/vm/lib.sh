# shellcheck shell=bash
# Functions shared by the scripts in this folder; sourced, never run.
#
# Everything that the scripts build lies under one folder and can be rebuilt at any time, so removing that folder is the
# way to start afresh.
export V2D_CACHE=${V2D_CACHE:-/var/tmp/v2d}
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
# A minimal PATH of a calling cron or sudo may lack the sbin folders that losetup, dockerd and dpkg need.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# Else a failure inside $(...) would go unseen.
shopt -s inherit_errexit
umask 022
mkdir -p "$V2D_CACHE"

say() { printf '%s\n' "${0##*/}: $*" >&2; }
fail() { say "$*"; exit 1; }

# expect_eq WHAT WANTED GOT
expect_eq() {
  [[ $2 == "$3" ]] && return 0
  say "$1: wanted '$2', got '$3'"
  return 1
}

# usage: the header comment of a script is its help text, so the two cannot drift apart.
usage() { sed -n '2,/^[^#]/ { /^#/ s/^# \{0,1\}//p }' "$0" >&2; exit 2; }

# need PKG...: installs what is not there yet.
need() {
  local pkg missing=()
  for pkg in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$pkg" 2>/dev/null) == installed ]] || missing+=("$pkg")
  done
  ((${#missing[@]})) || return 0
  say "installing ${missing[*]}"
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# repository_urls: every archive that this machine's own apt knows, one a line.
repository_urls() {
  awk '$1 == "URIs:" { for (i = 2; i <= NF; i++) print $i }' /etc/apt/sources.list.d/*.sources 2>/dev/null || true
  awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^(https?|file):/) { print $i; break } }' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true
}

# mirror: the Debian archive that this machine uses.
mirror() {
  local url
  url=$(repository_urls | sed 's|/*$||' | grep -m 1 '/debian$') || fail "no Debian archive in this machine's apt sources"
  echo "$url"
}

# security_mirror: the security archive, named by the apt sources or else looked for beside the main one.
security_mirror() {
  local url
  url=$(repository_urls | sed 's|/*$||' | grep -m 1 'debian-security$') || url=$(mirror)-security
  echo "$url"
}

answers() { curl -fsS -o /dev/null --max-time 20 "$1" 2>/dev/null; }

# suites SUITE: one line each "URL SUITE" for all that a current machine of that release follows.
suites() {
  echo "$(mirror) $1"
  answers "$(mirror)/dists/$1-updates/InRelease" && echo "$(mirror) $1-updates"
  answers "$(security_mirror)/dists/$1-security/InRelease" && echo "$(security_mirror) $1-security"
  return 0
}

one_line_sources() { suites "$1" | sed 's/^/deb /; s/$/ main/'; }

# deb822_sources SUITE: main and updates share a stanza, as in the official images.
deb822_sources() {
  local keyring=/usr/share/keyrings/debian-archive-keyring
  # trixie's own keyring package ships both endings and its image names the newer one.
  [[ $1 == bookworm ]] && keyring+=.gpg || keyring+=.pgp
  suites "$1" | awk -v key="$keyring" '
    { if (!seen[$1]++) order[++n] = $1; list[$1] = list[$1] " " $2 }
    END { for (i = 1; i <= n; i++) printf "%sTypes: deb\nURIs: %s\nSuites:%s\nComponents: main\nSigned-By: %s\n",
          (i > 1 ? "\n" : ""), order[i], list[order[i]], key }'
}

# bootstrap SUITE TARGET VARIANT PKG,PKG [OPTION...]: a root file system from the mirror, updates and security included.
bootstrap() {
  local suite=$1 target=$2 variant=$3 include=$4
  shift 4
  [[ $include ]] && set -- "$@" --include="$include"
  need mmdebstrap debian-archive-keyring curl
  # Hooks and maintainer scripts print on standard output even with --quiet: it is of use only after a failure.
  local log=$V2D_CACHE/bootstrap.log
  one_line_sources "$suite" | mmdebstrap --quiet --variant="$variant" "$@" "$suite" "$target" - >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "bootstrapping $suite failed"; }
}

# merged_usr SUITE: the option with which an installed machine gets its merged /usr. Installers have merged it since 2019,
# also for bullseye, whose container image is not merged. trixie's packages do it themselves.
merged_usr() {
  local hooks=/usr/share/mmdebstrap/hooks/merged-usr
  case $1 in
    # There is no usr-is-merged in bullseye, which the rest of that hook folder asks for.
    bullseye) echo "--setup-hook=$hooks/setup00.sh" ;;
    bookworm) echo "--hook-dir=$hooks" ;;
  esac
}

# pack ROOT TAR / unpack TAR ROOT: with all that a file system knows of a file.
tar_faithful=(--numeric-owner --xattrs '--xattrs-include=*' --acls --sparse --warning=no-timestamp)
pack() {
  tar -C "$1" "${tar_faithful[@]}" --sort=name -cpf "$2.new" .
  mv "$2.new" "$2"
}
unpack() { mkdir -p "$2" && tar -C "$2" "${tar_faithful[@]}" -xpf "$1"; }

# remove_root DIR: refuses while something is mounted in it, for then rm would eat the host's /dev.
remove_root() {
  [[ -e $1 ]] || return 0
  ! grep -qF " $1/" /proc/self/mountinfo || fail "$1 has mounts in it"
  rm -rf --one-file-system "$1"
}

# fresh FILE: it is there, and young enough for the mirror to have the same versions still.
fresh() { [[ -s $1 && $(find "$1" -mtime "-${V2D_MAX_AGE_DAYS:-3}") ]]; }

# lock NAME: only one process at a time builds a thing; held until the script ends.
lock() { exec 9>"$V2D_CACHE/$1.lock"; flock 9; }

# alive PIDFILE
alive() { [[ -s $1 ]] && kill -0 "$(<"$1")" 2>/dev/null; }

# in_root ROOT CMD...: chroot with what maintainer scripts and systemctl expect to be mounted; the mounts live and die with it.
in_root() {
  local root=$1
  shift
  # shellcheck disable=SC2016 # expanded by the inner shell
  unshare -m --propagation private bash -c '
    set -e
    mount -t proc proc "$1/proc"; mount -t sysfs sysfs "$1/sys"; mount -t tmpfs tmpfs "$1/run"
    mount --rbind /dev "$1/dev"
    root=$1; shift; exec chroot "$root" "$@"' _ "$root" "$@"
}

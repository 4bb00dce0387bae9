# shellcheck shell=bash
# Functions shared by the scripts in this folder; sourced, never run.
#
# Everything that the scripts build is in one folder and can be rebuilt at any time, so removing that folder is the
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

# written_by COMMAND: the line on top of each file in docs/results.
written_by() {
  # shellcheck disable=SC2016 # the back-quotes are Markdown
  printf 'Written by `%s` on %s: commit %s, %s, %d CPUs.\n' \
    "$1" "$(date -u +%F)" "$(git rev-parse --short=12 HEAD)" "$(uname -srm)" "$(nproc)"
}

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
  # shellcheck disable=SC2016 # the dollar signs are awk's
  find /etc/apt -maxdepth 2 -name '*.sources' -o -maxdepth 2 -name '*.list' | sort |
    xargs -r awk '$1 == "URIs:" { for (i = 2; i <= NF; i++) print $i }
      $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^(https?|file):/) { print $i; break } }'
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

# family SUITE: the distribution whose release it is.
family() {
  case $1 in
    bullseye | bookworm | trixie) echo debian ;;
    jammy | noble | resolute) echo ubuntu ;;
    *) fail "unknown suite '$1'" ;;
  esac
}

# version SUITE: as the tags of the official images name the release.
version() {
  case $1 in
    bullseye) echo 11 ;;
    bookworm) echo 12 ;;
    trixie) echo 13 ;;
    jammy) echo 22.04 ;;
    noble) echo 24.04 ;;
    resolute) echo 26.04 ;;
  esac
}

# suites SUITE: one line each "URL SUITE" for all that a current machine of that release follows; the release itself comes first.
suites() {
  if [[ $(family "$1") == ubuntu ]]; then
    # A Debian machine's apt names no mirror of Ubuntu, so these are the archive's own addresses, which the images have too.
    printf 'http://archive.ubuntu.com/ubuntu %s\n' "$1" "$1-updates" "$1-backports"
    echo "http://security.ubuntu.com/ubuntu $1-security"
    return 0
  fi
  echo "$(mirror) $1"
  answers "$(mirror)/dists/$1-updates/InRelease" && echo "$(mirror) $1-updates"
  answers "$(security_mirror)/dists/$1-security/InRelease" && echo "$(security_mirror) $1-security"
  return 0
}

# components SUITE: those that the sources of the official image name.
components() { if [[ $(family "$1") == ubuntu ]]; then echo main universe restricted multiverse; else echo main; fi; }

one_line_sources() { suites "$1" | sed "s/^/deb /; s/\$/ $(components "$1")/"; }

# keyring SUITE: what deb822 sources of that release name as Signed-By.
keyring() {
  case $1 in
    bookworm) echo /usr/share/keyrings/debian-archive-keyring.gpg ;;
    # trixie's own keyring package ships both endings and its image names the newer one.
    trixie) echo /usr/share/keyrings/debian-archive-keyring.pgp ;;
    *) echo /usr/share/keyrings/ubuntu-archive-keyring.gpg ;;
  esac
}

# deb822_sources SUITE: main and updates share a stanza, as in the official images.
deb822_sources() {
  suites "$1" | awk -v key="$(keyring "$1")" -v components="$(components "$1")" '
    { if (!seen[$1]++) order[++n] = $1; list[$1] = list[$1] " " $2 }
    END { for (i = 1; i <= n; i++) printf "%sTypes: deb\nURIs: %s\nSuites:%s\nComponents: %s\nSigned-By: %s\n",
          (i > 1 ? "\n" : ""), order[i], list[order[i]], components, key }'
}

# put MODE PATH: standard input becomes that file of $root.
# shellcheck disable=SC2154 # the caller's
put() { install -D -m "$1" /dev/stdin "$root$2"; }

# write_sources SUITE: those of the official image, which Ubuntu's installer writes as well. The release's apt decides: from 2.3 on
# Debian's are in deb822 form and /etc/apt/sources.list does not exist; Ubuntu's are so from 24.04 on, and the old file says where.
write_sources() {
  rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*
  case $1 in
    bullseye | jammy) one_line_sources "$1" | put 644 /etc/apt/sources.list ;;
    bookworm | trixie) deb822_sources "$1" | put 644 /etc/apt/sources.list.d/debian.sources ;;
    *)
      deb822_sources "$1" | put 644 /etc/apt/sources.list.d/ubuntu.sources
      echo '# The sources are in /etc/apt/sources.list.d/ubuntu.sources.' | put 644 /etc/apt/sources.list ;;
  esac
}

# ubuntu_keyring: a copy of Ubuntu's archive keys. Not every release of Debian has the package, so it is taken out of trixie's,
# which Debian's own keys vouch for.
ubuntu_keyring() {
  local copy=$V2D_CACHE/ubuntu-archive-keyring.gpg tree=$V2D_CACHE/ubuntu-keyring.root
  if [[ ! -s $copy ]]; then
    remove_root "$tree"
    echo "deb $(mirror) trixie main" | mmdebstrap --quiet --variant=extract --include=ubuntu-archive-keyring trixie "$tree" - >&2
    cp "$tree/usr/share/keyrings/ubuntu-archive-keyring.gpg" "$copy.new"
    mv "$copy.new" "$copy"
    remove_root "$tree"
  fi
  echo "$copy"
}

# bootstrap_from SUITE TARGET VARIANT PKG,PKG [OPTION...]: a root file system from the one-line sources on standard input.
bootstrap_from() {
  local suite=$1 target=$2 variant=$3 include=$4
  shift 4
  [[ $include ]] && set -- "$@" --include="$include"
  need mmdebstrap debian-archive-keyring curl
  [[ $(family "$suite") == ubuntu ]] && set -- "$@" --keyring="$(ubuntu_keyring)"
  # Hooks and maintainer scripts print on standard output even with --quiet: it is of use only after a failure.
  local log=$V2D_CACHE/bootstrap-${target##*/}.log
  mmdebstrap --quiet --variant="$variant" "$@" "$suite" "$target" - >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "bootstrapping $suite failed"; }
}

# bootstrap SUITE TARGET VARIANT PKG,PKG [OPTION...]: the same from the mirror, updates and security included.
bootstrap() { one_line_sources "$1" | bootstrap_from "$@"; }

# merged_usr SUITE: the option with which an installed machine gets its merged /usr, if it needs one. Installers have merged it
# since 2019, also for bullseye, whose container image is not merged. trixie's and noble's packages do it themselves.
merged_usr() {
  # shellcheck disable=SC2016 # expanded by mmdebstrap's shell
  case $1 in
    # Not mmdebstrap's own hook, which leaves a package of its own behind where there is no usr-is-merged to replace it.
    bullseye | jammy) echo '--setup-hook=cd "$1" && for d in bin sbin lib lib32 lib64 libx32; do mkdir -p usr/$d && ln -s usr/$d $d; done' ;;
    bookworm) echo --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr ;;
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

# incarnation PID: prints an identifier that distinguishes a running process from others with the same PID; nothing if it ended.
incarnation() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  # The name, in parentheses, may hold blanks. After it: the state, and as the 20th the start, in ticks since the boot.
  read -ra stat <<<"${stat##*) }"
  [[ ${stat[0]} == Z ]] || echo "$(</proc/sys/kernel/random/boot_id) ${stat[19]}"
}

# running PIDFILE PID: what `alive` asks later.
running() {
  incarnation "$2" >"$1.of"
  echo "$2" >"$1"
}

# alive PIDFILE: that very process still runs. After a reboot, or many processes later, the number is another's.
alive() { [[ -s $1 && -s $1.of && $(incarnation "$(<"$1")") == "$(<"$1.of")" ]]; }

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

# ---- the program and what engines build of its contexts, for scripts that set here to this folder ----------------------

# find_program: sets V2D_BIN.
# shellcheck disable=SC2154 # here is the caller's
find_program() {
  local root
  root=$(git -C "$here" rev-parse --show-toplevel)
  if [[ ! ${V2D_BIN:-} ]]; then
    (cd "$root" && cargo build --release --quiet)
    V2D_BIN=$(find "$root/target" -path '*/release/vm2docker-self' -type f -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
  fi
  [[ -x ${V2D_BIN:-} ]] || fail "no program at '${V2D_BIN:-}'"
  V2D_BIN=$(readlink -f "$V2D_BIN")
  # A release has no tables for backtraces, and must also work with RUST_BACKTRACE.
  export V2D_BIN RUST_BACKTRACE=1
}

# verified CONTEXT ARGUMENT...: verify must say equal.
verified() {
  local code=0
  "$V2D_BIN" verify "$@" || code=$?
  expect_eq "exit code of verify" 0 "$code"
}

# on ENGINE CMD...
on() { "$here/engine" exec "$@"; }

# deliver ENGINE CONTEXT: a copy where the engine sees it; prints the path as the engine sees it.
deliver() {
  local name=/srv/context-${2##*/} root
  root=$("$here/engine" root "$1")
  rm -rf "${root:?}$name"
  cp -a "$2" "$root$name"
  echo "$name"
}

# exported ENGINE TAG: the tar of a fresh container's file system on standard output.
exported() {
  local container
  container=$(on "$1" docker create "$2" true)
  on "$1" docker export "$container"
  on "$1" docker rm "$container" >/dev/null
}

# image_verified ENGINE TAG CONTEXT
image_verified() { exported "$1" "$2" | verified "$3" --tar -; }

# Bytes as layers count them: every inode once, its length and not its blocks.
# shellcheck disable=SC2016,SC2034 # expanded by the shell that gets it
size_of_root='cd "$1" && find . -xdev \( -path ./boot -o -path ./usr/lib/modules -o -path ./var/lib/apt/lists -o -path ./var/cache/apt -o -path ./run \) -prune \
  -o -type f -printf "%i %s\n" | sort -u | awk "{ sum += \$2 } END { printf \"%d\", sum }"'

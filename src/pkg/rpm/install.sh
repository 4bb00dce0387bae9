# Installs the machine's packages in the machine's versions from the machine's repositories.
# The Dockerfile runs it; all data of the machine is in the other files of this directory.
# Images may lack awk, sed, grep and findutils, so only the shell, rpm and coreutils are used.
set -eu
umask 022
here=${0%/*}
export LC_ALL=C

# step NAME HINT: what the following commands do, and what to do if one fails.
step() { step=$1 hint=$2; }
carry='convert the machine again with --packages carry, which needs no repository and runs no package scripts'
# A failed command ends the build. Its last lines name the step, the packages that are not
# installed, and the way out.
explain() {
  code=$?
  [ "$code" != 0 ] || return 0
  echo "vm2docker-self: error: $step failed (exit code $code)" >&2
  [ ! -e "$work/lacking" ] || while IFS= read -r line; do
    echo "vm2docker-self: not installed: $line" >&2
  done <"$work/lacking"
  echo "vm2docker-self: hint: $hint" >&2
}
work=/tmp/vm2docker-self
trap explain EXIT

step 'preparing the installation' "$carry"
tool=
for name in dnf5 dnf microdnf yum zypper; do
  ! command -v "$name" >/dev/null || { tool=$name && break; }
done
[ "$tool" ] || { hint="the base image has none of dnf, microdnf, yum and zypper; $carry" && exit 1; }
IFS= read -r release <"$here/release"
mkdir "$work" "$work/repos.d"
# zypper writes into this directory.
cp "$here/repos.d/vm2docker-self.repo" "$work/repos.d/"

# Image makers exclude documentation and languages. The engine mounts some paths that packages own,
# and rpm cannot unpack them there.
macros=/etc/rpm/macros.zz-vm2docker-self
mkdir -p "${macros%/*}"
printf '%s\n' '%_netsharedpath /sys:/proc:/dev:/etc/hosts:/etc/hostname:/etc/resolv.conf' \
  '%_install_langs all' '%_excludedocs 0' >"$macros"
# Accounts must exist before packages, so that UIDs and GIDs are the machine's.
[ ! -d "$here/root" ] || cp -r --no-preserve=mode,ownership "$here/root/." /
for key in "$here"/keys/*; do
  [ ! -f "$key" ] || rpm --import "$key" || echo "vm2docker-self: cannot import ${key##*/}" >&2
done

# run VERB LIST: runs the tool with the packages of a list: install, downgrade or reinstall.
run() {
  verb=$1 list=$2
  set --
  while read -r name version architecture; do
    case $tool:$verb in
      zypper:reinstall) set -- "$@" "$name.$architecture" ;;
      zypper:*) set -- "$@" "$name.$architecture = $version" ;;
      *) set -- "$@" "$name-$version.$architecture" ;;
    esac
  done <"$list"
  [ "$#" != 0 ] || return 0
  case $tool in
    zypper)
      : >"$work/zypp.conf"
      [ "$verb" != reinstall ] || set -- --force "$@"
      ZYPP_CONF=$work/zypp.conf zypper --non-interactive --gpg-auto-import-keys \
        --reposd-dir "$work/repos.d" --cache-dir "$work/cache" ${release:+--releasever "$release"} \
        install --no-recommends --oldpackage --allow-vendor-change --replacefiles \
        --auto-agree-with-licenses "$@"
      return ;;
    microdnf) ;;
    yum) set -- --disableexcludes=all --noplugins --setopt=override_install_langs= --setopt=logfile="$work/yum.log" "$@" ;;
    dnf) set -- --disableexcludes=all --noplugins --setopt=logdir="$work" --setopt=best=True "$@" ;;
    dnf5) set -- --setopt=disable_excludes=\* --setopt=plugins=0 --setopt=logdir="$work" --setopt=best=True "$@" ;;
  esac
  case $tool:$verb in dnf*:install) set -- --allowerasing "$@" ;; esac
  "$tool" "$verb" -y --setopt=reposdir="$work/repos.d" --setopt=varsdir="$work" \
    --setopt=cachedir="$work/cache" --setopt=install_weak_deps=False --setopt=tsflags= \
    --setopt=keepcache=0 ${release:+--releasever="$release"} "$@"
}

# compare: writes the packages that are missing, and those that the machine does not have.
compare() {
  rpm -qa --qf '%{NAME} %|EPOCH?{%{EPOCH}}:{0}|:%{VERSION}-%{RELEASE} %{ARCH}\n' |
    while read -r name rest; do
      [ "$name" = gpg-pubkey ] || printf '%s\n' "$name $rest"
    done | sort -u >"$work/present"
  comm -13 "$work/present" "$here/wanted.list" >"$work/lacking"
  comm -23 "$work/present" "$here/wanted.list" >"$work/surplus"
}

step 'installing packages' "if the repositories no longer have a version above, or a package script failed: $carry"
cp "$here/install.list" "$work/lacking"
run install "$here/install.list"
# Then the packages that the dependencies did not bring, and those of the base image that have
# another version.
compare
run install "$work/lacking"
compare
# Some tools have a verb of their own for older versions.
case $tool in dnf5 | microdnf | yum) run downgrade "$work/lacking" && compare ;; esac
[ ! -s "$work/lacking" ] || exit 1

# Remove the packages of the base image that the machine does not have.
step 'removing packages that the machine does not have' "$carry"
set --
while read -r name version architecture; do
  set -- "$@" "$name-${version#*:}.$architecture"
done <"$work/surplus"
[ "$#" = 0 ] || rpm -e --nodeps --noscripts --notriggers "$@"

# If the contents of the base image are unknown, its packages may lack excluded files.
if [ -e "$here/reinstall" ]; then
  step 'installing packages again without exclusions' "read the base image with --base-from FILE, or $carry"
  rpm -qa --qf '[%{FILESTATES:fstate} %{=NAME} %{=VERSION}-%{=RELEASE} %{=ARCH}\n]' |
    while read -r state rest; do
      [ "$state" != not ] || printf '%s\n' "${rest#installed }"
    done | sort -u >"$work/partial"
  run reinstall "$work/partial"
fi
rm -rf "$work" "$macros"

trap - EXIT
exec sh "$here/database.sh"

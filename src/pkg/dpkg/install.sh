# Installs the machine's packages in the machine's versions from the distribution's repositories.
# The Dockerfile runs it; all data of the machine is in the other files of this directory.
set -eu
umask 022
here=${0%/*}
export DEBIAN_FRONTEND=noninteractive APT_CONFIG="$here/apt.conf"

# step NAME HINT: what the following commands do, and what to do if one fails.
step() { step=$1 hint=$2; }
carry='convert the machine again with --packages carry, which needs no repository and runs no package scripts'
# A failed command ends the build. Its last lines name the step, the packages that are not
# installed, and the way out.
explain() {
  code=$?
  [ "$code" != 0 ] || return 0
  echo "vm2docker-self: error: $step failed (exit code $code)" >&2
  dpkg-query -W -f '${db:Status-Status} ${binary:Package} ${Version}\n' 2>/dev/null |
    sed -n -E 's/^(half-installed|unpacked|half-configured|triggers-awaited|triggers-pending) (.*)/vm2docker-self: not installed: \2/p' >&2
  echo "vm2docker-self: hint: $hint" >&2
}
trap explain EXIT
step 'preparing accounts and diversions' "$carry"

# Small images exclude the documentation of packages; the machine's path filters replace theirs.
for file in /etc/dpkg/dpkg.cfg /etc/dpkg/dpkg.cfg.d/*; do
  [ ! -f "$file" ] || sed -i '/^[[:space:]]*path-/d' "$file"
done
# Accounts must exist before packages, so that UIDs and GIDs are the machine's. Also copies keys.
cp -r --no-preserve=mode,ownership "$here/root/." /
# Diversions (dpkg-divert(1)) must exist before packages write files. Diversions that only the image
# has are removed with the file that replaces the diverted one; local ones of the machine are added.
cp /var/lib/dpkg/diversions /tmp/diversions
while IFS= read -r from && IFS= read -r to && IFS= read -r by; do
  [ "$by" = : ] || continue
  ! grep -Fxq "$from" "$here/diversions.list" || continue
  rm -f "$from"
  dpkg-divert --local --rename --remove "$from"
done </tmp/diversions
while IFS= read -r from && IFS= read -r to; do
  mkdir -p "${to%/*}/"
  dpkg-divert --local --rename --divert "$to" --add "$from"
done <"$here/diversions.list"
# Packages must not start daemons in a build (invoke-rc.d(8)).
[ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; }

# CA certificates for sources with TLS. apt's user _apt must be able to read them, and /dev is a
# file system in memory during this stage, so the image does not keep them.
[ ! -e "$here/ca-certificates.crt" ] || install -m 644 "$here/ca-certificates.crt" /dev/vm2docker-authorities

# The engine mounts its own /etc/resolv.conf, which no script can replace.
! command -v debconf-set-selections >/dev/null ||
  echo 'resolvconf resolvconf/linkify-resolvconf boolean false' | debconf-set-selections

xargs -r -n 1 dpkg --add-architecture <"$here/architectures.list"
step 'reading the package indexes' "check that the build reaches the repositories above, or $carry"
apt-get update
# First the packages that the base image has in another version, then the missing ones.
step 'upgrading packages of the base image' "if the repositories no longer have a version above: $carry"
apt-get dist-upgrade
step 'installing packages' "if the repositories no longer have a version above, or a package script failed: $carry"
xargs -r apt-get install <"$here/install.list"

# Remove the packages of the base image that the machine does not have.
step 'removing packages that the machine does not have' "$carry"
dpkg-query -W -f '${db:Status-Status} ${Package}:${Architecture}\n' | sed -n 's/^installed //p' | sort >/tmp/present
sort "$here/keep.list" | comm -23 /tmp/present - >/tmp/surplus
xargs -r dpkg --purge --force-all </tmp/surplus
apt-get clean

trap - EXIT
exec "$here/../vm2docker-self" apply --stage packages "$here/.."

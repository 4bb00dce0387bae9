# The package layer, by the distribution's archive: the machine's packages at the machine's versions.
# Run by the Dockerfile; everything that comes from the machine is in files beside this one.
set -eu
umask 022
here=${0%/*}
export DEBIAN_FRONTEND=noninteractive APT_CONFIG="$here/apt.conf"

# Small images leave documentation out of every package; the machine has its own settings, which follow.
for file in /etc/dpkg/dpkg.cfg /etc/dpkg/dpkg.cfg.d/*; do
  [ ! -f "$file" ] || sed -i '/^[[:space:]]*path-/d' "$file"
done
# Accounts first, so that numbers come out as on the machine; keys of its repositories.
cp -r --no-preserve=mode,ownership "$here/root/." /
# Diversions (dpkg-divert(1)) before any file of a package could land under the wrong name: those that only the image has
# go with what stands in for the file, the administrator's come.
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
# No daemon starts in a build.
[ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; }

# For sources over TLS; apt's own user reads it, and /dev is a file system in memory while this runs.
[ ! -e "$here/ca-certificates.crt" ] || install -m 644 "$here/ca-certificates.crt" /dev/vm2docker-authorities

xargs -r -n 1 dpkg --add-architecture <"$here/architectures.list"
apt-get update
# Packages of the base image that the machine has in another version, then what is missing.
apt-get dist-upgrade
xargs -r apt-get install <"$here/install.list"

# What the base image has and the machine has not.
dpkg-query -W -f '${db:Status-Status} ${Package}:${Architecture}\n' | sed -n 's/^installed //p' | sort >/tmp/present
sort "$here/keep.list" | comm -23 /tmp/present - >/tmp/surplus
xargs -r dpkg --purge --force-all </tmp/surplus
apt-get clean

exec "$here/../vm2docker-self" apply --stage packages "$here/.."

# Writes rpm's database with the machine's packages, and compares it with the machine's list.
# install.sh or the Dockerfile runs it; all data of the machine is in the other files of this
# directory.
set -eu
here=${0%/*}

explain() {
  code=$?
  [ "$code" != 0 ] || return 0
  echo "vm2docker-self: error: writing the package database failed (exit code $code)" >&2
  echo 'vm2docker-self: hint: the image needs the command rpmdb of the package rpm; use a base image that has it' >&2
}
trap explain EXIT

IFS= read -r directory <"$here/database.directory"
# The image's own database is replaced. Subdirectories belong to other tools.
for place in "$directory" "$(rpm --eval '%{_dbpath}')"; do
  for file in "$place"/* "$place"/.[!.]*; do
    [ ! -f "$file" ] || rm -f "$file"
  done
done
mkdir -p "$directory"
rpmdb --dbpath "$directory" --initdb
rpmdb --dbpath "$directory" --importdb <"$here/headers"

trap - EXIT
exec "$here/../vm2docker-self" apply --stage packages "$here/.."

#!/bin/sh
# Builds the images with whatever engine is here, docker, podman or buildah: the machine's, and one for each service.
#   ./build.sh [TAG]          TAG is one more name for the machine's image
# All images are named IMAGE_PREFIX/NAME; .env sets IMAGE_PREFIX.
set -eu
cd "$(dirname "$0")"

fail() {
  echo "build.sh: $1" >&2
  exit 1
}

# .env is for changes; all other files must be as they were written.
checksums() { grep -v '  \.env$' COMPLETE; }
damaged='this context is damaged or incomplete; copy it again'
if command -v sha256sum >/dev/null 2>&1; then
  checksums | sha256sum -c - >/dev/null || fail "$damaged"
elif command -v shasum >/dev/null 2>&1; then
  checksums | shasum -a 256 -c - >/dev/null || fail "$damaged"
else
  echo "build.sh: neither sha256sum nor shasum is here, so only the build checks the files" >&2
fi

# setting NAME: its value in .env
setting() { sed -n "s/^$1=//p" .env; }
prefix=${IMAGE_PREFIX:-$(setting IMAGE_PREFIX)}
platform=${IMAGE_PLATFORM:-$(setting IMAGE_PLATFORM)}
[ "$prefix" ] || fail 'IMAGE_PREFIX is neither set nor in .env'
[ "$platform" ] || fail 'IMAGE_PLATFORM is neither set nor in .env'
machine=$prefix/machine:latest
# Servers that keep files keep no permissions.
chmod u+x vm2docker-self
if command -v docker >/dev/null 2>&1; then
  engine=docker
elif command -v podman >/dev/null 2>&1; then
  engine=podman
elif command -v buildah >/dev/null 2>&1; then
  engine=buildah
else
  fail 'neither docker nor podman nor buildah is here; install one of them'
fi

# build OPTIONS... CONTEXT
build() {
  case $engine in
    # The Dockerfiles mount the context; the classic builder cannot.
    docker) DOCKER_BUILDKIT=1 docker build --platform "$platform" "$@" ;;
    podman) podman build --platform "$platform" "$@" ;;
    buildah) buildah build --isolation oci --platform "$platform" "$@" ;;
  esac
}

# What fails in the build prints the step, the cause and a hint.
build ${1:+--tag "$1"} --tag "$machine" . || fail 'the build failed; its lines with "vm2docker-self:" say what to do'
if [ "$engine" = docker ]; then
  docker history --format '{{.Size}}\t{{.CreatedBy}}' "$machine"
fi
for service in services/*/; do
  [ -d "$service" ] || continue
  name=$(basename "$service")
  # The machine's own image has this name.
  [ "$name" != machine ] || name="machine-service"
  # Images in OCI's format say nothing about health.
  case $engine in
    docker) build --build-arg "SYSTEM=$machine" --tag "$prefix/$name:latest" "$service" ;;
    *) build --format docker --build-arg "SYSTEM=$machine" --tag "$prefix/$name:latest" "$service" ;;
  esac
done
echo "built $machine; README.md says how to run and verify it"

#!/bin/sh
# Builds the images with whatever engine is here, docker, podman or buildah: the machine's, and one for each service.
#   ./build.sh [TAG]          of the machine's image; default: vm2docker/machine:latest
set -eu
cd "$(dirname "$0")"
tag=${1:-vm2docker/machine:latest}
sha256sum --check --quiet COMPLETE || {
  echo "build.sh: this context is damaged or incomplete; copy it again" >&2
  exit 1
}
# Servers that keep files keep no permissions.
chmod u+x vm2docker-self
if command -v docker >/dev/null 2>&1; then
  engine=docker
elif command -v podman >/dev/null 2>&1; then
  engine=podman
elif command -v buildah >/dev/null 2>&1; then
  engine=buildah
else
  echo "build.sh: neither docker nor podman nor buildah is here; install one of them" >&2
  exit 1
fi

# build OPTIONS... CONTEXT
build() {
  case $engine in
    # The Dockerfiles mount the context; the classic builder cannot.
    docker) DOCKER_BUILDKIT=1 docker build "$@" ;;
    podman) podman build "$@" ;;
    buildah) buildah build --isolation oci "$@" ;;
  esac
}

build --tag "$tag" .
if [ "$engine" = docker ]; then
  docker history --format '{{.Size}}\t{{.CreatedBy}}' "$tag"
fi
for service in services/*/; do
  [ -d "$service" ] || continue
  name=$(basename "$service")
  # The machine's own image has this name.
  [ "$name" != machine ] || name=machine-service
  # Images in OCI's format say nothing about health.
  case $engine in
    docker) build --build-arg "SYSTEM=$tag" --tag "vm2docker/$name:latest" "$service" ;;
    *) build --format docker --build-arg "SYSTEM=$tag" --tag "vm2docker/$name:latest" "$service" ;;
  esac
done
echo "built $tag; README.md says how to run and verify it"

#!/bin/sh
# Builds the image with whatever engine is here: docker, podman or buildah.
#   ./build.sh [TAG]          default: vm2docker/machine:latest
set -eu
cd "$(dirname "$0")"
tag=${1:-vm2docker/machine:latest}
sha256sum --check --quiet COMPLETE || {
  echo "build.sh: this context is damaged or not all there; copy it again" >&2
  exit 1
}
if command -v docker >/dev/null 2>&1; then
  # The generated Dockerfile mounts the context; the classic builder cannot.
  DOCKER_BUILDKIT=1 docker build --tag "$tag" .
  docker history --format '{{.Size}}\t{{.CreatedBy}}' "$tag"
elif command -v podman >/dev/null 2>&1; then
  podman build --tag "$tag" .
elif command -v buildah >/dev/null 2>&1; then
  buildah build --isolation oci --tag "$tag" .
else
  echo "build.sh: neither docker nor podman nor buildah is here; install one of them" >&2
  exit 1
fi
echo "built $tag; README.md says how to run and verify it"

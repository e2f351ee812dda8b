#!/usr/bin/env bash
# Builds the servers that the end-to-end tests run against, and prints the folder that holds them.
#
#   build.sh           builds what is missing (about seven minutes of CPU time on a bare machine, a moment after that)
#   build.sh --where   prints the folder, and builds nothing; exit 1 where something is missing
#
# They are kept outside the tree, in a folder named by a hash of everything that determines them, so that a change
# here builds anew and a second clone builds nothing. JOBS (default: all) bounds the parallel compilations.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/memory-leak-hunter
prometheus=v0.316.0 # Prometheus 3.16

if ! command -v go >/dev/null; then
  echo "the test servers are built with Go 1.25 or newer, which is not installed" >&2
  exit 1
fi
key=$({ go version; cd "$here"; sha256sum build.sh otelcol/*; } | sha256sum | cut -c1-16)
out=$cache/backends-$key

complete() { [ -x "$out/otelcol-e2e" ] && [ -x "$out/prometheus" ] && [ -x "$out/promtool" ]; }

if ! complete; then
  [ "${1-}" != --where ] || exit 1
  mkdir -p "$cache"
  exec 9>"$cache/backends.lock"
  flock 9 # two test runs at once build once
  if ! complete; then
    find "$cache" -maxdepth 1 -name "backends-*" -type d -mtime +30 -exec rm -rf {} + # of earlier versions
    part=$out/.part # what is moved from here is whole
    mkdir -p "$part"
    export GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOBIN=$part
    flags=(-buildvcs=false -trimpath "-ldflags=-s -w" -p "${JOBS:-$(nproc)}")
    echo "building the OpenTelemetry Collector" >&2
    (cd "$here/otelcol" && go build "${flags[@]}" -o "$part/" . >&2)
    for tool in prometheus promtool; do
      echo "building $tool" >&2
      # the service discoveries of the clouds are most of Prometheus's code, and nothing here needs them
      (cd / && go install "${flags[@]}" -tags remove_all_sd "github.com/prometheus/prometheus/cmd/$tool@$prometheus" >&2)
    done
    mv "$part"/* "$out/"
    rmdir "$part"
  fi
fi
echo "$out"

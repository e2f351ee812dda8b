#!/usr/bin/env bash
# Builds the servers and checkers that the end-to-end tests use, and prints the folder that holds them.
#
#   build.sh           builds what is missing (about nine minutes of CPU time on a bare machine, a moment after that)
#   build.sh --where   prints the folder, and builds nothing; exit 1 where something is missing
#
# They are kept outside the tree, in a folder named by a hash of everything that determines them, so that a change
# here builds anew and a second clone builds nothing. JOBS (default: all) bounds the parallel compilations.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/memory-leak-hunter
prometheus=v0.316.0 # Prometheus 3.16
victoria_logs=v1.52.1

if ! command -v go >/dev/null; then
  echo "the test servers are built with Go 1.25 or newer, which is not installed" >&2
  exit 1
fi
key=$({ go version; cd "$here"; sha256sum build.sh otelcol/* dashboard/* logql/*; } | sha256sum | cut -c1-16)
out=$cache/backends-$key

complete() {
  local tool
  for tool in otelcol-e2e prometheus promtool victoria-logs dashboard; do [ -x "$out/$tool" ] || return 1; done
}

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
    echo "building VictoriaLogs" >&2
    (cd / && go install "${flags[@]}" "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs@$victoria_logs" >&2)
    echo "building what makes and checks dashboards" >&2
    (cd "$here/dashboard" && go build "${flags[@]}" -o "$part/" . >&2)
    mv "$part"/* "$out/"
    rmdir "$part"
  fi
fi
# the grammar of LogQL runs in Node: where that is missing, the test that wants it is skipped
if [ "${1-}" != --where ] && [ ! -e "$out/logql" ] && command -v npm >/dev/null; then
  echo "fetching the grammar of LogQL" >&2
  part=$(mktemp -d "$out/.logql-XXXXXX")
  cp "$here"/logql/* "$part/"
  # two at once fetch the same, and the second one's is not needed
  (cd "$part" && npm install --silent --no-audit --no-fund --no-package-lock >&2 && mv -nT "$part" "$out/logql") || true
  rm -rf "$part"
fi
echo "$out"

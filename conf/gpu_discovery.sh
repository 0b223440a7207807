#!/usr/bin/env bash
# Tells Spark which GPUs this machine has, as {"name": "gpu", "addresses": ["0", "1"]}.
# For spark.worker.resource.gpu.discoveryScript and spark.executor.resource.gpu.discoveryScript.
set -euo pipefail

if ! command -v nvidia-smi >/dev/null; then
    echo "gpu_discovery.sh: nvidia-smi is not on PATH ($PATH); is the NVIDIA driver installed on $(uname -n)?" >&2
    exit 1
fi
if ! listed=$(nvidia-smi --query-gpu=index --format=csv,noheader 2>&1); then
    echo "gpu_discovery.sh: nvidia-smi failed on $(uname -n): $listed" >&2
    exit 1
fi
addresses=$(printf '%s\n' "$listed" | sed -n 's/^ *\([0-9][0-9]*\) *$/"\1"/p' | paste -s -d ',' -)
if [ -z "$addresses" ]; then
    echo "gpu_discovery.sh: nvidia-smi lists no GPU on $(uname -n); it printed: $listed" >&2
    exit 1
fi
printf '{"name": "gpu", "addresses": [%s]}\n' "${addresses//,/, }"

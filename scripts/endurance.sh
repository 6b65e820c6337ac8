#!/usr/bin/env bash
# endurance.sh [SECONDS] [SEED]     backups and restores among random faults, seed after seed, for so long (default: 600, 1)
#
# Each seed draws its own faults; one that fails is repeated by `endurance.sh 1 SEED`. Unless SECONDS is 1, these come first: the
# tables of faults with the cases that take minutes, 30 kills of a backup and of a restore, and ten minutes of 24 faults per
# minute over 5 million points. TSDB_ARK_FAULTS sets the faults per minute. Needs what scripts/test.sh needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export TSDB_ARK_ENDURANCE=${1:-600} TSDB_ARK_SEED=${2:-1} TSDB_ARK_SLOW=1
if [ "$TSDB_ARK_ENDURANCE" -gt 1 ]; then
  cargo test --locked --test gateway_faults -- --nocapture --include-ignored
  cargo test --locked --test store_faults -- --nocapture --include-ignored
  TSDB_ARK_KILLS=30 cargo test --locked --test resume -- --nocapture killed
  cargo test --locked --test endurance -- --nocapture --ignored
fi
exec cargo test --locked --test endurance -- --nocapture every_run

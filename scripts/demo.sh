#!/usr/bin/env bash
# demo.sh     the main job on a real HBase that it starts itself: backup, a query on the files, restore, verify
#
# Loads cells that a real OpenTSDB wrote (tests/golden), backs them up to Parquet, asks DuckDB about them, restores them
# into other tables, verifies three ways, and says how long each step took. Leaves nothing running and nothing behind.
# Installs what is missing on Debian or Ubuntu. It builds with the profile demo, which takes half of the time that a release
# takes and is optimised where cells pass; TSDB_ARK_PROFILE=dev uses the unoptimised build.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
profile=${TSDB_ARK_PROFILE:-demo}
work=$(mktemp -d)
set=tests/golden/opentsdb-2.4.1
tables=(tsdb tsdb-uid tsdb-meta tsdb-tree tsdb-rollup-1h tsdb-rollup-preagg-1h tsdb-preagg)

own_bed=
clean_up() {
  # One that somebody else started is not ours to stop.
  if [ -n "$own_bed" ]; then scripts/bed.sh stop >/dev/null 2>&1 || true; fi
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

now() { date +%s%N; }
took() { awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.1f s", (to - from) / 1e9 }'; }
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# timed WHAT COMMAND...: runs a command, shows it, says how long it took
timed() {
  local what=$1 begin
  shift
  say "$what"
  printf '$ %s\n' "$(sed "s#$ark#tsdb-ark#; s#$work#/tmp/demo#g" <<<"$*")"
  begin=$(now)
  "$@"
  steps+="$(printf '  %-44s %s' "$what" "$(took "$begin")")"$'\n'
}
steps=

if scripts/bed.sh status >/dev/null 2>&1; then
  echo "demo.sh: a test bed runs already (scripts/bed.sh status): stop it (scripts/bed.sh stop), or give the demonstration a" \
    "folder for one of its own (TSDB_ARK_BED_CACHE=FOLDER)" >&2
  exit 1
fi
scripts/install.sh build bed readers
say "Building tsdb-ark ($profile)"
cargo build --locked --profile "$profile"
ark=${CARGO_TARGET_DIR:-target}/$([ "$profile" = dev ] && echo debug || echo "$profile")/tsdb-ark
python=$(scripts/readers.sh)
case $python in /*) ;; *) python=$root/$python ;; esac

say "Starting HBase with its Thrift gateways"
begin=$(now)
# Not within eval: there a bed that does not start would go unnoticed.
own_bed=yes
bed=$(scripts/bed.sh start 2>"$work/bed.json") || { cat "$work/bed.json" >&2; exit 1; }
eval "$bed"
gateway=127.0.0.1:$(sed -n 's/.*"thrift2":\([0-9]*\).*/\1/p' "$work/bed.json")
steps+="$(printf '  %-44s %s' "Start HBase" "$(took "$begin")")"$'\n'

say "Loading cells that a real OpenTSDB wrote"
begin=$(now)
for table in "${tables[@]}"; do
  case $table in tsdb-uid) families=id,name ;; tsdb-meta) families=name ;; *) families=t ;; esac
  scripts/bed.sh ctl "create $table $families VERSIONS=1,BLOOMFILTER=ROW,DATA_BLOCK_ENCODING=DIFF" >/dev/null
  scripts/bed.sh ctl "load $table $root/$set/$table.cells.tsv.gz" >/dev/null
done
steps+="$(printf '  %-44s %s' "Load" "$(took "$begin")")"$'\n'

conf=$set/opentsdb.conf
timed "Look before the backup" "$ark" check --gateway "$gateway" --opentsdb-conf "$conf"
timed "Back up" "$ark" backup --gateway "$gateway" --opentsdb-conf "$conf" --repository "$work/repository"
timed "Show what is in it" "$ark" show --repository "$work/repository" latest

say "Ask DuckDB about the points"
begin=$(now)
(cd "$work"/repository/backups/*/ && "$python" - <<'P'
import duckdb
query = """select metric, count(*) as points, round(avg(value), 2) as mean
from readable_points where metric = 'mix.all' group by metric"""
print("D " + query)
connection = duckdb.connect()
connection.execute(open("views.sql").read())
print(connection.sql(query))
P
)
steps+="$(printf '  %-44s %s' "Ask DuckDB about the points" "$(took "$begin")")"$'\n'

renames=()
for table in "${tables[@]}"; do renames+=(--rename-table "$table=restored-$table"); done
timed "Restore into other tables" "$ark" restore --gateway "$gateway" --repository "$work/repository" latest "${renames[@]}"
timed "Verify the files" "$ark" verify --repository "$work/repository" latest --level files
timed "Verify the cells" "$ark" verify --repository "$work/repository" latest --level cells
timed "Verify against the cluster" "$ark" verify --repository "$work/repository" latest --level source --gateway "$gateway"
timed "Verify the restored tables" "$ark" verify --repository "$work/repository" latest --level source --gateway "$gateway" "${renames[@]}"

say "Done: backed up, queried, restored and verified, not one cell different."
printf '%s' "$steps"

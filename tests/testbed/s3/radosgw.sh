#!/usr/bin/env bash
# radosgw.sh FOLDER PORT MON_PORT     runs a Ceph of one monitor and one OSD in memory, with an S3 gateway on 127.0.0.1:PORT
#
# A line "ready" on standard output says that it answers; logs lie in FOLDER. It ends with its standard input.
# Needs root and Debian's packages: scripts/install.sh s3.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/leash.sh"
for tool in ceph-mon ceph-osd radosgw ceph radosgw-admin monmaptool; do
  command -v "$tool" >/dev/null || fail "$tool is missing: run scripts/install.sh s3"
done

mkdir -p "$1" && folder=$(cd "$1" && pwd)
port=$2 mon_port=$3
export CEPH_CONF=$folder/ceph.conf
fsid=$(cat /proc/sys/kernel/random/uuid)
osd=$(cat /proc/sys/kernel/random/uuid)
mkdir -p "$folder"/{mon,osd,rgw,run}
trap 'tail -n 20 "$folder/setup.log" >&2' ERR

cat >"$CEPH_CONF" <<END
[global]
fsid = $fsid
mon host = v1:127.0.0.1:$mon_port
public network = 127.0.0.0/8
auth cluster required = none
auth service required = none
auth client required = none
ms bind msgr1 = true
ms bind msgr2 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
log file = $folder/\$name.log
admin socket = $folder/run/\$name.asok
pid file = $folder/run/\$name.pid
run dir = $folder/run
[mon.a]
mon data = $folder/mon
[osd.0]
osd data = $folder/osd
osd objectstore = memstore
memstore device bytes = 4294967296
# An OSD of Ceph 16 that puts itself into the CRUSH map can do so before it has the monitor's map; it is told "wrong fsid" and ends.
osd class update on start = false
osd crush update on start = false
[client.rgw]
rgw data = $folder/rgw
rgw frontends = beast endpoint=127.0.0.1:$port
rgw crypt require ssl = false
rgw num rados handles = 1
rgw thread pool size = 64
END

monmaptool --create --fsid "$fsid" --addv a "[v1:127.0.0.1:$mon_port]" "$folder/monmap" >>"$folder/setup.log" 2>&1
ceph-mon -i a --mkfs --monmap "$folder/monmap" >>"$folder/setup.log" 2>&1
ceph-mon -i a -f >>"$folder/setup.log" 2>&1 </dev/null &
held+=($!)
await_port "$mon_port" 30 "$folder/setup.log"
# Its port answers before it takes commands ("EPERM: problem getting command descriptions from mon").
for _ in $(seq 30); do
  if timeout 10 ceph mon stat >>"$folder/setup.log" 2>&1; then break; fi
  sleep 0.5
done

# The OSD and its entry in the map must have the same number, or it waits for ever.
timeout 60 ceph osd new "$osd" >>"$folder/setup.log" 2>&1
timeout 60 ceph osd crush add osd.0 1.0 root=default >>"$folder/setup.log" 2>&1
ceph-osd -i 0 --mkfs --osd-uuid "$osd" >>"$folder/setup.log" 2>&1
ceph-osd -i 0 -f >>"$folder/setup.log" 2>&1 </dev/null &
held+=($!)

admin() { timeout 120 radosgw-admin --name client.rgw "$@" >>"$folder/setup.log" 2>&1; }
admin user create --uid test --display-name test --access-key test-access-key --secret-key test-secret-key ||
  { tail -n 20 "$folder/setup.log" >&2; fail "the cluster does not take a user"; }
admin zonegroup placement add --rgw-zonegroup default --placement-id default-placement --storage-class COLD
admin zone placement add --rgw-zone default --placement-id default-placement --storage-class COLD --data-pool default.rgw.cold.data
radosgw --name client.rgw -f >>"$folder/setup.log" 2>&1 </dev/null &
held+=($!)
await_port "$port" 120 "$folder/setup.log"
ready "$folder"

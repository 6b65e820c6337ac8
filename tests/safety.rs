//! What must not happen does not: half a backup is none, a restore destroys nothing, a difference is not overlooked, and
//! whoever asks for the impossible is told so.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

mod support;

#[path = "safety/at_work.rs"]
mod at_work;
#[path = "safety/descriptors.rs"]
mod descriptors;
#[path = "safety/interruption.rs"]
mod interruption;
#[path = "safety/markers.rs"]
mod markers;
#[path = "safety/proof.rs"]
mod proof;
#[path = "safety/refusals.rs"]
mod refusals;
#[path = "safety/selection.rs"]
mod selection;
#[path = "safety/source_level.rs"]
mod source_level;
#[path = "safety/usage.rs"]
mod usage;

use std::process::{Child, Stdio};
use std::sync::{OnceLock, RwLock};

use support::ark::{self, Repository};
use support::bed::Bed;
use support::faults::plan::{Fault, Plan};
use support::faults::thrift::ThriftProxy;
use support::synthetic::Synthetic;
use support::tsd::Tables;
use tsdb_ark::model::KeyLayout;

/// 100,000 rows of three cells each.
const LONG: Synthetic = Synthetic { layout: PLAIN, metrics: 4, series: 250, hours: 100, points: 3 };
/// OpenTSDB's own defaults.
const PLAIN: KeyLayout = KeyLayout { metric_width: 3, tagk_width: 3, tagv_width: 3, salt_width: 0, salt_buckets: 20 };
/// Held to read by who relies on the cells of [`LONG`], to write by who alters one for a while.
static LONG_CELLS: RwLock<()> = RwLock::new(());

/// The tables of [`LONG`].
fn long_tables(bed: &Bed) -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| LONG.load(bed, &[]))
}

/// A backup of [`long_tables`] that does not end by itself while the proxy lives: one page is never answered. The pages are
/// small, so that there are many moments at which it can be ended.
fn endless_backup(bed: &Bed, repository: &Repository) -> (Child, ThriftProxy) {
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::once("getScannerResults", 20, Fault::Hold));
    let path = repository.path();
    let mut command = ark::command();
    command.args(["backup", "--repository", path.to_str().unwrap(), "--json", "--gateway", &proxy.address()]);
    command.args(ark::table_flags(long_tables(bed)));
    command.args(["--page-size", "64KiB", "--connections", "2", "--read-timeout", "1h"]);
    (command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), proxy)
}

//! What a gateway can show of a restored target, and what of the backup that is compared with.

use crate::cluster::{Api, Client, ClusterError};
use crate::flow::FlowError;
use crate::flow::compare::read_options;
use crate::flow::stored::backup_files::saved_descriptor;
use crate::model::{FamilyDescriptor, OwnedCell, TableDescriptor};
use crate::scan::ScanOptions;

use super::target::Target;
use super::visible::split;

/// How a target is read back.
pub enum View {
    /// Every cell.
    Cells,
    /// Every cell and delete marker, and with these options what readers see.
    Raw(ScanOptions),
    /// What readers see of a raw restore.
    Shown {
        /// Some family of the target keeps more versions than the saved one, so that all cells may be shown where some
        /// were hidden.
        keeps_more: bool,
    },
    /// The latest version of each column.
    Latest,
}

/// What is known of a table before it is read back.
pub struct Reading {
    /// What is compared.
    pub view: View,
    /// How the target is read for it.
    pub options: ScanOptions,
    /// Families as the backup has them: they decide what readers saw.
    pub saved: Vec<FamilyDescriptor>,
}

impl Reading {
    /// For a target with this descriptor, read through this gateway.
    ///
    /// Where a raw scan is possible, it proves a raw restore, but only if the target keeps as many versions as the saved
    /// table did: until a compaction such a scan shows versions that no reader sees.
    ///
    /// # Errors
    /// [`FlowError::Damaged`] for a saved descriptor that cannot be read; the gateway's.
    pub fn new(
        client: &mut Client,
        target: &Target<'_>,
        descriptor: &TableDescriptor,
        raw: bool,
    ) -> Result<Self, FlowError> {
        let saved = saved_descriptor(target.table)?.families;
        let options = read_options(target.table, raw);
        let plain = ScanOptions { raw: false, ..options.clone() };
        if client.gateway()?.api == Api::Thrift1 {
            return Ok(Self { view: View::Latest, options: plain, saved });
        }
        if !raw {
            return Ok(Self { view: View::Cells, options, saved });
        }
        let versions =
            |family: &FamilyDescriptor| (versions(&saved, &family.name), versions(&descriptor.families, &family.name));
        let typed = match client.require_types(&target.name) {
            Err(ClusterError::Untyped { .. }) => false,
            other => other.map(|()| true)?,
        };
        if typed && saved.iter().map(versions).all(|(saved, there)| saved == there) {
            return Ok(Self { view: View::Raw(plain), options, saved });
        }
        let keeps_more = saved.iter().map(versions).any(|(saved, there)| there > saved);
        Ok(Self { view: View::Shown { keeps_more }, options: plain, saved })
    }

    /// Whether a range is right that shows exactly the cells of the backup.
    pub fn equal_is_enough(&self) -> bool {
        !matches!(self.view, View::Shown { keeps_more: true })
    }

    /// Splits cells of a raw backup into those that readers saw and the rest.
    pub fn seen(&self, cells: Vec<OwnedCell>) -> (Vec<OwnedCell>, Vec<OwnedCell>) {
        split(cells, &|family| versions(&self.saved, family))
    }
}

/// How many versions a family keeps.
pub fn versions(families: &[FamilyDescriptor], name: &[u8]) -> usize {
    let family = families.iter().find(|family| family.name == name);
    family.map_or(1, |family| usize::try_from(family.versions()).unwrap_or(1))
}

//! How long a gateway takes for one small read.

use std::time::{Duration, Instant};

use crate::cluster::{Client, ClusterError, Gateways, PageRequest};
use crate::model::{CellBlock, successor};

/// After this long the answer is known to be late; how late does not matter any more.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the key of one row again and again, over a connection of its own to one gateway, and never tries again. The
/// row is always the same, so that what varies is the gateway and the region server behind it, not the row.
#[derive(Debug)]
pub struct Canary {
    client: Client,
    table: String,
    row: Option<Vec<u8>>,
    page: CellBlock,
}

impl Gateways {
    /// A canary for each gateway, which reads the first row of the table. Nothing is sent yet.
    pub fn canaries(&self, table: &str) -> Vec<Canary> {
        let canary = |slot| Canary {
            client: Client::pinned(self.clone(), slot, TIMEOUT),
            table: table.to_owned(),
            row: None,
            page: CellBlock::new(),
        };
        (0..self.len()).map(canary).collect()
    }
}

impl Canary {
    /// True while the gateway is left alone because a call to it failed.
    pub fn rests(&self) -> bool {
        self.client.rests()
    }

    /// The time of one read, connecting not included. A read that is not answered counts as long as it was waited for.
    ///
    /// # Errors
    /// Any [`ClusterError`] of connecting and of a page. The gateway is not left alone for it by other clients.
    pub fn measure(&mut self) -> Result<Duration, ClusterError> {
        self.client.api().inspect_err(|_| self.client.disconnect())?;
        let row = self.row.clone().unwrap_or_default();
        let stop = successor(&row).filter(|_| self.row.is_some()).unwrap_or_default();
        let request =
            PageRequest { filter: Some(PageRequest::KEYS_ONLY), ..PageRequest::new(&self.table, &row, &stop, 1) };
        let begun = Instant::now();
        match self.client.page_once(&request, &mut self.page) {
            Ok(_) => {}
            Err(ClusterError::TimedOut { .. }) => self.client.disconnect(),
            Err(error) => {
                self.client.disconnect();
                return Err(error);
            }
        }
        let took = begun.elapsed();
        if self.row.is_none() {
            self.row = self.page.row(0).map(|row| row.key.to_vec());
        }
        Ok(took)
    }
}

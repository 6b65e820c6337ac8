//! Manners towards clusters whose gateways cannot spare the block cache.

use crate::cluster::Gateways;
use crate::flow::{FlowError, Manners};

/// Bytes per second of a run that nobody gave a limit.
const RATE: u64 = 20 << 20;

/// The manners, with a limit where every read evicts what the cluster's users have in the block cache, and what to say
/// about it.
///
/// # Errors
/// The gateway's.
pub fn considerate(gateways: &Gateways, manners: &Manners) -> Result<(Manners, Option<String>), FlowError> {
    if !gateways.client().fills_block_cache()? {
        return Ok((manners.clone(), None));
    }
    let mut manners = manners.clone();
    let limit = match manners.rate {
        Some(_) => "--rate is the limit that you gave".to_owned(),
        None => {
            manners.rate = Some(RATE);
            format!("limited to {} MiB/s, --rate sets another limit", RATE >> 20)
        }
    };
    let warning = format!(
        "the gateway is one of HBase before 1.3: what it reads fills the block cache of the region servers, at the cost of \
         those who use the cluster; {limit}"
    );
    Ok((manners, Some(warning)))
}

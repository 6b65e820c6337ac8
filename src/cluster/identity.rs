//! Which cluster a gateway serves: asked once per connection, so that gateways of two clusters are never mixed.

use std::time::Duration;

use hbase_thrift::hbase::THbaseSyncClient;

use crate::cluster::connection::Connection;
use crate::cluster::error::Call;
use crate::cluster::generated::hbase2::TTHBaseServiceSyncClient;
use crate::cluster::{Api, ClusterError, PageRequest, exchange};
use crate::model::CellBlock;

/// A table that HBase makes when a cluster is set up, and never splits: the name of its region holds the time of that and
/// a hash. HBase 3 has it no longer.
const FIRST_TABLE: &str = "hbase:namespace";
/// What a gateway answers that could not read the id (`HConstants.CLUSTER_ID_DEFAULT`).
const UNREAD: &str = "default-cluster";

/// What tells one HBase cluster from another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// The content of `hbase.id`. Gateways before HBase 2.5 have no call for it.
    pub id: Option<String>,
    /// The name of the region of `hbase:namespace`; asked for where the id is not known, or may not be known elsewhere.
    pub namespace_region: Option<String>,
}

impl ClusterIdentity {
    /// The id, or else the name of the region of `hbase:namespace`, which serves as one.
    pub fn name(&self) -> Option<&str> {
        self.id.as_deref().or(self.namespace_region.as_deref())
    }

    /// Both as far as they have a fact in common: what each says of itself, when the two differ.
    fn difference<'a>(&'a self, other: &'a Self) -> Option<(&'a str, &'a str)> {
        let of = |identity: &'a Self| [identity.id.as_deref(), identity.namespace_region.as_deref()];
        let common = of(self).into_iter().zip(of(other)).find_map(|(mine, theirs)| Some((mine?, theirs?)));
        common.filter(|(mine, theirs)| mine != theirs)
    }

    /// True when the two have nothing in common that could be compared.
    pub(crate) fn is_incomparable(&self, other: &Self) -> bool {
        !(self.id.is_some() && other.id.is_some()
            || self.namespace_region.is_some() && other.namespace_region.is_some())
    }
}

/// The cluster that the first gateway served; all others are held against it.
#[derive(Debug, Default)]
pub(crate) struct Expected(Option<(ClusterIdentity, String)>);

impl Expected {
    /// Takes what a gateway says of its cluster.
    ///
    /// # Errors
    /// [`ClusterError::OtherCluster`] when it is not the cluster of the others.
    pub fn meet(&mut self, gateway: &str, found: &ClusterIdentity) -> Result<(), ClusterError> {
        if found.name().is_none() {
            return Ok(());
        }
        let Some((known, first)) = &mut self.0 else {
            self.0 = Some((found.clone(), gateway.to_owned()));
            return Ok(());
        };
        if let Some((expected, found)) = known.difference(found) {
            return Err(ClusterError::OtherCluster {
                gateway: gateway.to_owned(),
                found: found.to_owned(),
                first: first.clone(),
                expected: expected.to_owned(),
            });
        }
        if !known.is_incomparable(found) {
            known.id = known.id.take().or_else(|| found.id.clone());
            known.namespace_region = known.namespace_region.take().or_else(|| found.namespace_region.clone());
        }
        Ok(())
    }
}

/// Asks the gateway behind a new connection for its cluster. The region of `hbase:namespace` is asked for where the id is
/// not to be had, and when `thorough`.
///
/// # Errors
/// Those of a call; a gateway that has no answer is no error.
pub(crate) fn ask(
    connection: &mut Connection,
    api: Api,
    timeout: Duration,
    thorough: bool,
) -> Result<ClusterIdentity, ClusterError> {
    let id = known(id(connection, api, timeout))?.filter(|id| !id.is_empty() && id != UNREAD);
    let namespace_region = match id.is_none() || thorough {
        true => known(namespace_region(connection, api, timeout))?.flatten(),
        false => None,
    };
    Ok(ClusterIdentity { id, namespace_region })
}

/// An answer, or none from a gateway that does not know the call or must not answer it.
fn known<T>(answer: Result<T, ClusterError>) -> Result<Option<T>, ClusterError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(
            ClusterError::Application { .. } | ClusterError::AccessDenied { .. } | ClusterError::TableMissing { .. },
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

fn id(connection: &mut Connection, api: Api, timeout: Duration) -> Result<String, ClusterError> {
    let gateway = connection.gateway.clone();
    let call = Call { gateway: &gateway, method: "getClusterId", table: "" };
    match api {
        Api::Thrift2 => connection.call(&call, timeout, |wire| wire.get_cluster_id()),
        Api::Thrift1 => connection.call_thrift1(&call, timeout, |wire| wire.get_cluster_id()).map(|(id, _)| id),
    }
}

fn namespace_region(connection: &mut Connection, api: Api, timeout: Duration) -> Result<Option<String>, ClusterError> {
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let gateway = connection.gateway.clone();
    if api == Api::Thrift1 {
        let call = Call { gateway: &gateway, method: "getTableRegions", table: FIRST_TABLE };
        let list = |wire: &mut crate::cluster::thrift1::Generated<'_>| wire.get_table_regions(FIRST_TABLE.into());
        let (regions, _) = connection.call_thrift1(&call, timeout, list)?;
        return Ok(regions.first().and_then(|region| region.name.as_deref()).map(text));
    }
    // Rows of hbase:meta are named after their regions: TABLE,START KEY,TIME.HASH. They are ordered part by part, so that
    // bounds need all of them.
    let (start, stop) = (format!("{FIRST_TABLE},,"), format!("{FIRST_TABLE},,:"));
    let filter = Some(PageRequest::KEYS_ONLY);
    let request = PageRequest { filter, ..PageRequest::new("hbase:meta", start.as_bytes(), stop.as_bytes(), 1) };
    let mut page = CellBlock::new();
    exchange::page_over(connection, &request, timeout, &mut page)?;
    Ok(page.row(0).map(|row| text(row.key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(id: Option<&str>, region: Option<&str>) -> ClusterIdentity {
        ClusterIdentity { id: id.map(Into::into), namespace_region: region.map(Into::into) }
    }

    #[test]
    fn another_cluster_is_refused_by_what_both_say() {
        let mut expected = Expected::default();
        assert!(expected.meet("g:0", &identity(None, None)).is_ok());
        assert!(expected.meet("g:1", &identity(Some("a"), Some("r"))).is_ok());
        assert!(expected.meet("g:2", &identity(Some("a"), None)).is_ok());
        assert!(expected.meet("g:3", &identity(None, Some("r"))).is_ok());
        for other in [identity(Some("b"), Some("r")), identity(None, Some("s"))] {
            let refused = expected.meet("g:4", &other);
            let Err(ClusterError::OtherCluster { first, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!(first, "g:1");
        }
        assert!(expected.meet("g:5", &identity(None, None)).is_ok(), "it does not say, which is reported elsewhere");
    }

    #[test]
    fn facts_add_up() {
        let mut expected = Expected::default();
        expected.meet("g:1", &identity(None, Some("r"))).unwrap();
        expected.meet("g:2", &identity(Some("a"), Some("r"))).unwrap();
        assert!(expected.meet("g:3", &identity(Some("b"), None)).is_err());
    }
}

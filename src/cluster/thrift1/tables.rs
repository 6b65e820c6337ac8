//! Names, descriptors and regions of tables, and their creation.

use hbase_thrift::hbase::{ColumnDescriptor, THbaseSyncClient, TRegionInfo};

use crate::cluster::{Client, ClusterError};
use crate::model::{FamilyDescriptor, KeyRange, Region, TableDescriptor};

/// What a Thrift1 column descriptor holds of a family.
const CARRIED: [&str; 6] = ["BLOCKCACHE", "BLOOMFILTER", "COMPRESSION", "IN_MEMORY", "TTL", "VERSIONS"];

/// What HBase gives every new family; nothing is lost by not saying it.
const DEFAULTS: [(&str, &str); 14] = [
    ("BLOCKSIZE", "65536"),
    ("CACHE_BLOOMS_ON_WRITE", "false"),
    ("CACHE_DATA_ON_WRITE", "false"),
    ("CACHE_INDEX_ON_WRITE", "false"),
    ("DATA_BLOCK_ENCODING", "NONE"),
    ("DFS_REPLICATION", "0"),
    ("EVICT_BLOCKS_ON_CLOSE", "false"),
    ("INDEX_BLOCK_ENCODING", "NONE"),
    ("IN_MEMORY_COMPACTION", "NONE"),
    ("KEEP_DELETED_CELLS", "FALSE"),
    ("MIN_VERSIONS", "0"),
    ("NEW_VERSION_BEHAVIOR", "false"),
    ("PREFETCH_BLOCKS_ON_OPEN", "false"),
    ("REPLICATION_SCOPE", "0"),
];

/// Table attributes that HBase writes by itself into every table, and what it writes.
const TABLE_DEFAULTS: [(&str, &str); 3] =
    [("IS_META", "false"), ("IS_ROOT", "false"), ("hbase.store.file-tracker.impl", "DEFAULT")];

/// `TTL` of cells that live for ever.
const FOREVER: i32 = i32::MAX;

impl Client {
    pub(crate) fn table_names_thrift1(&mut self) -> Result<Vec<String>, ClusterError> {
        let timeout = self.gateways().options().call_timeout;
        let names = self.once_thrift1("getTableNames", "", timeout, |wire| wire.get_table_names())?;
        // HBase's names are ASCII.
        Ok(names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    /// Thrift1 has no such question. Its list of tables leaves out those that the user has no right on; regions are told
    /// to everybody.
    pub(crate) fn exists_thrift1(&mut self, table: &str) -> Result<bool, ClusterError> {
        Ok(!self.regions_thrift1(table)?.is_empty())
    }

    pub(crate) fn enabled_thrift1(&mut self, table: &str) -> Result<bool, ClusterError> {
        let timeout = self.gateways().options().call_timeout;
        let name = table.as_bytes().to_vec();
        self.once_thrift1("isTableEnabled", table, timeout, |wire| wire.is_table_enabled(name))
    }

    /// Families with the six attributes that Thrift1 tells; everything else of the table is lost.
    pub(crate) fn descriptor_thrift1(&mut self, table: &str) -> Result<TableDescriptor, ClusterError> {
        let timeout = self.gateways().options().call_timeout;
        let name = table.as_bytes().to_vec();
        let families =
            self.once_thrift1("getColumnDescriptors", table, timeout, |wire| wire.get_column_descriptors(name))?;
        let mut families: Vec<FamilyDescriptor> =
            families.into_iter().map(|(key, column)| family(key, column)).collect();
        families.sort_by(|a, b| a.name.cmp(&b.name));
        let name = table.strip_prefix("default:").unwrap_or(table).to_owned();
        Ok(TableDescriptor { name, attributes: Vec::new(), families })
    }

    /// The regions in any order, each once; none for a missing table.
    pub(crate) fn regions_thrift1(&mut self, table: &str) -> Result<Vec<Region>, ClusterError> {
        let timeout = self.gateways().options().call_timeout;
        let name = table.as_bytes().to_vec();
        let list = self.once_thrift1("getTableRegions", table, timeout, |wire| wire.get_table_regions(name))?;
        Ok(once_each(list.into_iter().map(region).collect()))
    }

    /// Creates a table whose descriptor says nothing that Thrift1 cannot.
    pub(crate) fn create_thrift1(&mut self, table: &TableDescriptor, splits: &[Vec<u8>]) -> Result<(), ClusterError> {
        let timeout = self.gateways().options().put_timeout;
        let lost = lost(table, splits.len());
        if !lost.is_empty() {
            let gateway = self.connection()?.gateway.to_string();
            let what = format!("create table {} exactly (it would lose {})", table.name, lost.join(", "));
            return Err(ClusterError::NotInThrift1 { gateway, what: what.into() });
        }
        let columns = table.families.iter().map(column).collect();
        let name = table.name.as_bytes().to_vec();
        self.once_thrift1("createTable", &table.name, timeout, |wire| wire.create_table(name, columns))
    }
}

/// Replicas have the keys of their region and no mark of their own.
fn once_each(mut regions: Vec<Region>) -> Vec<Region> {
    regions.sort_by(|a, b| (&a.range.start, &a.range.stop).cmp(&(&b.range.start, &b.range.stop)));
    regions.dedup_by(|a, b| a.range == b.range);
    regions
}

fn region(info: TRegionInfo) -> Region {
    Region {
        range: KeyRange::new(info.start_key.unwrap_or_default(), info.end_key.unwrap_or_default()),
        host: String::from_utf8_lossy(&info.server_name.unwrap_or_default()).into_owned(),
        port: info.port.unwrap_or(0),
        start_code: 0,
    }
}

/// A family named `t:` as HBase would describe it, as far as it is known.
fn family(key: Vec<u8>, column: ColumnDescriptor) -> FamilyDescriptor {
    let name = column.name.unwrap_or(key);
    let name = name.strip_suffix(b":").map(<[u8]>::to_vec).unwrap_or(name);
    let texts = [
        ("BLOCKCACHE", column.block_cache_enabled.map(|on| on.to_string())),
        ("BLOOMFILTER", column.bloom_filter_type),
        ("COMPRESSION", column.compression),
        ("IN_MEMORY", column.in_memory.map(|on| on.to_string())),
        // Forever, or not told: before HBase 1.4 a gateway says so of every family.
        ("TTL", column.time_to_live.filter(|seconds| *seconds != FOREVER).map(|seconds| seconds.to_string())),
        ("VERSIONS", column.max_versions.map(|versions| versions.to_string())),
    ];
    let attribute = |(key, value): (&str, Option<String>)| Some((key.as_bytes().to_vec(), value?.into_bytes()));
    FamilyDescriptor { name, attributes: texts.into_iter().filter_map(attribute).collect(), configuration: Vec::new() }
}

/// The opposite of [`family`]; what the family does not say is HBase's default, not Thrift's.
fn column(family: &FamilyDescriptor) -> ColumnDescriptor {
    let flag =
        |name: &str, default: bool| family.attribute(name).map_or(default, |text| text.eq_ignore_ascii_case("true"));
    let text = |name: &str, default: &str| family.attribute(name).unwrap_or(default).to_owned();
    let ttl = family.ttl_seconds().and_then(|seconds| i32::try_from(seconds).ok()).unwrap_or(FOREVER);
    ColumnDescriptor {
        name: Some([&family.name, &b":"[..]].concat()),
        max_versions: Some(family.versions()),
        compression: Some(text("COMPRESSION", "NONE")),
        in_memory: Some(flag("IN_MEMORY", false)),
        bloom_filter_type: Some(text("BLOOMFILTER", "ROW")),
        bloom_filter_vector_size: None,
        bloom_filter_nb_hashes: None,
        block_cache_enabled: Some(flag("BLOCKCACHE", true)),
        time_to_live: Some(ttl),
    }
}

/// What a table created through Thrift1 would not have, in words.
pub(crate) fn lost(table: &TableDescriptor, splits: usize) -> Vec<String> {
    let mut lost = Vec::new();
    if splits > 0 {
        lost.push(format!("its {splits} split keys"));
    }
    lost.extend(table.attributes.iter().filter(|pair| !is_default(pair, &TABLE_DEFAULTS)).map(words));
    for family in &table.families {
        let of = format!(" of family {}", String::from_utf8_lossy(&family.name));
        lost.extend(family.attributes.iter().filter(|pair| !is_carried(pair)).map(|pair| words(pair) + &of));
        lost.extend(family.configuration.iter().map(|(key, value)| format!("{key}={value}{of}")));
    }
    lost
}

/// Whether the attribute fits a column descriptor or need not.
fn is_carried(pair: &(Vec<u8>, Vec<u8>)) -> bool {
    let (Ok(name), Ok(value)) = (std::str::from_utf8(&pair.0), std::str::from_utf8(&pair.1)) else { return false };
    match name {
        "TTL" | "VERSIONS" => value.parse::<i32>().is_ok_and(|number| number > 0),
        "BLOCKCACHE" | "IN_MEMORY" => ["true", "false"].iter().any(|flag| value.eq_ignore_ascii_case(flag)),
        name => CARRIED.contains(&name) || is_default(pair, &DEFAULTS),
    }
}

fn is_default((name, value): &(Vec<u8>, Vec<u8>), defaults: &[(&str, &str)]) -> bool {
    defaults.iter().any(|(key, text)| name == key.as_bytes() && value.eq_ignore_ascii_case(text.as_bytes()))
}

fn words((name, value): &(Vec<u8>, Vec<u8>)) -> String {
    format!("{}={}", name.escape_ascii(), value.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::regions;

    fn attributes(pairs: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    fn described(pairs: &[(&str, &str)]) -> TableDescriptor {
        let family = FamilyDescriptor { name: b"t".to_vec(), attributes: attributes(pairs), configuration: Vec::new() };
        TableDescriptor { name: "x".into(), attributes: attributes(&[("IS_META", "false")]), families: vec![family] }
    }

    #[test]
    fn six_attributes_go_both_ways() {
        let table = described(&[
            ("BLOCKCACHE", "false"),
            ("BLOOMFILTER", "ROWCOL"),
            ("COMPRESSION", "BROTLI"),
            ("IN_MEMORY", "true"),
            ("TTL", "3600"),
            ("VERSIONS", "3"),
        ]);
        assert_eq!(lost(&table, 0), Vec::<String>::new());
        let wire = column(&table.families[0]);
        assert_eq!(wire.name.as_deref(), Some(&b"t:"[..]));
        assert_eq!(family(b"t:".to_vec(), wire), table.families[0]);
        let plain = family(b"t:".to_vec(), column(&described(&[]).families[0]));
        assert_eq!((plain.attribute("BLOCKCACHE"), plain.attribute("BLOOMFILTER")), (Some("true"), Some("ROW")));
        assert_eq!((plain.versions(), plain.ttl_seconds()), (1, None));
    }

    #[test]
    fn names_what_would_be_lost() {
        assert_eq!(lost(&described(&DEFAULTS), 0), Vec::<String>::new());
        let odd = [("DATA_BLOCK_ENCODING", "DIFF"), ("VERSIONS", "many"), ("TTL", "2147483647")];
        assert_eq!(
            lost(&described(&odd), 2),
            ["its 2 split keys", "DATA_BLOCK_ENCODING=DIFF of family t", "VERSIONS=many of family t"]
        );
        let mut table = described(&[]);
        table.attributes.push((b"MAX_FILESIZE".to_vec(), b"1".to_vec()));
        table.families[0].configuration.push(("k".into(), "v".into()));
        assert_eq!(lost(&table, 0), ["MAX_FILESIZE=1", "k=v of family t"]);
    }

    #[test]
    fn replicas_are_left_out() {
        let info = |start: &[u8], end: &[u8], host: &[u8]| {
            TRegionInfo::new(start.to_vec(), end.to_vec(), 1, b"n".to_vec(), 1i8, host.to_vec(), 16020)
        };
        let list = vec![info(b"m", b"", b"h2"), info(b"", b"m", b"h1"), info(b"m", b"", b"h3"), info(b"", b"m", b"h4")];
        let found = regions::in_order("x", once_each(list.into_iter().map(region).collect())).unwrap();
        let ranges: Vec<KeyRange> = found.iter().map(|region| region.range.clone()).collect();
        assert_eq!(ranges, [KeyRange::new("", "m"), KeyRange::new("m", "")]);
        assert_eq!((found[0].port, found[0].start_code), (16020, 0));
    }
}

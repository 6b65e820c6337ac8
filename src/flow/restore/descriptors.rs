//! The descriptor that a table of the target gets: the saved one, less what only means something in the cluster that it
//! comes from.
//!
//! | attribute | what becomes of it |
//! |---|---|
//! | `coprocessor$N` | left out: the class is one of the old cluster |
//! | classes that are not HBase's own (`SPLIT_POLICY`, `FLUSH_POLICY`, names that end in `.class`) | left out; with `hbase.hstore.engine.class` such a table would never open |
//! | `hbase.rsgroup.name` | left out: groups of region servers belong to a cluster |
//! | `hbase.store.file-tracker.*` | left out: the cluster puts its own, which fits its file system |
//! | `ENCRYPTION_KEY`, `ENCRYPTION_KEY_NAMESPACE` | left out: the key is wrapped with the old cluster's master key; `ENCRYPTION` stays |
//! | `DATA_BLOCK_ENCODING` = `PREFIX_TREE` | left out: HBase 2 has no such encoding, its master would wait for the table for ever |
//! | `READONLY` = `true` | set when the cells are in the table |
//! | `REPLICATION_SCOPE` | 0 in a table with a new name, else kept; both are said |
//! | everything else | kept |
//!
//! Whatever the user names with `--attribute` or `--drop-attribute` is as the user says.

use crate::flow::restore::attributes::{Edit, TtlChoice};
use crate::model::{FOREVER, FamilyDescriptor, TableDescriptor};

/// An attribute of which nobody knows whether the target can do it before a table is made with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unproven {
    /// The family.
    pub family: Vec<u8>,
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// What a table of the target is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The descriptor to create it with.
    pub descriptor: TableDescriptor,
    /// `READONLY` is set when the cells are there.
    pub read_only: bool,
    /// How it differs from the saved one, and what else somebody should know; each names the table.
    pub remarks: Vec<String>,
    /// What may be refused.
    pub unproven: Vec<Unproven>,
}

impl Wanted {
    /// The descriptor of a table that is called `name` in the target.
    pub fn new(saved: &TableDescriptor, name: &str, edits: &[Edit], ttl: Option<TtlChoice>) -> Self {
        let descriptor = TableDescriptor { name: name.to_owned(), ..saved.clone() };
        let mut wanted = Self { descriptor, read_only: false, remarks: Vec::new(), unproven: Vec::new() };
        wanted.leave_out(edits);
        wanted.set_scope(saved.name != name, edits);
        wanted.apply(edits);
        wanted.set_ttl(ttl, edits);
        let read_only = wanted.descriptor.is_read_only();
        if read_only {
            set(&mut wanted.descriptor.attributes, "READONLY", None);
            wanted.remark("READONLY is set when its cells are there".into());
        }
        wanted.read_only = read_only;
        wanted.unproven = unproven(&wanted.descriptor);
        wanted
    }

    fn remark(&mut self, text: String) {
        self.remarks.push(format!("table {}: {text}", self.descriptor.name));
    }

    fn leave_out(&mut self, edits: &[Edit]) {
        let mut left_out = Vec::new();
        let table = &mut self.descriptor;
        table.attributes.retain(|(name, value)| keep(name, value, None, edits, &mut left_out));
        for family in &mut table.families {
            let of = Some(family.name.clone());
            family.attributes.retain(|(name, value)| keep(name, value, of.as_deref(), edits, &mut left_out));
            family
                .configuration
                .retain(|(name, value)| keep(name.as_bytes(), value.as_bytes(), of.as_deref(), edits, &mut left_out));
        }
        left_out.into_iter().for_each(|text| self.remark(text));
    }

    fn set_scope(&mut self, renamed: bool, edits: &[Edit]) {
        let mut remarks = Vec::new();
        for family in &mut self.descriptor.families {
            let scope = family.attribute("REPLICATION_SCOPE").unwrap_or("0").to_owned();
            if scope == "0" || named(edits, Some(&family.name), "REPLICATION_SCOPE") {
                continue;
            }
            let name = String::from_utf8_lossy(&family.name).into_owned();
            if renamed {
                set(&mut family.attributes, "REPLICATION_SCOPE", Some("0"));
                remarks.push(format!(
                    "REPLICATION_SCOPE of family {name} is 0 instead of {scope}, because the table has a new name: what \
                     is restored is not replicated"
                ));
            } else {
                remarks.push(format!(
                    "REPLICATION_SCOPE of family {name} stays {scope}: what is restored is replicated to the peers of \
                     this cluster; --attribute REPLICATION_SCOPE=0 keeps it here"
                ));
            }
        }
        remarks.into_iter().for_each(|text| self.remark(text));
    }

    fn apply(&mut self, edits: &[Edit]) {
        for edit in edits {
            let before = edit.saved_value(&self.descriptor).map(|value| value.escape_ascii().to_string());
            let of = match &edit.family {
                None => {
                    set(&mut self.descriptor.attributes, &edit.name, edit.value.as_deref());
                    String::new()
                }
                Some(name) => {
                    let Some(family) = self.descriptor.families.iter_mut().find(|f| f.name == *name) else { continue };
                    family.configuration.retain(|(key, _)| *key != edit.name);
                    set(&mut family.attributes, &edit.name, edit.value.as_deref());
                    format!(" of family {}", String::from_utf8_lossy(name))
                }
            };
            if before != edit.value {
                let name = &edit.name;
                let now = edit.value.as_ref().map_or("left out".to_owned(), |value| format!("set to {value}"));
                let before = before.map(|value| format!(" (saved: {value})")).unwrap_or_default();
                self.remark(format!("{name}{of} is {now}{before}, as asked for"));
            }
        }
    }

    fn set_ttl(&mut self, ttl: Option<TtlChoice>, edits: &[Edit]) {
        let seconds = match ttl {
            None | Some(TtlChoice::Keep) => return,
            Some(TtlChoice::Never) => FOREVER,
            Some(TtlChoice::Seconds(seconds)) => seconds,
        };
        let mut remarks = Vec::new();
        for family in &mut self.descriptor.families {
            let Some(saved) = family.ttl_seconds() else { continue };
            if named(edits, Some(&family.name), "TTL") || saved == i64::from(seconds) {
                continue;
            }
            set(&mut family.attributes, "TTL", Some(&seconds.to_string()));
            let name = String::from_utf8_lossy(&family.name);
            let now = if seconds == FOREVER { "FOREVER".to_owned() } else { format!("{seconds} s") };
            remarks.push(format!("TTL of family {name} is {now} instead of {saved} s, as asked for"));
        }
        remarks.into_iter().for_each(|text| self.remark(text));
    }
}

/// True when the user says what the attribute shall be.
pub fn named(edits: &[Edit], family: Option<&[u8]>, name: &str) -> bool {
    edits.iter().any(|edit| edit.family.as_deref() == family && edit.name == name)
}

/// Sets an attribute, or takes it out. The list stays sorted.
fn set(attributes: &mut Vec<(Vec<u8>, Vec<u8>)>, name: &str, value: Option<&str>) {
    attributes.retain(|(key, _)| key != name.as_bytes());
    if let Some(value) = value {
        attributes.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        attributes.sort();
    }
}

/// Decides over one attribute; adds why it is left out.
fn keep(name: &[u8], value: &[u8], family: Option<&[u8]>, edits: &[Edit], left_out: &mut Vec<String>) -> bool {
    let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
    let Some(why) = reason_to_leave_out(&name, &value, family.is_some()) else { return true };
    if named(edits, family, &name) {
        return true;
    }
    // Every cluster writes this one into every table.
    if !(name == "hbase.store.file-tracker.impl" && value == "DEFAULT") {
        let of = family.map(|family| format!(" of family {}", String::from_utf8_lossy(family))).unwrap_or_default();
        let value = if name.starts_with("ENCRYPTION_KEY") { "" } else { &format!("={value}") };
        left_out.push(format!("{name}{value}{of} is left out: {why}"));
    }
    false
}

/// The list of the module's page.
fn reason_to_leave_out(name: &str, value: &str, of_a_family: bool) -> Option<&'static str> {
    if name.starts_with("hbase.store.file-tracker.") {
        return Some("the cluster uses its own store file tracker, which fits its file system");
    }
    if name.to_ascii_lowercase().starts_with("coprocessor$") {
        return Some("the class belongs to the cluster of the backup");
    }
    let names_a_class = ["SPLIT_POLICY", "FLUSH_POLICY"].contains(&name) || name.ends_with(".class");
    if names_a_class && !value.starts_with("org.apache.hadoop.hbase.") {
        return Some("the class is not one of HBase's own");
    }
    if !of_a_family && name == "hbase.rsgroup.name" {
        return Some("groups of region servers belong to one cluster");
    }
    if of_a_family && name.starts_with("ENCRYPTION_KEY") {
        return Some("it is wrapped with the master key of the backup's cluster; this cluster makes a key of its own");
    }
    if of_a_family && name == "DATA_BLOCK_ENCODING" && value == "PREFIX_TREE" {
        return Some("HBase 2 has no such encoding");
    }
    None
}

/// Codecs that need a library beside HBase, and encryption, which needs a key provider.
fn unproven(table: &TableDescriptor) -> Vec<Unproven> {
    let needs_more = |family: &FamilyDescriptor, name: &str| {
        let value = family.attribute(name)?;
        let plain = name != "ENCRYPTION" && ["NONE", "GZ"].iter().any(|codec| value.eq_ignore_ascii_case(codec));
        (!plain).then(|| Unproven { family: family.name.clone(), name: name.to_owned(), value: value.to_owned() })
    };
    let names =
        ["COMPRESSION", "COMPRESSION_COMPACT", "COMPRESSION_COMPACT_MAJOR", "COMPRESSION_COMPACT_MINOR", "ENCRYPTION"];
    table.families.iter().flat_map(|family| names.iter().filter_map(|name| needs_more(family, name))).collect()
}

/// In which families the table keeps fewer versions than the saved one did, in words.
pub fn keeps_fewer_versions(saved: &TableDescriptor, there: &TableDescriptor) -> Vec<String> {
    let less = |(family, found): (&FamilyDescriptor, &FamilyDescriptor)| {
        let fewer = found.versions() < family.versions();
        fewer.then(|| {
            format!(
                "family {} of {} keeps {} versions, the saved one kept {}: older versions will not be shown",
                String::from_utf8_lossy(&family.name),
                there.name,
                found.versions(),
                family.versions()
            )
        })
    };
    pairs(saved, there).filter_map(less).collect()
}

/// In which families the table keeps less of the deleted cells of a raw backup.
pub fn keeps_fewer_deleted(saved: &TableDescriptor, there: &TableDescriptor) -> Vec<String> {
    let kept = |family: &FamilyDescriptor| family.attribute("KEEP_DELETED_CELLS").unwrap_or("FALSE").to_uppercase();
    let less = |(family, found): (&FamilyDescriptor, &FamilyDescriptor)| {
        let fewer = kept(found) != kept(family) && kept(found) != "TRUE";
        fewer.then(|| {
            format!(
                "family {} of {} has KEEP_DELETED_CELLS={}, the saved one {}: deleted cells of the backup go with the next \
                 compaction",
                String::from_utf8_lossy(&family.name),
                there.name,
                kept(found),
                kept(family)
            )
        })
    };
    pairs(saved, there).filter_map(less).collect()
}

/// The families that both tables have.
fn pairs<'a>(
    saved: &'a TableDescriptor,
    there: &'a TableDescriptor,
) -> impl Iterator<Item = (&'a FamilyDescriptor, &'a FamilyDescriptor)> {
    let found = |family: &FamilyDescriptor| there.families.iter().find(|f| f.name == family.name);
    saved.families.iter().filter_map(move |family| found(family).map(|found| (family, found)))
}

/// Attributes that decide which cells a table takes and shows.
const DECIDES: [&str; 7] =
    ["KEEP_DELETED_CELLS", "MIN_VERSIONS", "NEW_VERSION_BEHAVIOR", "READONLY", "REPLICATION_SCOPE", "TTL", "VERSIONS"];

/// How a table differs from what was asked for: what decides over cells, and the rest. `partial` says that the gateway
/// does not tell every attribute, so that a missing one is no difference.
pub fn differences(asked: &TableDescriptor, found: &TableDescriptor, partial: bool) -> (Vec<String>, Vec<String>) {
    let (mut grave, mut slight) = (Vec::new(), Vec::new());
    let names = |table: &TableDescriptor| {
        let names = table.families.iter().map(|family| String::from_utf8_lossy(&family.name).into_owned());
        names.collect::<Vec<_>>().join(", ")
    };
    if names(asked) != names(found) {
        grave.push(format!("it has the families {} instead of {}", names(found), names(asked)));
        return (grave, slight);
    }
    let mut compare = |of: String, asked: &[(Vec<u8>, Vec<u8>)], found: &[(Vec<u8>, Vec<u8>)]| {
        for (name, value) in asked {
            let there = found.iter().find(|(key, _)| key == name).map(|(_, value)| value);
            if there.is_some_and(|there| there.eq_ignore_ascii_case(value)) || there.is_none() && partial {
                continue;
            }
            let there = there.map_or("nothing".to_owned(), |value| value.escape_ascii().to_string());
            let text = format!("{}{of} is {there} instead of {}", name.escape_ascii(), value.escape_ascii());
            let decides = DECIDES.iter().any(|known| known.as_bytes() == name.as_slice());
            if decides { grave.push(text) } else { slight.push(text) }
        }
    };
    let derived: [&[u8]; 2] = [b"IS_META", b"IS_ROOT"];
    let own: Vec<_> =
        asked.attributes.iter().filter(|(name, _)| !derived.contains(&name.as_slice())).cloned().collect();
    compare(String::new(), &own, &found.attributes);
    for (asked, found) in asked.families.iter().zip(&found.families) {
        compare(format!(" of family {}", String::from_utf8_lossy(&asked.name)), &asked.attributes, &found.attributes);
    }
    (grave, slight)
}

/// A name and its value, with the family that they belong to.
type Attribute<'a> = (Option<&'a Vec<u8>>, &'a (Vec<u8>, Vec<u8>));

/// The attribute that HBase most likely refuses a table for: `[FAMILY:]NAME`.
pub fn blamed(table: &TableDescriptor, message: &str) -> Option<(String, String)> {
    let text = message.to_ascii_lowercase();
    let all = || {
        let own = table.attributes.iter().map(|pair| (None, pair));
        own.chain(table.families.iter().flat_map(|f| f.attributes.iter().map(move |pair| (Some(&f.name), pair))))
    };
    let told = |(family, (name, value)): Attribute<'_>| {
        let of = family.map(|family| format!("{}:", String::from_utf8_lossy(family))).unwrap_or_default();
        (of + &String::from_utf8_lossy(name), value.escape_ascii().to_string())
    };
    // The value, where it is a word of its own: a codec, a class, a policy.
    let by_value = all().find(|(_, (_, value))| {
        String::from_utf8_lossy(value).split('|').any(|part| {
            let part = part.to_ascii_lowercase();
            let number = part.bytes().all(|byte| byte.is_ascii_digit());
            part.len() > 2 && !number && !COMMON.contains(&part.as_str()) && text.contains(&part)
        })
    });
    let by_name = || all().find(|(_, (name, _))| text.contains(&String::from_utf8_lossy(name).to_ascii_lowercase()));
    let by_word = || {
        let (_, name) = WORDS
            .iter()
            .find(|(word, name)| text.contains(word) && all().any(|(_, (key, _))| key == name.as_bytes()))?;
        all().find(|(_, (key, _))| key == name.as_bytes())
    };
    by_value.or_else(by_word).or_else(by_name).map(told)
}

/// Values that stand for nothing in a message.
const COMMON: [&str; 7] = ["true", "false", "none", "row", "ttl", "default", "diff"];

/// Words of messages and the attribute that they are about.
const WORDS: [(&str, &str); 10] = [
    ("block size", "BLOCKSIZE"),
    ("min versions", "MIN_VERSIONS"),
    ("versions", "VERSIONS"),
    ("ttl", "TTL"),
    ("time to live", "TTL"),
    ("key provider", "ENCRYPTION"),
    ("encryption", "ENCRYPTION"),
    ("compression", "COMPRESSION"),
    ("bloom", "BLOOMFILTER"),
    ("replication", "REPLICATION_SCOPE"),
];

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn pairs(list: Pairs<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut list: Vec<_> = list.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        list.sort();
        list
    }

    fn table(own: Pairs<'_>, family: Pairs<'_>) -> TableDescriptor {
        let family = FamilyDescriptor { name: b"t".to_vec(), attributes: pairs(family), configuration: vec![] };
        TableDescriptor { name: "tsdb".into(), attributes: pairs(own), families: vec![family] }
    }

    fn edit(family: Option<&str>, name: &str, value: Option<&str>) -> Edit {
        Edit { family: family.map(Into::into), name: name.into(), value: value.map(str::to_owned) }
    }

    #[test]
    fn what_belongs_to_the_old_cluster_is_left_out_and_said() {
        let saved = table(
            &[
                ("coprocessor$1", "|org.x.Foo|1001|"),
                ("hbase.rsgroup.name", "tsdb"),
                ("hbase.store.file-tracker.impl", "FILE"),
                ("SPLIT_POLICY", "org.x.Split"),
                ("hbase.hstore.engine.class", "org.apache.hadoop.hbase.regionserver.StripeStoreEngine"),
                ("MAX_FILESIZE", "100"),
                ("READONLY", "true"),
            ],
            &[
                ("ENCRYPTION", "AES"),
                ("ENCRYPTION_KEY", "secret"),
                ("DATA_BLOCK_ENCODING", "PREFIX_TREE"),
                ("TTL", "9"),
            ],
        );
        let wanted = Wanted::new(&saved, "tsdb", &[], None);
        let expected = table(
            &[
                ("hbase.hstore.engine.class", "org.apache.hadoop.hbase.regionserver.StripeStoreEngine"),
                ("MAX_FILESIZE", "100"),
            ],
            &[("ENCRYPTION", "AES"), ("TTL", "9")],
        );
        assert_eq!(wanted.descriptor, expected);
        assert!(wanted.read_only);
        let told = wanted.remarks.join("\n");
        for name in
            ["coprocessor$1", "hbase.rsgroup.name", "FILE", "SPLIT_POLICY", "ENCRYPTION_KEY", "PREFIX_TREE", "READONLY"]
        {
            assert!(told.contains(name), "{name} is not in {told}");
        }
        assert!(!told.contains("secret"), "{told}");
        assert_eq!(
            wanted.unproven,
            [Unproven { family: b"t".to_vec(), name: "ENCRYPTION".into(), value: "AES".into() }]
        );
        let edits = [
            edit(None, "coprocessor$1", Some("|org.y.Foo|1|")),
            edit(None, "READONLY", None),
            edit(Some("t"), "TTL", None),
        ];
        let wanted = Wanted::new(&saved, "tsdb", &edits, Some(TtlChoice::Seconds(5)));
        assert!(wanted.descriptor.attributes.contains(&(b"coprocessor$1".to_vec(), b"|org.y.Foo|1|".to_vec())));
        assert!(!wanted.read_only && wanted.descriptor.families[0].ttl_seconds().is_none());
    }

    #[test]
    fn every_cluster_writes_the_default_tracker_itself() {
        let wanted = Wanted::new(&table(&[("hbase.store.file-tracker.impl", "DEFAULT")], &[]), "tsdb", &[], None);
        assert_eq!((wanted.descriptor.attributes.len(), wanted.remarks.len()), (0, 0));
    }

    #[test]
    fn replication_ends_with_the_name() {
        let saved = table(&[], &[("REPLICATION_SCOPE", "1")]);
        let scope = |name: &str, edits: &[Edit]| {
            let wanted = Wanted::new(&saved, name, edits, None);
            (wanted.descriptor.families[0].attribute("REPLICATION_SCOPE").unwrap().to_owned(), wanted.remarks.join(" "))
        };
        let (kept, told) = scope("tsdb", &[]);
        assert!(kept == "1" && told.contains("replicated to the peers"), "{told}");
        let (kept, told) = scope("copy", &[]);
        assert!(kept == "0" && told.contains("is 0 instead of 1"), "{told}");
        let (kept, _) = scope("copy", &[edit(Some("t"), "REPLICATION_SCOPE", Some("1"))]);
        assert_eq!(kept, "1");
    }

    #[test]
    fn the_time_to_live_is_chosen() {
        let saved = table(&[], &[("TTL", "60")]);
        let ttl = |choice| Wanted::new(&saved, "x", &[], choice).descriptor.families[0].ttl_seconds();
        assert_eq!(
            [ttl(None), ttl(Some(TtlChoice::Keep)), ttl(Some(TtlChoice::Never)), ttl(Some(TtlChoice::Seconds(5)))],
            [Some(60), Some(60), None, Some(5)]
        );
        let forever = table(&[], &[("TTL", "2147483647")]);
        let same = Wanted::new(&forever, "x", &[], Some(TtlChoice::Seconds(5)));
        assert_eq!(same.descriptor.families[0].ttl_seconds(), None);
    }

    #[test]
    fn a_refusal_names_its_attribute() {
        let lzo = table(
            &[("coprocessor$1", "|org.x.Foo|1001|"), ("MAX_FILESIZE", "1000")],
            &[("COMPRESSION", "LZO"), ("ENCRYPTION", "AES"), ("MIN_VERSIONS", "3"), ("BLOOMFILTER", "ROW")],
        );
        for (message, place) in [
            ("java.lang.ClassNotFoundException: com.hadoop.compression.lzo.LzoCodec", "t:COMPRESSION"),
            ("Class org.x.Foo cannot be loaded", "coprocessor$1"),
            ("MAX_FILESIZE for table descriptor is too small", "MAX_FILESIZE"),
            ("Key provider failed test", "t:ENCRYPTION"),
            ("Min versions for column family t must be less than the Max versions", "t:MIN_VERSIONS"),
        ] {
            assert_eq!(blamed(&lzo, message).map(|(place, _)| place).as_deref(), Some(place), "{message}");
        }
        assert_eq!(blamed(&lzo, "the moon is full"), None);
    }

    #[test]
    fn what_decides_over_cells_is_grave() {
        let asked = table(&[("A", "1")], &[("VERSIONS", "3"), ("COMPRESSION", "GZ"), ("IN_MEMORY", "TRUE")]);
        assert_eq!(differences(&asked, &asked, false), (vec![], vec![]));
        let found = table(&[], &[("VERSIONS", "1"), ("COMPRESSION", "NONE"), ("IN_MEMORY", "true")]);
        let (grave, slight) = differences(&asked, &found, false);
        assert_eq!(grave, ["VERSIONS of family t is 1 instead of 3"]);
        assert_eq!(slight, ["A is nothing instead of 1", "COMPRESSION of family t is NONE instead of GZ"]);
        let partial = differences(&asked, &table(&[], &[]), true);
        assert_eq!(partial, (vec![], vec![]));
        let mut other = found.clone();
        other.families[0].name = b"x".to_vec();
        assert_eq!(differences(&asked, &other, true).0, ["it has the families x instead of t"]);
    }
}

//! Table descriptors as HBase writes them for people: the output of the shell's `describe`, and the text of the error that a
//! region server gives for a family that is not there. Both are what the descriptor's own `toString` makes of it.
//!
//! ```text
//! Table tsdb is ENABLED
//! tsdb, {TABLE_ATTRIBUTES => {MAX_FILESIZE => '10737418240', METADATA => {'k' => 'v'}}}
//! COLUMN FAMILIES DESCRIPTION
//! {NAME => 't', VERSIONS => '1', TTL => '86400 SECONDS (1 DAY)', CONFIGURATION => {'k' => 'v'}}
//! 1 row(s) in 0.2280 seconds
//!
//! 'tsdb', {TABLE_ATTRIBUTES => {...}}, {NAME => 't', ...}, {NAME => 'u', ...}
//! ```
//!
//! The shell may break lines anywhere, even within a word, so the lines of a group are joined as they are.

use crate::cluster::ClusterError;
use crate::model::{FamilyDescriptor, TableDescriptor};

/// Attributes that are numbers, and in the text have words behind: `86400 SECONDS (1 DAY)`, `65536 B (64KB)`.
const NUMBERS: [&str; 6] = ["TTL", "BLOCKSIZE", "MAX_FILESIZE", "MEMSTORE_FLUSHSIZE", "VERSIONS", "MIN_VERSIONS"];
/// How the group of a table's attributes begins.
const TABLE_ATTRIBUTES: &str = "{TABLE_ATTRIBUTES ";
/// `TTL => 'FOREVER'` as HBase stores it.
const FOREVER: &str = "2147483647";

/// Reads every table of a text.
///
/// # Errors
/// [`ClusterError::BadDescription`] names the place and what is wrong there.
pub fn parse_descriptions(text: &str) -> Result<Vec<TableDescriptor>, ClusterError> {
    let mut tables: Vec<TableDescriptor> = Vec::new();
    let mut group = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        let bad = |reason: &str| ClusterError::BadDescription { line: number, reason: reason.to_owned() };
        let mut rest = line.trim();
        if group.is_empty()
            && let Some(name) = heading(rest)
        {
            tables.push(TableDescriptor { name: name.to_owned(), ..TableDescriptor::default() });
            continue;
        }
        while !rest.is_empty() {
            if group.is_empty() {
                let Some(at) = rest.find('{') else { break };
                if let Some(name) = quoted_name(&rest[..at]) {
                    tables.push(TableDescriptor { name: name.to_owned(), ..TableDescriptor::default() });
                }
                rest = &rest[at..];
            }
            let Some((end, missing)) = end_of_group(&group, rest) else {
                group.push_str(rest);
                break;
            };
            group.push_str(&rest[..end]);
            group.push_str(missing);
            rest = &rest[end..];
            let values = Reader(&group).group().ok_or_else(|| bad("a group that cannot be read"))?;
            let table = tables.last_mut().ok_or_else(|| bad("attributes without the name of their table"))?;
            add(table, values)
                .ok_or_else(|| bad("a group of another kind than attributes of a table or of a family"))?;
            group.clear();
        }
    }
    let last = text.lines().count();
    let bad = |reason: String| Err(ClusterError::BadDescription { line: last, reason });
    if !group.is_empty() {
        return bad("the text ends within a group".into());
    }
    if let Some(table) = tables.iter().find(|table| table.families.is_empty()) {
        return bad(format!("table {} has no family", table.name));
    }
    for table in &mut tables {
        table.attributes.sort();
        table.families.sort_by(|a, b| a.name.cmp(&b.name));
        table.families.iter_mut().for_each(|family| family.attributes.sort());
    }
    Ok(tables)
}

/// `Table NAME is ENABLED`, as the shell prints it first.
fn heading(line: &str) -> Option<&str> {
    let (name, state) = line.strip_prefix("Table ")?.split_once(" is ")?;
    ["ENABLED", "DISABLED"].contains(&state).then_some(name)
}

/// The name in front of the first group, in quotes.
fn quoted_name(before: &str) -> Option<&str> {
    let (_, rest) = before.split_once('\'')?;
    let (name, rest) = rest.split_once('\'')?;
    (rest.trim() == ",").then_some(name)
}

/// Where in `rest` the group ends that `begun` began, and what is missing there: HBase 1.x forgets the last brace of a
/// table's attributes.
fn end_of_group(begun: &str, rest: &str) -> Option<(usize, &'static str)> {
    let forgetful = if begun.is_empty() { rest } else { begun }.starts_with(TABLE_ATTRIBUTES);
    let (mut depth, mut quoted) = (0, false);
    let mut step = |c: char| {
        match c {
            '\'' => quoted = !quoted,
            '{' if !quoted => depth += 1,
            '}' if !quoted => depth -= 1,
            _ => {}
        }
        (c == '}' && !quoted).then_some(depth)
    };
    begun.chars().for_each(|c| _ = step(c));
    for (at, c) in rest.char_indices() {
        match step(c) {
            Some(0) => return Some((at + 1, "")),
            Some(1) if forgetful && !rest[at + 1..].trim_start().starts_with('}') => return Some((at + 1, "}")),
            _ => {}
        }
    }
    None
}

/// A value: text, or a group of pairs.
#[derive(Debug, PartialEq)]
enum Value {
    Text(String),
    Group(Vec<(String, Value)>),
}

struct Reader<'a>(&'a str);

impl Reader<'_> {
    /// `{NAME => VALUE, ...}`
    fn group(&mut self) -> Option<Vec<(String, Value)>> {
        let mut pairs = Vec::new();
        self.mark("{")?;
        if self.mark("}").is_some() {
            return Some(pairs);
        }
        loop {
            let name = self.word()?;
            self.mark("=>")?;
            let value = if self.0.trim_start().starts_with('{') {
                Value::Group(self.group()?)
            } else {
                Value::Text(self.word()?)
            };
            pairs.push((name, value));
            if self.mark(",").is_none() {
                self.mark("}")?;
                return Some(pairs);
            }
        }
    }

    fn mark(&mut self, mark: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(mark)?;
        Some(())
    }

    /// In quotes, or up to the next sign of the syntax.
    fn word(&mut self) -> Option<String> {
        let text = self.0.trim_start();
        if let Some(quoted) = text.strip_prefix('\'') {
            let (word, rest) = quoted.split_once('\'')?;
            self.0 = rest;
            return Some(word.to_owned());
        }
        let end = text.find([',', '}', '{', '\'', '=']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.0 = rest;
        let word = word.trim();
        (!word.is_empty()).then(|| word.to_owned())
    }
}

/// Adds a group to the table: a family when it has a name, else the table's attributes.
fn add(table: &mut TableDescriptor, group: Vec<(String, Value)>) -> Option<()> {
    let mut family = FamilyDescriptor::default();
    for (name, value) in group {
        match (name.as_str(), value) {
            ("TABLE_ATTRIBUTES", Value::Group(pairs)) => attributes(pairs, &mut table.attributes)?,
            ("NAME", Value::Text(name)) => family.name = name.into_bytes(),
            ("METADATA", Value::Group(pairs)) => attributes(pairs, &mut family.attributes)?,
            ("CONFIGURATION", Value::Group(pairs)) => {
                for (key, value) in pairs {
                    let Value::Text(value) = value else { return None };
                    family.configuration.push((key, value));
                }
            }
            (name, Value::Text(value)) => family.attributes.push(attribute(name, &value)),
            (_, Value::Group(_)) => return None,
        }
    }
    match (family.name.is_empty(), family.attributes.is_empty()) {
        (false, _) => table.families.push(family),
        (true, true) => {}
        (true, false) => return None,
    }
    Some(())
}

fn attributes(pairs: Vec<(String, Value)>, into: &mut Vec<(Vec<u8>, Vec<u8>)>) -> Option<()> {
    for (name, value) in pairs {
        match value {
            Value::Text(value) => into.push(attribute(&name, &value)),
            Value::Group(pairs) if name == "METADATA" || name == "CONFIGURATION" => attributes(pairs, into)?,
            Value::Group(_) => return None,
        }
    }
    Some(())
}

/// As HBase stores it.
fn attribute(name: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let stored = match name {
        "TTL" if value == "FOREVER" => FOREVER,
        name if NUMBERS.contains(&name) && digits > 0 => value.get(..digits).unwrap_or(value),
        _ => value,
    };
    (name.as_bytes().to_vec(), stored.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of a region server of HBase 1.4, from the name of the table on.
    const ERROR: &str = "'zz', {NAME => 't', BLOOMFILTER => 'ROW', VERSIONS => '3', IN_MEMORY => 'false', \
        KEEP_DELETED_CELLS => 'FALSE', DATA_BLOCK_ENCODING => 'DIFF', TTL => '86400 SECONDS (1 DAY)', COMPRESSION => 'GZ', \
        MIN_VERSIONS => '0', BLOCKCACHE => 'true', BLOCKSIZE => '65536', REPLICATION_SCOPE => '0'}, {NAME => 'a', \
        TTL => 'FOREVER', BLOCKSIZE => '65536 B (64KB)', METADATA => {'OWNER' => 'x, {y}'}, CONFIGURATION => {'k' => 'v'}}";

    /// The same of HBase 1.4, where the attributes of the table lack their last brace.
    const FORGETFUL: &str = "'zz', {TABLE_ATTRIBUTES => {MAX_FILESIZE => '1073741824', METADATA => {'note' => 'x'}}, \
        {NAME => 's', METADATA => {'OWNER' => 'me'}}, {NAME => 't', TTL => 'FOREVER'}";

    const SHELL: &str = "hbase(main):001:0> describe 'ns:tsdb'
Table ns:tsdb is ENABLED
ns:tsdb, {TABLE_ATTRIBUTES => {MAX_FILESIZE => '10737418240', METADATA => {'m' => ''}, coprocessor$1 => '|a.B|1|'}}
COLUMN FAMILIES DESCRIPTION
{NAME => 'name', VERSIONS => '1', COMPRESSION => 'LZO'}
{NAME => 'id', VERSIONS => '1'}
2 row(s) in 0.2280 seconds

Table tsdb is DISABLED
tsdb
COLUMN FAMILIES DESCRIPTION
 {NAME => 't', BLO
 OMFILTER => 'ROW', TTL => '7200 SECO
 NDS (2 HOURS)'}
1 row(s) in 0.1 seconds
";

    fn named<'a>(table: &'a TableDescriptor, family: &str) -> &'a FamilyDescriptor {
        table.families.iter().find(|found| found.name == family.as_bytes()).unwrap()
    }

    #[test]
    fn the_text_of_an_error_is_read() {
        let tables = parse_descriptions(ERROR).unwrap();
        assert_eq!((tables.len(), tables[0].name.as_str(), tables[0].families.len()), (1, "zz", 2));
        let (t, a) = (named(&tables[0], "t"), named(&tables[0], "a"));
        assert_eq!((t.versions(), t.ttl_seconds(), t.attributes.len()), (3, Some(86_400), 11));
        assert_eq!((t.attribute("TTL"), t.attribute("DATA_BLOCK_ENCODING")), (Some("86400"), Some("DIFF")));
        assert_eq!(
            (a.attribute("TTL"), a.ttl_seconds(), a.attribute("BLOCKSIZE")),
            (Some(FOREVER), None, Some("65536"))
        );
        assert_eq!(a.attribute("OWNER"), Some("x, {y}"));
        assert_eq!(a.configuration, [("k".to_owned(), "v".to_owned())]);
    }

    #[test]
    fn a_forgotten_brace_is_forgiven() {
        let whole = FORGETFUL.replace("'x'}}, ", "'x'}}}, ");
        let shell =
            format!("Table zz is ENABLED\n{}", FORGETFUL.replace("'zz', ", "zz, ").replace("}, {NAME", "}\n{NAME"));
        let no_metadata = FORGETFUL.replace(", METADATA => {'note' => 'x'}", "");
        for text in [FORGETFUL, &whole, &shell, &shell.replace("'x'}}", "'x'}}}"), &no_metadata] {
            let table = &parse_descriptions(text).unwrap()[0];
            assert_eq!(table.families.len(), 2, "{text}");
            assert_eq!(table.attributes[0], (b"MAX_FILESIZE".to_vec(), b"1073741824".to_vec()));
            assert_eq!(table.attributes.len() == 1, text == no_metadata);
        }
    }

    #[test]
    fn what_the_shell_prints_is_read() {
        let tables = parse_descriptions(SHELL).unwrap();
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        assert_eq!(names, ["ns:tsdb", "tsdb"]);
        let text = |(name, value): &(Vec<u8>, Vec<u8>)| format!("{}={}", name.escape_ascii(), value.escape_ascii());
        let attributes: Vec<String> = tables[0].attributes.iter().map(text).collect();
        assert_eq!(attributes, ["MAX_FILESIZE=10737418240", "coprocessor$1=|a.B|1|", "m="]);
        assert_eq!(named(&tables[0], "name").attribute("COMPRESSION"), Some("LZO"));
        let t = named(&tables[1], "t");
        assert_eq!((t.attribute("BLOOMFILTER"), t.ttl_seconds()), (Some("ROW"), Some(7200)));
    }

    #[test]
    fn what_is_no_description_is_refused_with_its_line() {
        let line = |text: &str| match parse_descriptions(text) {
            Err(ClusterError::BadDescription { line, .. }) => Some(line),
            other => panic!("{other:?}"),
        };
        assert_eq!(line("{NAME => 't'}"), Some(1), "no table");
        assert_eq!(line("Table t is ENABLED\n{NAME => 't', X}"), Some(2));
        assert_eq!(line("Table t is ENABLED\n{NAME => 't'"), Some(2), "cut");
        assert_eq!(line("Table t is ENABLED\nt\n"), Some(2), "no family");
        assert_eq!(line("Table t is ENABLED\n{VERSIONS => '1'}"), Some(2));
        assert_eq!(parse_descriptions("nothing here\n").unwrap(), []);
    }
}

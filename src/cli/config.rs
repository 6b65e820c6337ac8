//! The configuration file: its values become the defaults of the flags with the same names.
//!
//! Because the file goes through the same parser as the flags, a value means the same in both places, a new flag is a
//! new key at once, and flags and environment variables win without a line of merging.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Arg, ArgAction, Command, FromArgMatches};
use toml::de::{DeTable, DeValue};

use crate::cli::command::{self, Cli};
use crate::cli::exit::{Usage, first_line, usage};

/// Flags that make no sense in a file, and what to say about them.
const FLAGS_ONLY: [(&str, &str); 5] = [
    ("config", "a configuration file cannot name another one"),
    ("unframed", "write framed = false"),
    ("binary", "write compact = false"),
    ("help", "it is not a setting"),
    ("version", "it is not a setting"),
];

/// Parses the command line, with the configuration file behind it when one is named.
///
/// # Errors
/// A `clap::Error` for the command line, [`Usage`] for the file.
pub fn parse(words: &[OsString]) -> anyhow::Result<Cli> {
    let mut command = command::command();
    let mut matches = command.clone().try_get_matches_from(words)?;
    let file = matches.get_one::<PathBuf>("config").cloned();
    if let (Some(path), Some(verb)) = (file, matches.subcommand_name().map(str::to_string)) {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| usage(format!("cannot read the configuration file {}: {error}", path.display())))?;
        let file = ConfigFile { path: &path, text: &text };
        for entry in file.entries(&command)? {
            command = file.apply(&entry, command, &verb, words)?;
        }
        matches = command.clone().try_get_matches_from(words)?;
    }
    Cli::from_arg_matches_mut(&mut matches).context("cannot read the command line")
}

/// One key of the file.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    section: Option<String>,
    key: String,
    /// The value, or the values of an array.
    values: Vec<String>,
    array: bool,
    /// Every value is text.
    text: bool,
    /// Byte offset of the key.
    at: usize,
}

struct ConfigFile<'a> {
    path: &'a Path,
    text: &'a str,
}

impl ConfigFile<'_> {
    /// The keys, those at the top before those of sections, each known to a verb.
    fn entries(&self, command: &Command) -> Result<Vec<Entry>, Usage> {
        let table = DeTable::parse(self.text)
            .map_err(|error| self.wrong(error.span().map_or(0, |span| span.start), error.message()))?;
        let (mut top, mut sections) = (Vec::new(), Vec::new());
        for (key, value) in table.get_ref() {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            let DeValue::Table(section) = value.get_ref() else {
                top.push(self.entry(None, name, value.get_ref(), at)?);
                continue;
            };
            if command.find_subcommand(name).is_none() {
                let known = names(command.get_subcommands().map(Command::get_name));
                return Err(self.wrong(at, &format!("unknown section [{name}]; known are {known}")));
            }
            for (key, value) in section {
                let at = key.span().start;
                sections.push(self.entry(Some(name), key.get_ref(), value.get_ref(), at)?);
            }
        }
        top.append(&mut sections);
        for entry in &top {
            self.check_known(entry, command)?;
        }
        Ok(top)
    }

    fn entry(&self, section: Option<&str>, key: &str, value: &DeValue<'_>, at: usize) -> Result<Entry, Usage> {
        let (values, array) = match value {
            DeValue::Array(items) => (items.iter().map(|item| scalar(item.get_ref())).collect(), true),
            one => (scalar(one).map(|text| vec![text]), false),
        };
        let values: Vec<String> =
            values.ok_or_else(|| self.wrong(at, &format!("`{key}` takes text, a number or true or false")))?;
        let is_text = |value: &DeValue<'_>| matches!(value, DeValue::String(_));
        let text = match value {
            DeValue::Array(items) => items.iter().all(|item| is_text(item.get_ref())),
            one => is_text(one),
        };
        Ok(Entry { section: section.map(str::to_string), key: key.to_string(), values, array, text, at })
    }

    fn check_known(&self, entry: &Entry, command: &Command) -> Result<(), Usage> {
        let key = entry.key.as_str();
        if let Some((_, instead)) = FLAGS_ONLY.iter().find(|(name, _)| *name == key) {
            return Err(self.wrong(entry.at, &format!("`{key}` does not belong in the file: {instead}")));
        }
        let here = |verb: &&Command| entry.section.as_deref().is_none_or(|section| section == verb.get_name());
        let homes: Vec<&Command> = command.get_subcommands().filter(here).chain([command]).collect();
        if homes.iter().any(|home| find(home, key).is_some()) {
            return Ok(());
        }
        let mut known: Vec<&str> =
            homes.iter().flat_map(|home| home.get_arguments()).filter_map(Arg::get_long).collect();
        known.retain(|name| FLAGS_ONLY.iter().all(|(only, _)| only != name));
        known.sort_unstable();
        known.dedup();
        Err(self.wrong(entry.at, &format!("unknown key `{key}`; known are {}", names(known.into_iter()))))
    }

    /// Makes the entry a default of the verb that runs, if it has the flag.
    fn apply(&self, entry: &Entry, command: Command, verb: &str, words: &[OsString]) -> Result<Command, Usage> {
        if entry.section.as_deref().is_some_and(|section| section != verb) {
            return Ok(command);
        }
        let changed = if let Some(arg) = find(&command, &entry.key) {
            let id = self.check_one(entry, arg)?;
            command.mut_arg(id, |arg| with_default(arg, entry))
        } else if let Some(arg) = command.find_subcommand(verb).and_then(|verb| find(verb, &entry.key)) {
            let id = self.check_one(entry, arg)?;
            command.mut_subcommand(verb, |verb| verb.mut_arg(id, |arg| with_default(arg, entry)))
        } else {
            return Ok(command);
        };
        // The words alone parsed before, so an error now is this entry's.
        match changed.clone().try_get_matches_from(words) {
            Ok(_) => Ok(changed),
            Err(error) => Err(self.wrong(entry.at, &first_line(&error.to_string()))),
        }
    }

    /// The flag's id, when it takes as many values as the entry has.
    fn check_one(&self, entry: &Entry, arg: &Arg) -> Result<String, Usage> {
        if entry.array && !matches!(arg.get_action(), ArgAction::Append) {
            return Err(self.wrong(entry.at, &format!("`{}` takes one value, not an array", entry.key)));
        }
        // Anything reads as a name or a path, so a number that stands there by mistake would be taken for one.
        let kind = arg.get_value_parser().type_id();
        if !entry.text && (kind == TypeId::of::<String>() || kind == TypeId::of::<PathBuf>()) {
            let example = entry.values.first().map_or("", String::as_str);
            return Err(self.wrong(entry.at, &format!("`{}` takes text in quotes: \"{example}\"", entry.key)));
        }
        Ok(arg.get_id().to_string())
    }

    /// An error with the place and the line of the file.
    fn wrong(&self, at: usize, what: &str) -> Usage {
        let before = self.text.get(..at).unwrap_or(self.text);
        let number = before.matches('\n').count() + 1;
        let line = self.text.lines().nth(number - 1).unwrap_or_default().trim();
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        usage(format!("{}:{number}: {what}; the line reads: {line}", self.path.display()))
    }
}

fn find<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(key))
}

fn with_default(arg: Arg, entry: &Entry) -> Arg {
    if entry.values.is_empty() { arg.default_value(None::<&str>) } else { arg.default_values(entry.values.clone()) }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;
    use crate::cli::backup::BackupArgs;
    use crate::cli::command::Verb;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn with(text: &str, flags: &[&str]) -> anyhow::Result<Cli> {
        let file = file(text);
        let mut words: Vec<OsString> = vec!["tsdb-ark".into()];
        words.extend(flags.iter().map(OsString::from));
        words.extend(["--config".into(), file.path().into()]);
        parse(&words)
    }

    fn backup(text: &str, flags: &[&str]) -> BackupArgs {
        match with(text, flags).unwrap().verb {
            Verb::Backup(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_section_wins_over_the_top_and_a_flag_over_both() {
        let text = "connections = 2\npage-size = '1MiB'\nrepository = '/top'\n[backup]\nconnections = 8\n[restore]\nconnections = 16\n";
        let args = backup(text, &["backup", "--repository", "/flag"]);
        assert_eq!((args.resources.connections, args.resources.page_size), (8, 1 << 20));
        assert_eq!(args.repository.repository.as_deref(), Some("/flag"));
        assert_eq!(backup(text, &["backup", "--connections=1"]).resources.connections, 1);
    }

    #[test]
    fn lists_switches_and_durations_come_from_the_file() {
        let text = "gateway = ['a:1', 'b:2']\nread-timeout = 90\njson = true\nverbose = 2\n[backup]\nraw = true\nframed = true\n";
        let args = backup(text, &["backup"]);
        assert_eq!(args.gateway.gateway, ["a:1", "b:2"]);
        assert_eq!(args.gateway.read_timeout, Duration::from_secs(90));
        assert_eq!((args.raw, args.gateway.framed), (true, Some(true)));
        let output = with(text, &["backup"]).unwrap().output;
        assert_eq!((output.json, output.verbose), (true, 2));
    }

    #[test]
    fn a_flag_switches_off_what_the_file_switches_on() {
        let text = "json = true\nraw = true\nframed = true\ngateway = 'a:1'\n";
        let args = backup(text, &["backup", "--raw=false", "--unframed", "--gateway", "b:2"]);
        assert_eq!((args.raw, args.gateway.settings().unwrap().framed), (false, Some(false)));
        assert_eq!(args.gateway.gateway, ["b:2"]);
        assert!(!with(text, &["backup", "--json=false"]).unwrap().output.json);
        assert!(!with(text, &["--json=false", "backup"]).unwrap().output.json);
    }

    #[test]
    fn an_empty_list_in_a_section_clears_the_list_at_the_top() {
        let text = "table = ['r1', 'r2']\n[backup]\ntable = []\n";
        assert!(backup(text, &["backup"]).opentsdb.table.is_empty());
        assert_eq!(backup("table = ['r1', 'r2']\n", &["backup"]).opentsdb.table, ["r1", "r2"]);
    }

    #[test]
    fn expected_raw_cells_are_a_switch_or_a_list_of_reasons() {
        use crate::cli::expected_raw::ExpectedRaw;
        use tsdb_ark::model::RawReason;
        assert_eq!(backup("expect-raw-cells = true\n", &["backup"]).expect_raw_cells, [ExpectedRaw::All]);
        let args = backup("expect-raw-cells = ['wrong_salt', 'bad_row_key']\n", &["backup"]);
        let reasons = [RawReason::WrongSalt, RawReason::BadRowKey].map(ExpectedRaw::Reason);
        assert_eq!(args.expect_raw_cells, reasons);
        let args = backup("expect-raw-cells = true\n", &["backup", "--expect-raw-cells=false"]);
        assert_eq!(args.expect_raw_cells, [ExpectedRaw::Nothing]);
    }

    #[test]
    fn a_key_of_another_verb_does_not_matter() {
        let text = "into-existing = true\nlevel = 'source'\n[restore]\nrename-table = ['a=b']\n";
        assert!(!backup(text, &["backup"]).raw);
    }

    #[test]
    fn mistakes_name_the_line() {
        let cases = [
            ("a = 1\n", ":1: unknown key `a`; known are"),
            ("\n[backup]\nconnections = 1\nlevel = 'cells'\n", ":4: unknown key `level`"),
            ("[bakup]\nraw = true\n", ":1: unknown section [bakup]; known are check, backup"),
            ("raw = true\n\nconnections = 'many'\n", ":3: invalid value 'many'"),
            ("page-size = 'big'\n", ":1: invalid value 'big'"),
            ("repository = ['a', 'b']\n", ":1: `repository` takes one value"),
            ("unframed = true\n", ":1: `unframed` does not belong in the file: write framed = false"),
            ("config = 'x'\n", "cannot name another one"),
            ("x\n", ":1: "),
        ];
        for (text, expected) in cases {
            let error = with(text, &["backup"]).err().unwrap();
            let shown = error.downcast_ref::<Usage>().unwrap().to_string();
            assert!(shown.contains(expected), "{text:?}: {shown}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_a_usage_error() {
        let words = ["tsdb-ark", "list", "--config", "/nowhere/x.toml"].map(OsString::from);
        assert!(parse(&words).err().unwrap().is::<Usage>());
    }
}

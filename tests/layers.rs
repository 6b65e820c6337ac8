//! The layers of the program, and the habits that a compiler does not watch, read from the sources.
//!
//! A module may name only the modules below it, and a foreign crate only where it has its door. Comments, texts and
//! test modules are left out; everything else counts, wherever it stands in a file.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helper functions too")]

#[path = "layers/circles.rs"]
mod circles;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A module, the modules that it may import, and the guarded crates for which it is a door.
struct Layer {
    module: &'static str,
    imports: &'static [&'static str],
    doors: &'static [&'static str],
}

const fn layer(module: &'static str, imports: &'static [&'static str], doors: &'static [&'static str]) -> Layer {
    Layer { module, imports, doors }
}

const LAYERS: &[Layer] = &[
    layer("model", &[], &[]),
    // Annotations, UIDMeta, TSMeta and trees are JSON inside cells, so the codec reads JSON as well.
    layer("codec", &["model"], &["serde_json"]),
    layer("cluster", &["model"], &["thrift", "thrift1_runtime", "hbase_thrift", "thread::sleep"]),
    // tokio: the parts of an upload are tasks, so that they travel while the caller waits for the cluster.
    layer("store", &["model"], &["object_store", "tokio"]),
    layer("shard", &["model", "cluster"], &[]),
    layer("scan", &["model", "cluster"], &[]),
    layer("put", &["model", "cluster"], &[]),
    layer("columnar", &["model"], &["arrow"]),
    // The Parquet writer takes and gives Arrow batches; what is in them stays with `columnar`.
    layer("parquet_file", &["model", "columnar"], &["parquet", "arrow"]),
    layer("manifest", &["model", "store"], &["serde_json"]),
    layer(
        "flow",
        &["model", "codec", "cluster", "store", "shard", "scan", "put", "columnar", "parquet_file", "manifest"],
        &["rayon", "tokio", "crossbeam_channel", "std::thread", "thread::sleep"],
    ),
    // In the binary. `model` for the values inside reports; two threads, one draws the progress line, one answers ctrl-C.
    layer(
        "cli",
        &["flow", "model"],
        &["clap", "anyhow", "toml", "indicatif", "tracing_subscriber", "signal_hook", "std::thread"],
    ),
    // The binary's root: hands over to `cli`.
    layer("main", &["cli"], &["anyhow"]),
    // The library's root: names the modules, imports none.
    layer("lib", &[], &[]),
];

/// Foreign names that have a door. `arrow` stands for every crate whose name begins so.
const GUARDED: &[&str] = &[
    "thrift",
    "thrift1_runtime",
    "hbase_thrift",
    "object_store",
    "arrow",
    "parquet",
    "rayon",
    "tokio",
    "crossbeam_channel",
    "clap",
    "anyhow",
    "toml",
    "indicatif",
    "serde_json",
    "tracing_subscriber",
    "signal_hook",
];

/// A room of `flow` and the rooms that it may need. `error`, `plan`, `report` and `open` are the words between them.
const ROOMS: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("locking", &["engine"]),
    ("source", &["engine"]),
    ("stored", &["engine", "locking"]),
    ("compare", &["engine", "source", "stored"]),
    ("increments", &["engine", "source", "stored"]),
    ("check", &["engine", "source", "stored", "increments"]),
    // From cells of anywhere to files: it knows neither a cluster nor who plans.
    ("encode", &["engine", "stored"]),
    ("backup", &["engine", "locking", "source", "stored", "increments", "compare", "encode"]),
    // Both look at a cluster too: restore at its target, verify at what was backed up.
    ("restore", &["engine", "locking", "source", "stored", "compare"]),
    ("verify", &["engine", "locking", "source", "stored", "compare"]),
    ("prune", &["engine", "locking", "stored"]),
    ("export", &["engine", "locking", "stored"]),
];

/// Generated code: exempt from the limits and from the ban on `unsafe`, not from the layers.
const GENERATED: &str = "src/cluster/generated";
const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 80;

/// A source file: the text as it is and the code alone, of equal length and with the same line feeds.
struct Source {
    path: PathBuf,
    /// Comments, texts and test modules are blanks.
    code: String,
    lines: usize,
}

impl Source {
    fn module(&self) -> String {
        let below = self.path.strip_prefix("src").unwrap_or(&self.path);
        let first = below.iter().next().and_then(|part| part.to_str()).unwrap_or_default();
        first.trim_end_matches(".rs").to_owned()
    }

    fn is_generated(&self) -> bool {
        self.path.starts_with(GENERATED) || self.path.ends_with("generated.rs")
    }

    fn is_test(&self) -> bool {
        self.path.file_stem().is_some_and(|stem| stem == "tests") || self.path.iter().any(|part| part == "tests")
    }

    fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path.display(), line(&self.code, at))
    }
}

fn line(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = without_test_modules(&code_alone(&text));
                let path = path.strip_prefix(root).unwrap().to_owned();
                sources.push(Source { path, code, lines: text.lines().count() });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 5, "the sources were not found");
    sources
}

/// Blanks comments and the insides of texts and characters; keeps every line feed and the length.
fn code_alone(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match foreign_to_code(&text[at..], at > 0 && is_word(bytes[at - 1])) {
            Some(len) => at + len,
            None => {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
        };
        code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end;
    }
    code.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b' ');
    String::from_utf8(code).unwrap()
}

/// Length of the comment, text or character at the beginning of `rest`, if there is one.
fn foreign_to_code(rest: &str, inside_word: bool) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, 1));
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    if inside_word {
        return None;
    }
    let prefix = ["br", "cr", "r"].into_iter().find(|prefix| rest.starts_with(prefix))?;
    let hashes = rest[prefix.len()..].bytes().take_while(|byte| *byte == b'#').count();
    let open = prefix.len() + hashes;
    rest[open..].starts_with('"').then(|| {
        let close = format!("\"{}", "#".repeat(hashes));
        rest[open + 1..].find(&close).map_or(rest.len(), |end| open + 1 + end + close.len())
    })
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn quoted(rest: &str, from: usize) -> usize {
    let bytes = rest.as_bytes();
    let mut at = from;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// A character has its closing quote right behind it; a lifetime has none.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        return rest[3..].find('\'').map(|end| 3 + end + 1);
    }
    chars.next().filter(|(_, next)| *next == '\'').map(|(at, _)| at + 1)
}

/// Blanks the block behind every `#[cfg(test)]`; keeps line feeds.
fn without_test_modules(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = item_end(code, start);
        bytes[start..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        from = end;
    }
    String::from_utf8(bytes).unwrap()
}

/// The end of the item that begins at `start`: behind its `;` or its block.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b';' if depth == 0 => return at + 1,
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Every place where `word` stands alone.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).is_some_and(|before| is_word(bytes[before]));
        let behind = bytes.get(at + word.len()).is_some_and(|byte| is_word(*byte));
        !before && !behind
    })
}

/// The names that a path prefix such as `crate::` leads to, braces included: `crate::{a, b::c}` gives `a` and `b`.
fn names_behind(code: &str, prefix_end: usize) -> Vec<String> {
    let rest = code[prefix_end..].trim_start();
    let Some(rest) = rest.strip_prefix("::").map(str::trim_start) else { return Vec::new() };
    let Some(list) = rest.strip_prefix('{') else { return leading_word(rest).into_iter().collect() };
    let (mut depth, mut names, mut fresh) = (0, Vec::new(), true);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => break,
            b'}' => depth -= 1,
            b',' if depth == 0 => fresh = true,
            _ if fresh && is_word(byte) => {
                names.extend(leading_word(&list[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn leading_word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// Where `super::super::…` leads, when it leaves the file's own top module: the names behind it are modules then.
fn supers_crossing(source: &Source) -> Vec<(usize, String)> {
    let own_depth = module_depth(&source.path);
    let mut found = Vec::new();
    let mut behind = 0;
    for at in words(&source.code, "super") {
        if at < behind {
            continue;
        }
        let (mut end, mut climbs) = (at, 0);
        while source.code[end..].starts_with("super") {
            (end, climbs) = (end + "super".len(), climbs + 1);
            if source.code[end..].starts_with("::super") {
                end += 2;
            }
        }
        behind = end;
        if climbs >= own_depth + inline_depth(&source.code, at) {
            found.extend(names_behind(&source.code, end).into_iter().map(|name| (at, name)));
        }
    }
    found
}

/// How many modules lie between the file's items and the crate: `src/a/mod.rs` and `src/a.rs` 1, `src/a/b.rs` 2.
fn module_depth(path: &Path) -> usize {
    let parts = path.strip_prefix("src").unwrap_or(path).iter().count();
    if path.file_stem().is_some_and(|stem| stem == "mod") { parts - 1 } else { parts }
}

/// How many `mod x { }` blocks stand around a place.
fn inline_depth(code: &str, at: usize) -> usize {
    let opened = words(code, "mod").take_while(|start| *start < at).filter(|start| {
        let head = code[*start..].find(['{', ';']).map(|end| start + end);
        head.is_some_and(|head| code.as_bytes()[head] == b'{' && head < at && item_end(code, *start) > at)
    });
    opened.count()
}

fn layer_of(module: &str) -> &'static Layer {
    LAYERS
        .iter()
        .find(|layer| layer.module == module)
        .unwrap_or_else(|| panic!("the module {module} is not in the table of layers"))
}

/// All edges of a file to modules of this package: `crate::x`, `super::` across modules, and `tsdb_ark::x` in the binary.
fn edges(source: &Source) -> Vec<(usize, String)> {
    let mut edges = supers_crossing(source);
    for root in ["crate", "tsdb_ark"] {
        for at in words(&source.code, root) {
            edges.extend(names_behind(&source.code, at + root.len()).into_iter().map(|name| (at, name)));
        }
    }
    edges.retain(|(_, name)| name != "self");
    edges
}

/// All uses of guarded crates: `name::`, `use name;`, and `::name`.
fn foreign(source: &Source) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for name in GUARDED {
        for (at, _) in source.code.match_indices(name) {
            if starts_foreign_path(&source.code, at, name) {
                found.push((at, *name));
            }
        }
    }
    for at in words(&source.code, "thread") {
        let before = &source.code[..at];
        let in_std =
            before.ends_with("std::") || before.rfind("use std::{").is_some_and(|open| !before[open..].contains(';'));
        if in_std {
            // Waiting before another try is no thread of one's own.
            let name = if source.code[at..].starts_with("thread::sleep") { "thread::sleep" } else { "std::thread" };
            found.push((at, name));
        }
    }
    found
}

/// True when the path that stands at `at` begins with the crate `name` (or, for `arrow`, a crate named `arrow_…`).
fn starts_foreign_path(code: &str, at: usize, name: &str) -> bool {
    let before = &code[..at];
    let end = at + code[at..].bytes().take_while(|byte| is_word(*byte)).count();
    let whole = &code[at..end];
    let same = whole == name || (name == "arrow" && whole.starts_with("arrow_"));
    let word_starts = !before.bytes().next_back().is_some_and(is_word);
    // Behind `x::` it is an item of something else; `::x` with nothing before is the crate again.
    let inner =
        before.strip_suffix("::").is_some_and(|head| head.bytes().next_back().is_some_and(|b| is_word(b) || b == b'>'));
    let leads_on = code[end..].starts_with("::");
    let imported = before.trim_end().ends_with("use") && code[end..].trim_start().starts_with([';', ' ', 'a']);
    same && word_starts && !inner && (leads_on || imported)
}

/// Functions with the line where they begin and their number of lines.
fn functions(source: &Source) -> Vec<(usize, usize)> {
    let code = &source.code;
    let starts = words(code, "fn").filter(|at| leading_word(code[at + 2..].trim_start()).is_some());
    let bodies = starts.filter_map(|at| {
        let head = at + code[at..].find(['{', ';'])?;
        (code.as_bytes()[head] == b'{').then(|| (line(code, at), line(code, item_end(code, head)) - line(code, at) + 1))
    });
    bodies.collect()
}

fn report(title: &str, faults: &BTreeSet<String>) {
    let list: Vec<&str> = faults.iter().map(String::as_str).collect();
    assert!(faults.is_empty(), "{title}\n  {}", list.join("\n  "));
}

/// What `flow` hands on from its rooms: the name of each item and its room.
fn handed_on(code: &str) -> Vec<(String, String)> {
    let mut items = Vec::new();
    for at in words(code, "pub use") {
        let path = code[at + "pub use".len()..].split(';').next().unwrap();
        let Some((room, rest)) = path.trim().split_once("::") else { continue };
        let names = rest.rsplit("::").next().unwrap().trim_matches(['{', '}']);
        items.extend(names.split(',').map(|name| (name.trim().to_owned(), room.to_owned())));
    }
    items
}

#[test]
fn rooms_need_only_what_they_may() {
    let sources = sources();
    let flow = sources.iter().find(|source| source.path == Path::new("src/flow/mod.rs")).unwrap();
    let handed_on = handed_on(&flow.code);
    let room_of =
        |name: &str| handed_on.iter().find(|(item, _)| item == name).map_or(name, |(_, room)| room).to_owned();
    let (mut wrong, mut seen) = (BTreeSet::new(), 0);
    for source in sources.iter().filter(|source| source.path.starts_with("src/flow/") && !source.is_test()) {
        let below = source.path.strip_prefix("src/flow").unwrap();
        let own = below.iter().next().unwrap().to_str().unwrap();
        let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == own) else { continue };
        for at in words(&source.code, "crate::flow") {
            for name in names_behind(&source.code, at + "crate::flow".len()) {
                let room = room_of(&name);
                seen += 1;
                let is_room = ROOMS.iter().any(|(other, _)| *other == room);
                if is_room && room != own && !allowed.contains(&room.as_str()) {
                    wrong.insert(format!("{}: {own} may not need {room} ({name})", source.place(at)));
                }
            }
        }
    }
    assert!(seen > 100, "the edges were not found");
    report("rooms", &wrong);
}

#[test]
fn modules_import_lower_ones_only() {
    let mut faults = BTreeSet::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let module = source.module();
        let layer = layer_of(&module);
        for (at, name) in edges(source) {
            let item_of_root = !LAYERS.iter().any(|layer| layer.module == name);
            if name != module && !item_of_root && !layer.imports.contains(&name.as_str()) {
                faults.insert(format!("{}: {module} imports {name}", source.place(at)));
            }
        }
    }
    report("a module imports one that is not below it:", &faults);
}

#[test]
fn foreign_crates_enter_by_their_doors() {
    let mut faults = BTreeSet::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let module = source.module();
        for (at, name) in foreign(source) {
            if !layer_of(&module).doors.contains(&name) {
                faults.insert(format!("{}: {module} uses {name}", source.place(at)));
            }
        }
    }
    report("a foreign crate is used outside its door:", &faults);
}

#[test]
fn unsafe_stands_in_generated_code_only() {
    let mut faults = BTreeSet::new();
    for source in sources().iter().filter(|source| !source.is_generated()) {
        faults.extend(words(&source.code, "unsafe").map(|at| source.place(at)));
    }
    report("unsafe:", &faults);
}

#[test]
fn files_and_functions_are_short() {
    let mut faults = BTreeSet::new();
    for source in sources().iter().filter(|source| !source.is_generated()) {
        let path = source.path.display();
        if source.lines > FILE_LINES {
            faults.insert(format!("{path}: {} lines, {FILE_LINES} is the limit", source.lines));
        }
        let long = functions(source).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES);
        faults.extend(
            long.map(|(at, lines)| format!("{path}:{at}: a function of {lines} lines, {FUNCTION_LINES} is the limit")),
        );
    }
    report("too long:", &faults);
}

/// The reader of sources itself, on texts where a naive one goes wrong.
mod reader {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        let code = without_test_modules(&code_alone(text));
        Source { path: path.into(), code, lines: text.lines().count() }
    }

    fn names(source: &Source) -> Vec<String> {
        edges(source).into_iter().map(|(_, name)| name).collect()
    }

    fn crates(text: &str) -> Vec<&'static str> {
        foreign(&source("src/a/b.rs", text)).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn comments_and_texts_are_no_code() {
        let text = "// crate::a\n/* crate::b /* */ crate::c */ let x = \"crate::d \\\" crate::e\"; r#\"crate::f\"#; '\"'; crate::g";
        assert_eq!(names(&source("src/a/b.rs", text)), ["g"]);
        assert_eq!(code_alone(text).len(), text.len());
        assert_eq!(names(&source("src/a/b.rs", "fn f<'a>(x: &'a str) { '\\''; b'\"'; crate::g::h() }")), ["g"]);
    }

    #[test]
    fn test_modules_do_not_count_and_what_follows_does() {
        let text = "use crate::a;\n#[cfg(test)]\nmod tests { fn f() { crate::b } }\nfn g() { crate::c::d() }";
        assert_eq!(names(&source("src/a/b.rs", text)), ["a", "c"]);
        assert_eq!(names(&source("src/a/b.rs", "#[cfg(test)]\nmod tests;\nuse crate::c;")), ["c"]);
    }

    #[test]
    fn lists_and_paths_in_expressions_are_edges() {
        assert_eq!(
            names(&source("src/a/b.rs", "use crate::{flow::{x, y}, model, store::z};")),
            ["flow", "model", "store"]
        );
        assert_eq!(names(&source("src/cli/x.rs", "tsdb_ark::cluster::Client::new()")), ["cluster"]);
    }

    #[test]
    fn super_counts_where_it_leaves_the_module() {
        assert_eq!(names(&source("src/a/mod.rs", "use super::flow::x;")), ["flow"]);
        assert_eq!(names(&source("src/a/b.rs", "use super::c; use super::super::flow;")), ["flow"]);
        assert_eq!(names(&source("src/a/mod.rs", "mod i { use super::x; use super::super::flow; }")), ["flow"]);
    }

    #[test]
    fn foreign_crates_are_seen_in_every_spelling() {
        let found = crates("use tokio::sync::X; fn f() { ::clap::x() } use anyhow;");
        assert_eq!(found, ["tokio", "clap", "anyhow"]);
        assert_eq!(crates("use arrow_array::Array;"), ["arrow"]);
        assert_eq!(crates("std::thread::spawn(x); use std::{thread, fmt};"), ["std::thread", "std::thread"]);
        assert_eq!(crates("std::thread::sleep(x);"), ["thread::sleep"]);
        assert_eq!(crates("let thrift = self.thrift; FileKind::parquet::x; crate::toml::y; my_tokio::z"), [""; 0]);
    }

    #[test]
    fn functions_are_measured() {
        let text = "trait T { fn a(); }\nfn b() {\n  {\n  }\n}\nfn c() {}";
        assert_eq!(functions(&source("src/a.rs", text)), [(2, 4), (6, 1)]);
    }
}

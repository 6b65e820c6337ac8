//! Circles of files: files that need each other, however far around. A file that is needed through a name which another
//! file hands on (`pub use`) counts where it is, not where the name was handed on.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, is_word, sources, words};

type Module = Vec<String>;

/// The module that a file is.
fn module(source: &Source) -> Module {
    let below = source.path.strip_prefix("src").unwrap().with_extension("");
    let mut parts: Module = below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// `a::{b, c::{self, d}}` as `a::b`, `a::c`, `a::c::d`; what a name is called from here on is left out.
fn expand(tree: &str) -> Vec<Module> {
    let tree = tree.trim();
    let Some((prefix, list)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        let parts: Module = path.split("::").map(|part| part.trim().to_owned()).collect();
        let itself = parts.len() > 1 && parts.last().is_some_and(|last| last == "self");
        return vec![parts[..parts.len() - usize::from(itself)].to_vec()];
    };
    let list = list.rsplit_once('}').map_or(list, |(list, _)| list);
    let (mut depth, mut start, mut members) = (0_i32, 0, Vec::new());
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                members.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(&list[start..]);
    let members = members.into_iter().filter(|member| !member.trim().is_empty());
    members.flat_map(|member| expand(&format!("{}{}", prefix.trim(), member.trim()))).collect()
}

/// The path from the crate's root, as it stands in a module; `None` for other crates and plain names. A path may begin with
/// one of the module's `children`.
fn from_root(module: &Module, children: &BTreeSet<String>, path: &[String]) -> Option<Module> {
    let (mut base, mut rest) = (module.clone(), path);
    match rest.first().map(String::as_str) {
        Some("crate") => (base, rest) = (Vec::new(), &rest[1..]),
        Some("self") => rest = &rest[1..],
        Some("super") => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        Some(first) if children.contains(first) => {}
        _ => return None,
    }
    Some([base.as_slice(), rest].concat())
}

/// A file, as the finder sees it.
#[derive(Default)]
struct File {
    /// Paths from the root that it needs.
    needs: Vec<Module>,
    /// Names that it hands on, and where they are.
    hands_on: BTreeMap<String, Module>,
}

fn look_at(source: &Source) -> File {
    let (module, code) = (module(source), &source.code);
    let name_behind = |at: usize| code[at..].bytes().take_while(|byte| is_word(*byte)).count();
    let children: BTreeSet<String> = words(code, "mod")
        .map(|at| at + 4)
        .filter(|at| code[at + name_behind(*at)..].starts_with(';'))
        .map(|at| code[at..at + name_behind(at)].to_owned())
        .collect();
    let mut file = File::default();
    let mut plain = code.clone();
    for at in words(code, "use") {
        let Some(len) = code[at..].find(';') else { continue };
        let tree = code[at + 3..at + len].split_whitespace().collect::<Vec<_>>().join(" ");
        let public = code[..at].trim_end().ends_with("pub") || code[..at].trim_end().ends_with(')');
        for path in expand(&tree) {
            let rooted = from_root(&module, &children, &path);
            if public {
                let name = path.last().cloned().unwrap_or_default();
                file.hands_on.insert(name, rooted.unwrap_or_else(|| [module.as_slice(), &path].concat()));
            } else {
                file.needs.extend(rooted);
            }
        }
        plain.replace_range(at..at + len, &" ".repeat(len));
    }
    for start in ["crate", "super"].into_iter().chain(children.iter().map(String::as_str)) {
        for at in words(&plain, start) {
            let end = plain[at..].bytes().take_while(|byte| is_word(*byte) || *byte == b':').count();
            let path: Module = plain[at..at + end].split("::").map(str::to_owned).collect();
            // In a module inside the file `super` is the file.
            if path.len() > 1 && (start != "super" || !has_inline_module(&plain[..at])) {
                file.needs.extend(from_root(&module, &children, &path));
            }
        }
    }
    file
}

/// Whether a module stands in the file itself.
fn has_inline_module(code: &str) -> bool {
    words(code, "mod").any(|at| {
        let name = code[at + 3..].trim_start();
        name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').trim_start().starts_with('{')
    })
}

/// The file that a path leads to.
fn file_of(files: &BTreeMap<Module, File>, path: &[String], depth: usize) -> Option<Module> {
    let len = (0..=path.len()).rev().find(|len| files.contains_key(&path[..*len]))?;
    let module = path[..len].to_vec();
    let handed = path.get(len).and_then(|name| files[&module].hands_on.get(name)).filter(|_| depth < 8);
    handed.and_then(|target| file_of(files, target, depth + 1)).or(Some(module))
}

/// All files that can be reached from one.
fn reached<'a>(edges: &'a BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<&'a Module> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        for next in &edges[module] {
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    found
}

#[test]
fn no_files_stand_in_a_circle() {
    let usual = |source: &&Source| !source.is_generated() && !source.is_test();
    let files: BTreeMap<Module, File> =
        sources().iter().filter(usual).map(|source| (module(source), look_at(source))).collect();
    let edges: BTreeMap<Module, BTreeSet<Module>> = files
        .iter()
        .map(|(module, file)| {
            let needed = file.needs.iter().filter_map(|path| file_of(&files, path, 0));
            (module.clone(), needed.filter(|needed| needed != module).collect())
        })
        .collect();
    assert!(edges.values().map(BTreeSet::len).sum::<usize>() > 300, "the edges were not found");
    let mut circles: BTreeMap<BTreeSet<String>, ()> = BTreeMap::new();
    for module in edges.keys() {
        let around = reached(&edges, module);
        if around.contains(module) {
            let circle = around.into_iter().filter(|other| reached(&edges, other).contains(module));
            circles.insert(circle.map(|module| module.join("::")).collect(), ());
        }
    }
    assert!(circles.is_empty(), "files need each other: {:#?}", circles.keys());
}

#[test]
fn trees_of_names_are_expanded() {
    let paths: Vec<String> = expand("crate::{a, b::{self, c as d}, e::f}").iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["crate::a", "crate::b", "crate::b::c", "crate::e::f"]);
}

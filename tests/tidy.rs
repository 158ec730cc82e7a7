//! Rules of this repository that a machine can check: who may import whom, what every file begins with, which calls are
//! banned, and that ARCHITECTURE.md names every module. A rule that hurts is changed here, with the reason.

#![allow(clippy::unwrap_used)] // a rule that cannot be checked must fail loudly

use std::fs;
use std::path::{Path, PathBuf};

/// The modules, each of which may use only those in the groups before its own, and itself.
const LAYERS: [&[&str]; 13] = [
    &["limits"],
    &["bom", "error", "ids", "log_pace", "log_queue", "text", "thread", "time"],
    &["config"],
    &["model"],
    &["attestation"],
    &["roster"],
    &["row_json"],
    &["api", "event_log", "machine_token"],
    &["store"],
    &["git_branch", "process", "transcript"],
    &["gate"],
    &["compactor", "http", "sweeper", "watcher", "ws"],
    &["daemon", "cli"],
];

/// Modules that must stay pure: no files, sockets, clocks, threads or randomness.
const PURE: [&str; 5] = ["src/limits.rs", "src/model/", "src/roster/", "src/row_json.rs", "src/text"];

/// Spelled in two pieces, so that this file does not hold what it bans.
const SLEEP: &str = concat!("thread::", "sleep");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn sources() -> Vec<(String, String)> {
    let files = rust_files(&root().join("src"));
    assert!(files.len() > 30, "the sources are where they were");
    files.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The code of a file without its test module, comments and string contents that span lines.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_test_file(name: &str) -> bool {
    name.contains("tests")
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The first component of `crate::<module>` imports, braces included.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let group = group.split('}').next().unwrap_or_default();
            found.extend(group.split(',').map(|part| part.trim().split("::").next().unwrap_or_default().to_owned()));
        } else {
            found.push(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
        }
    }
    found.retain(|module| !module.is_empty());
    found
}

#[test]
fn each_module_uses_only_those_below_it() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let module = name.trim_start_matches("src/").split(['/', '.']).next().unwrap().to_owned();
        if module == "lib" || module == "main" || is_test_file(&name) {
            continue;
        }
        let own = layer_of(&module).unwrap_or_else(|| panic!("{module} is not in LAYERS"));
        for import in imports(&code(&text)) {
            let Some(layer) = layer_of(&import) else { panic!("{name} imports {import}, which is not in LAYERS") };
            if import != module && layer >= own && !(layer == own && own == 1) {
                wrong.push(format!("{name} uses {import}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_core_is_pure() {
    let banned =
        ["std::fs", "std::net", "std::io", "std::thread", "Instant", "SystemTime", "Utc::now", "getrandom", "log::"];
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        if PURE.iter().any(|pure| name.starts_with(pure)) && !is_test_file(&name) {
            let code = code(&text);
            wrong.extend(banned.iter().filter(|word| code.contains(**word)).map(|word| format!("{name}: {word}")));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn rows_are_not_their_json() {
    for (name, text) in sources() {
        if name.starts_with("src/model/") || name.starts_with("src/roster/") {
            assert!(!code(&text).contains("serde"), "{name} knows JSON");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut files = rust_files(&root().join("src"));
    files.extend(rust_files(&root().join("tests")));
    files.extend(rust_files(&root().join("scripts")));
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with //!", relative(&path));
    }
}

#[test]
fn banned_calls_do_not_stand_in_the_product() {
    // What clippy.toml bans is not repeated here; these are what it cannot see.
    let banned = ["unbounded(", "unimplemented!(", "todo!(", "dbg!(", "println!(", SLEEP, "process::abort"];
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        if is_test_file(&name) {
            continue;
        }
        let code = code(&text);
        wrong.extend(banned.iter().filter(|call| code.contains(**call)).map(|call| format!("{name}: {call}")));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn tests_neither_sleep_nor_hide() {
    let banned = [SLEEP, concat!("#[", "ignore"), concat!("assert!", "(true)")];
    for path in rust_files(&root().join("tests")) {
        let text = fs::read_to_string(&path).unwrap();
        for call in banned {
            assert!(!text.contains(call), "{}: {call}", relative(&path));
        }
    }
}

#[test]
fn functions_fit_on_a_screen() {
    const LINES_MAX: usize = 70;
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let mut begun: Option<(usize, String, usize)> = None;
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let words = line.trim_start();
            let is_function =
                ["fn ", "pub fn ", "pub(super) fn ", "pub(crate) fn "].iter().any(|p| words.starts_with(p));
            if is_function && begun.is_none() && !words.ends_with(';') {
                begun = Some((number, words.to_owned(), indent));
            }
            if let Some((start, function, depth)) = &begun
                && indent == *depth
                && (words == "}" || (number == *start && words.ends_with('}')))
            {
                if number - start > LINES_MAX {
                    wrong.push(format!("{name}:{}: {function} has {} lines", start + 1, number - start));
                }
                begun = None;
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_source_file_needs_a_table_of_contents() {
    const LINES_MAX: usize = 600;
    let long: Vec<String> = sources()
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(name, lines)| format!("{name}: {lines}"))
        .collect();
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn the_architecture_page_names_every_module() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let missing: Vec<String> = sources()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !is_test_file(name) && !page.contains(name.as_str()))
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "ARCHITECTURE.md must say what these are for");
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let sections = manifest.split("\n[").filter(|section| section.split(']').next().unwrap().ends_with("dependencies"));
    let lines = sections.flat_map(|section| section.lines().skip(1)).filter(|line| line.contains(" = "));
    let silent: Vec<&str> = lines.filter(|line| !line.contains(" # ")).collect();
    assert_eq!(silent, Vec::<&str>::new());
}

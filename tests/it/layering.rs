//! The rules of `docs/architecture.md` about which module may use what. The tables are read from that page.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::support::sources::{Source, repository};

/// Modules of the standard library and crates that do input or output, read a clock or need a runtime.
const IMPURE: &[&str] =
    &["std::fs", "std::net", "std::env", "std::process", "std::time", "tokio", "reqwest", "hyper"];

/// Modules that decide and do nothing else.
const PURE: &[&str] = &["plan"];

/// What decides about batches, and what it must not touch; a duration is no clock.
const POLICY: &[&str] = &["src/serve/batch/policy.rs", "src/serve/batch/estimate.rs"];
const IMPURE_POLICY: &[&str] =
    &["std::fs", "std::net", "std::env", "std::process", "Instant", "SystemTime", "tokio", "hyper"];

/// What reads the environment, `temp_dir` and `home_dir` included: they ask `TMPDIR` and `HOME`.
const READS_ENVIRONMENT: &[&str] =
    &["env::var", "env::var_os", "env::vars", "env::vars_os", "env::temp_dir", "env::home_dir"];

const WRITES_TO_TERMINAL: &[&str] =
    &["print!", "println!", "eprint!", "eprintln!", "io::stdout", "io::stderr"];

const READS_CLOCK: &[&str] = &["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"];

/// Rows of the page's block named `title`: left of the arrow, and the comma-separated names right of it.
fn table(title: &str) -> BTreeMap<String, Vec<String>> {
    let page = fs::read_to_string(repository().join("docs/architecture.md")).expect("the page is there");
    let start =
        page.find(&format!("```text {title}\n")).unwrap_or_else(|| panic!("no block `{title}` on the page"));
    let block = page[start..].split_once('\n').expect("a block starts with a line").1;
    let block = block.split_once("```").expect("a block ends").0;
    block
        .lines()
        .map(|row| {
            let (left, right) = row.split_once('→').unwrap_or_else(|| panic!("no arrow in the row `{row}`"));
            let names = right.split(',').map(str::trim).filter(|name| *name != "nothing").map(str::to_owned);
            (left.trim().to_owned(), names.collect())
        })
        .collect()
}

fn sources() -> Vec<Source> {
    Source::all().into_iter().filter(|source| !source.is_tests()).collect()
}

fn rooms(sources: &[Source]) -> BTreeSet<String> {
    sources.iter().filter_map(Source::room).map(str::to_owned).collect()
}

/// The rows of the table that a source may stand under, the most special first: its module, those around it, its room;
/// for the binaries, the file.
fn rows_of(source: &Source) -> Vec<String> {
    if source.module.is_empty() {
        return vec![source.path.with_extension("").to_string_lossy().into_owned()];
    }
    (1..=source.module.len()).rev().map(|length| source.module[..length].join("::")).collect()
}

#[test]
fn modules_use_only_what_the_table_of_the_architecture_allows() {
    let sources = sources();
    let (rooms, table) = (rooms(&sources), table("modules"));
    let for_all = &table["all"];
    let mut forbidden = Vec::new();
    for source in sources.iter().filter(|source| source.path.as_os_str() != "src/lib.rs") {
        let rows = rows_of(source);
        let row = rows.last().expect("a source has a row");
        let allowed: Vec<&String> =
            rows.iter().filter_map(|row| table.get(row)).flatten().chain(for_all).collect();
        for path in source.named_paths() {
            let Some(room) = path.segments.first().filter(|room| rooms.contains(*room)) else { continue };
            let full = path.segments.join("::");
            let is_allowed = |name: &String| full == *name || full.starts_with(&format!("{name}::"));
            if room != row && !allowed.iter().any(|name| is_allowed(name)) {
                forbidden.push(format!(
                    "{}:{}: `{row}` may not use `{full}`",
                    source.path.display(),
                    path.line
                ));
            }
        }
    }
    assert!(forbidden.is_empty(), "see the table of docs/architecture.md:\n{}", forbidden.join("\n"));
}

#[test]
fn the_table_names_every_module() {
    let table = table("modules");
    let missing: Vec<String> =
        rooms(&sources()).into_iter().filter(|room| !table.contains_key(room)).collect();
    assert_eq!(missing, Vec::<String>::new(), "modules below src/ without a row");
}

#[test]
fn modules_do_not_use_each_other_in_a_circle() {
    let sources = sources();
    let rooms = rooms(&sources);
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in &sources {
        let Some(row) = source.room() else { continue };
        let used = source.named_paths().into_iter().filter_map(|path| path.segments.into_iter().next());
        uses.entry(row.to_owned())
            .or_default()
            .extend(used.filter(|room| rooms.contains(room) && room != row));
    }
    // Takes away, again and again, what uses nothing that is left.
    while let Some(free) = uses.iter().find(|(_, used)| used.is_empty()).map(|(room, _)| room.clone()) {
        uses.remove(&free);
        for used in uses.values_mut() {
            used.remove(&free);
        }
    }
    assert!(uses.is_empty(), "these use each other in a circle: {uses:?}");
}

/// The places outside `allowed` (prefixes of paths) whose code has one of `needles`.
fn places(needles: &[&str], allowed: impl Fn(&Source) -> bool) -> Vec<String> {
    let mut places = Vec::new();
    for source in sources().iter().filter(|source| !allowed(source)) {
        for needle in needles {
            for line in source.lines_with(needle) {
                places.push(format!("{}:{line}: {needle}", source.path.display()));
            }
        }
    }
    places
}

fn is_one_of(source: &Source, paths: &[&str]) -> bool {
    paths.iter().any(|path| source.path.starts_with(path))
}

#[test]
fn planning_touches_no_file_network_runtime_or_clock() {
    let impure = places(IMPURE, |source| !source.room().is_some_and(|room| PURE.contains(&room)));
    assert_eq!(impure, Vec::<String>::new());
}

#[test]
fn the_batching_policy_touches_no_file_network_runtime_or_clock() {
    let impure = places(IMPURE_POLICY, |source| !is_one_of(source, POLICY));
    assert_eq!(impure, Vec::<String>::new());
}

#[test]
fn only_env_reads_the_environment() {
    assert_eq!(places(READS_ENVIRONMENT, |source| is_one_of(source, &["src/env.rs"])), Vec::<String>::new());
}

#[test]
fn only_the_printer_writes_to_the_terminal() {
    let writers = table("terminal");
    let writers: Vec<&str> = writers.values().flatten().map(String::as_str).collect();
    assert_eq!(places(WRITES_TO_TERMINAL, |source| is_one_of(source, &writers)), Vec::<String>::new());
}

#[test]
fn only_build_time_and_serving_read_a_clock() {
    let readers = ["src/build_time.rs", "src/serve"];
    assert_eq!(places(READS_CLOCK, |source| is_one_of(source, &readers)), Vec::<String>::new());
}

#[test]
fn a_wrapped_crate_stays_in_the_module_that_wraps_it() {
    let mut strays = Vec::new();
    for (name, wrappers) in table("crates") {
        let is_wrapper = |source: &Source| rows_of(source).iter().any(|row| wrappers.contains(row));
        strays.extend(places(&[&format!("{name}::")], is_wrapper));
    }
    assert_eq!(strays, Vec::<String>::new());
}

//! The links that packages ask `update-alternatives` for in their scripts.
//!
//! They are the one thing in maintainer scripts whose absence breaks programs: `libblas.so.3` is such a link.

use std::collections::BTreeMap;

use crate::oci::tree::{Entry, Owner, Tree, TreeError};

/// Where the choice among alternatives is kept.
const DIRECTORY: &str = "etc/alternatives";

/// A name with one of the files that can stand behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alternative {
    link: String,
    name: String,
    path: String,
    priority: i64,
    slaves: Vec<(String, String, String)>,
}

/// Reads the literal `update-alternatives --install` commands of a script; `None` stands for one with variables.
pub(super) fn parse(script: &str) -> Vec<Option<Alternative>> {
    let joined = script.replace("\\\n", " ");
    let commands = joined.lines().filter(|line| !line.trim_start().starts_with('#'));
    let calls = commands.filter_map(|line| {
        let (_, call) = line.split_once("update-alternatives")?;
        let (_, arguments) = call.split_once("--install")?;
        Some(alternative(arguments.split([';', '&', '|']).next().unwrap_or_default()))
    });
    calls.collect()
}

fn alternative(arguments: &str) -> Option<Alternative> {
    let words: Vec<String> =
        arguments.split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned()).collect();
    if words.iter().any(|word| word.contains(['$', '`'])) {
        return None;
    }
    let [link, name, path, priority, rest @ ..] = words.as_slice() else { return None };
    let slave = |chunk: &[String]| match chunk {
        [option, link, name, path] if option == "--slave" => Some((link.clone(), name.clone(), path.clone())),
        _ => None,
    };
    Some(Alternative {
        link: link.clone(),
        name: name.clone(),
        path: path.clone(),
        priority: priority.parse().ok()?,
        slaves: rest.chunks(4).map_while(slave).collect(),
    })
}

/// Puts the links of the best alternatives into the tree, as far as the tree has the files.
pub(super) fn link(tree: &mut Tree, alternatives: Vec<Alternative>) -> Result<(), TreeError> {
    let mut best: BTreeMap<String, Alternative> = BTreeMap::new();
    for alternative in alternatives {
        let is_better =
            |known: &Alternative| (alternative.priority, &known.path) > (known.priority, &alternative.path);
        if has(tree, &alternative.path) && best.get(&alternative.name).is_none_or(is_better) {
            best.insert(alternative.name.clone(), alternative);
        }
    }
    for alternative in best.into_values() {
        let master = (alternative.link, alternative.name, alternative.path);
        for (link, name, path) in std::iter::once(master).chain(alternative.slaves) {
            let place = merged(&link);
            if has(tree, &path) && tree.get(&place).is_none() {
                let choice = format!("{DIRECTORY}/{name}");
                tree.insert(&place, Entry::symlink(format!("/{choice}"), Owner::ROOT))?;
                tree.insert(&choice, Entry::symlink(path, Owner::ROOT))?;
            }
        }
    }
    Ok(())
}

fn has(tree: &Tree, path: &str) -> bool {
    tree.get(&merged(path)).is_some()
}

/// The path in a tree whose `/bin` and so on are links into `/usr`.
fn merged(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    if super::unpack::MERGED.contains(&first) { format!("usr/{path}") } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::tree::EntryKind;

    const SCRIPT: &str = "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n  update-alternatives --quiet \\\n\
        \t--install /usr/bin/awk awk /usr/bin/mawk 5 \\\n\
        \t--slave /usr/share/man/man1/awk.1.gz awk.1.gz /usr/share/man/man1/mawk.1.gz \\\n\
        \t--slave /usr/bin/nawk nawk /usr/bin/mawk\nfi\n# update-alternatives --install /x x /y 1\n\
        update-alternatives --install /lib/x \"x-$ARCH\" /usr/lib/x 1 || true\n";

    #[test]
    fn literal_calls_are_read() {
        let found = parse(SCRIPT);
        assert_eq!(found.len(), 2);
        let awk = found[0].as_ref().unwrap();
        assert_eq!((awk.link.as_str(), awk.priority, awk.slaves.len()), ("/usr/bin/awk", 5, 2));
        assert_eq!(found[1], None);
    }

    #[test]
    fn the_best_alternative_that_is_there_wins() {
        let mut tree = Tree::new();
        for path in ["usr/bin/mawk", "usr/bin/other"] {
            tree.insert(path, Entry::file(String::new().into(), 0o755, Owner::ROOT)).unwrap();
        }
        let mut all: Vec<_> = parse(SCRIPT).into_iter().flatten().collect();
        for (path, priority) in [("/usr/bin/other", 1), ("/bin/missing", 9)] {
            all.push(Alternative { path: path.to_owned(), priority, slaves: Vec::new(), ..all[0].clone() });
        }
        link(&mut tree, all).unwrap();
        let target = |path: &str| match &tree.get(path).unwrap().kind {
            EntryKind::Symlink(target) => target.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(target("usr/bin/awk"), "/etc/alternatives/awk");
        assert_eq!(target("etc/alternatives/awk"), "/usr/bin/mawk");
        assert_eq!(target("usr/bin/nawk"), "/etc/alternatives/nawk");
        assert!(tree.get("usr/share/man/man1/awk.1.gz").is_none());
    }
}

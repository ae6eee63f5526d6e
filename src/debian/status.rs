//! dpkg's database in the tree, so that scanners and later installations know what is there.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::control::{Stanza, stanzas};
use super::error::Error;
use super::lock::Lock;
use super::unpack::Unpacked;
use crate::oci::tree::{Entry, Owner, Tree, TreeError};

/// The database's directory.
const DIRECTORY: &str = "var/lib/dpkg";

/// Adds the packages to the database that begins as `base`.
pub(super) fn add(tree: &mut Tree, base: &str, lock: &Lock, packages: &[Unpacked]) -> Result<(), Error> {
    let text = status(base, packages);
    let mut files = vec![("status".to_owned(), text)];
    for (package, unpacked) in lock.packages.iter().zip(packages) {
        let is_shared = Stanza::first(&unpacked.control.stanza)
            .and_then(|stanza| stanza.field("Multi-Arch"))
            .is_some_and(|value| value == "same");
        let name = if is_shared {
            format!("{}:{}", package.name, package.architecture)
        } else {
            package.name.clone()
        };
        files.push((format!("info/{name}.list"), list(unpacked)));
        if let Some(md5sums) = &unpacked.control.md5sums {
            files.push((format!("info/{name}.md5sums"), md5sums.clone()));
        }
    }
    for (name, text) in files {
        let inserted =
            tree.insert(&format!("{DIRECTORY}/{name}"), Entry::file(text.into(), 0o644, Owner::ROOT));
        inserted.map_err(|source: TreeError| Error::Unpack { package: name, source: source.into() })?;
    }
    Ok(())
}

/// The stanzas of `base` that are not replaced, then those of the packages.
fn status(base: &str, packages: &[Unpacked]) -> String {
    let key = |stanza: Stanza<'_>| {
        let field = |name| stanza.field(name).unwrap_or_default().to_owned();
        (field("Package"), field("Architecture"))
    };
    let added: BTreeSet<_> =
        packages.iter().filter_map(|unpacked| Stanza::first(&unpacked.control.stanza)).map(key).collect();
    let mut text = String::new();
    for stanza in stanzas(base).filter(|stanza| !added.contains(&key(*stanza))) {
        writeln!(text, "{}\n", stanza.text().trim_end()).expect("writing to a string never fails");
    }
    for unpacked in packages {
        let stanza = unpacked.control.stanza.trim();
        let (first, rest) = stanza.split_once('\n').unwrap_or((stanza, ""));
        writeln!(text, "{first}\nStatus: install ok installed\n{rest}\n")
            .expect("writing to a string never fails");
    }
    text
}

/// The paths of a package, the root first, as dpkg lists them.
fn list(unpacked: &Unpacked) -> String {
    unpacked.entries.iter().fold("/.\n".to_owned(), |mut text, (path, _)| {
        writeln!(text, "/{path}").expect("writing to a string never fails");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::deb::Control;
    use crate::debian::installed;

    #[test]
    fn replaced_packages_appear_once() {
        let base = "Package: aa\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n\
                    Package: bb\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n";
        let stanza = "Package: bb\nArchitecture: all\nVersion: 2\nDescription: x\n y\n".to_owned();
        let control = Control { stanza, ..Control::default() };
        let text = status(base, &[Unpacked { control, entries: Vec::new() }]);
        let found = installed(&text);
        let versions: Vec<_> = found.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
        assert_eq!(versions, ["aa 1", "bb 2"]);
    }
}

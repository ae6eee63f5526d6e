//! Finds what packages need: the first alternative of each dependency, as far as it is not there already.
//!
//! A suite has one current version of each package, so this needs no search: what Debian's own release checks keep
//! installable, the first alternatives fulfil. Conflicts are not looked at for the same reason.

use std::collections::{BTreeMap, VecDeque};

use super::error::Error;
use super::index::{Candidate, Index};
use super::lock::Lock;
use super::relation::{self, Dependency, Operator, Relation};
use super::request::{Installed, Request};

/// Packages that only maintainer scripts use. Scripts are not run, so these are left out unless they are asked for.
const SCRIPT_TOOLS: [&str; 10] = [
    "adduser",
    "cdebconf",
    "debconf",
    "debconf-2.0",
    "dpkg",
    "init-system-helpers",
    "install-info",
    "libdebconfclient0",
    "sensible-utils",
    "ucf",
];
/// Dependencies (`PACKAGE`, `NEEDS`) that only the package's own maintenance has: `base-files` uses awk and
/// `ca-certificates` uses openssl in their scripts; `update-passwd` is what uses `libselinux1`; readline's common
/// files are an example of a configuration.
const SCRIPT_NEEDS: [(&str, &str); 6] = [
    ("base-files", "awk"),
    ("base-passwd", "libselinux1"),
    ("ca-certificates", "openssl"),
    ("dash", "debianutils"),
    ("libreadline8", "readline-common"),
    ("libreadline8t64", "readline-common"),
];

/// Resolves a request with the packages of its suite.
pub(super) fn resolve(request: &Request, index: &Index) -> Result<Lock, Error> {
    let mut closure = Closure::new(request, index);
    for package in &request.packages {
        closure.root(package)?;
    }
    while let Some(name) = closure.pending.pop_front() {
        let depends = closure.chosen[&name].depends.clone();
        for dependency in &depends {
            closure.fulfil(&name, dependency)?;
        }
    }
    let packages = closure.chosen.into_values().map(|candidate| candidate.package).collect();
    Ok(Lock::new(&request.suite, request.architecture, packages))
}

struct Closure<'a> {
    request: &'a Request,
    index: &'a Index,
    installed: BTreeMap<&'a str, &'a Installed>,
    chosen: BTreeMap<String, Candidate>,
    pending: VecDeque<String>,
}

impl<'a> Closure<'a> {
    fn new(request: &'a Request, index: &'a Index) -> Self {
        let installed = request.installed.iter().map(|package| (package.name.as_str(), package)).collect();
        Self { request, index, installed, chosen: BTreeMap::new(), pending: VecDeque::new() }
    }

    /// Chooses a package that was asked for by name.
    fn root(&mut self, text: &str) -> Result<(), Error> {
        let (name, version) = match text.split_once('=') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        if !relation::is_name(name) || version.is_some_and(str::is_empty) {
            return Err(Error::PackageName { text: text.to_owned() });
        }
        let constraint = version.map(|version| (Operator::Equal, version.to_owned()));
        let wanted = Relation { name: name.to_owned(), qualifier: None, constraint };
        if self.is_there(&wanted) {
            return Ok(());
        }
        match (self.index.candidates(name)?.is_empty(), self.index.providers(name)) {
            (false, _) => match self.real(&wanted)? {
                Some(candidate) => self.choose(candidate),
                None => return Err(self.unsatisfiable("request", &Dependency(vec![wanted]))?),
            },
            (true, [provider]) => return self.root(&provider.clone()),
            (true, providers) => return Err(self.unknown(name, providers)),
        }
        Ok(())
    }

    fn fulfil(&mut self, package: &str, dependency: &Dependency) -> Result<(), Error> {
        let Dependency(alternatives) = dependency;
        let is_left_out = |relation: &Relation| is_left_out(package, &relation.name);
        if alternatives.iter().any(|relation| is_left_out(relation) || self.is_there(relation)) {
            return Ok(());
        }
        for relation in alternatives {
            if let Some(candidate) = self.real(relation)? {
                self.choose(candidate);
                return Ok(());
            }
            if let Some(candidate) = self.provider(relation)? {
                self.choose(candidate);
                return Ok(());
            }
        }
        Err(self.unsatisfiable(package, dependency)?)
    }

    /// Whether something chosen or installed fulfils this.
    fn is_there(&self, relation: &Relation) -> bool {
        if let Some(candidate) = self.chosen.get(&relation.name) {
            return relation.accepts(&candidate.package.version);
        }
        if self.installed.get(relation.name.as_str()).is_some_and(|found| relation.accepts(&found.version)) {
            return true;
        }
        let chosen = self.chosen.values().flat_map(|candidate| &candidate.provides);
        let installed = self.installed.values().flat_map(|package| &package.provides);
        chosen.chain(installed).any(|provided| {
            provided.name == relation.name && relation.accepts_provided(provided.version.as_deref())
        })
    }

    /// The package of that name that fulfils this.
    fn real(&self, relation: &Relation) -> Result<Option<Candidate>, Error> {
        if !relation.fits(self.request.architecture.name()) || self.chosen.contains_key(&relation.name) {
            return Ok(None);
        }
        let candidates = self.index.candidates(&relation.name)?;
        Ok(candidates.into_iter().find(|candidate| relation.accepts(&candidate.package.version)))
    }

    /// The first package, by name, that stands for the virtual one of that name.
    fn provider(&self, relation: &Relation) -> Result<Option<Candidate>, Error> {
        for name in self.index.providers(&relation.name) {
            let candidate = self.index.candidates(name)?.into_iter().next();
            let fulfils = |candidate: &Candidate| {
                candidate.provides.iter().any(|provided| {
                    provided.name == relation.name && relation.accepts_provided(provided.version.as_deref())
                })
            };
            if let Some(candidate) = candidate.filter(fulfils) {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    fn choose(&mut self, candidate: Candidate) {
        let name = candidate.package.name.clone();
        if self.chosen.insert(name.clone(), candidate).is_none() {
            self.pending.push_back(name);
        }
    }

    fn unknown(&self, name: &str, providers: &[String]) -> Error {
        let suggestions = if providers.is_empty() { self.index.similar(name) } else { providers.to_vec() };
        Error::UnknownPackage {
            name: name.to_owned(),
            suite: self.request.suite.clone(),
            architecture: self.request.architecture.name(),
            suggestions,
        }
    }

    fn unsatisfiable(&self, package: &str, dependency: &Dependency) -> Result<Error, Error> {
        let mut found = Vec::new();
        for relation in &dependency.0 {
            let versions = self.index.candidates(&relation.name)?;
            found
                .extend(versions.iter().map(|one| format!("`{}` {}", one.package.name, one.package.version)));
        }
        Ok(Error::Unsatisfiable {
            package: package.to_owned(),
            dependency: dependency.to_string(),
            found: (!found.is_empty()).then(|| found.join(", ")),
        })
    }
}

fn is_left_out(package: &str, needed: &str) -> bool {
    SCRIPT_TOOLS.contains(&needed) || SCRIPT_NEEDS.contains(&(package, needed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::index::keep;
    use crate::debian::request::{Architecture, Provided};

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn index(packages: &str) -> Index {
        let stanza = |line: &str| {
            let (head, rest) = line.split_once(';').unwrap_or((line, ""));
            let (name, version) = head.trim().split_once(' ').unwrap();
            format!(
                "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}.deb\nSize: 0\n\
                 SHA256: {EMPTY}\n{}\n\n",
                rest.trim().replace("; ", "\n")
            )
        };
        let list: String = packages.trim().lines().map(stanza).collect();
        let mut kept = String::new();
        keep("stable", &list, &mut kept);
        Index::parse(kept).unwrap()
    }

    fn request(packages: &[&str]) -> Request {
        Request {
            suite: "stable".to_owned(),
            architecture: Architecture::Amd64,
            packages: packages.iter().map(ToString::to_string).collect(),
            installed: Vec::new(),
        }
    }

    fn names(request: &Request, index: &Index) -> Vec<String> {
        let lock = resolve(request, index).unwrap();
        lock.packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect()
    }

    #[test]
    fn the_closure_takes_first_alternatives_and_providers() {
        let index = index(
            "app 1; Depends: missing | lib-a (>= 2), virtual, dpkg\nlib-a 2; Pre-Depends: libc:any\n\
             libc 9\nprov-b 1; Provides: virtual\nprov-a 1; Provides: virtual (= 3)\nother 1",
        );
        assert_eq!(names(&request(&["app"]), &index), ["app 1", "lib-a 2", "libc 9", "prov-a 1"]);
    }

    #[test]
    fn what_is_chosen_or_installed_is_preferred() {
        let index = index(
            "app 1; Depends: lib-a | lib-b, virt\nlib-a 1\nlib-b 1\nprov 1; Provides: virt\nawk-x 1; Provides: virt",
        );
        assert_eq!(names(&request(&["lib-b", "prov", "app"]), &index), ["app 1", "lib-b 1", "prov 1"]);
        let provides = vec![Provided { name: "virt".to_owned(), version: None }];
        let base = Installed { name: "lib-a".to_owned(), version: "0".to_owned(), provides };
        let on_top = Request { installed: vec![base], ..request(&["app"]) };
        assert_eq!(names(&on_top, &index), ["app 1"]);
    }

    #[test]
    fn an_installed_package_that_is_too_old_is_replaced() {
        let index = index("app 1; Depends: libc (>= 2)\nlibc 2");
        let base = Installed { name: "libc".to_owned(), version: "1".to_owned(), provides: Vec::new() };
        let on_top = Request { installed: vec![base], ..request(&["app"]) };
        assert_eq!(names(&on_top, &index), ["app 1", "libc 2"]);
    }

    #[test]
    fn tools_of_scripts_come_only_when_asked_for() {
        let index = index("ca-certificates 1; Depends: openssl, debconf | debconf-2.0\nopenssl 3\ndebconf 1");
        assert_eq!(names(&request(&["ca-certificates"]), &index), ["ca-certificates 1"]);
        assert_eq!(
            names(&request(&["ca-certificates", "openssl"]), &index),
            ["ca-certificates 1", "openssl 3"]
        );
    }

    #[test]
    fn versions_can_be_asked_for() {
        let index = index("app 1\napp 2");
        assert_eq!(names(&request(&["app"]), &index), ["app 2"]);
        assert_eq!(names(&request(&["app=1"]), &index), ["app 1"]);
        let error = resolve(&request(&["app=3"]), &index).unwrap_err();
        assert_eq!(
            error.to_string(),
            "package `request` needs `app (= 3)`, and the suite has `app` 2, `app` 1"
        );
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let index = index("app 1; Depends: lib (>= 2)\nlib 1\nx-a 1; Provides: virt\nx-b 1; Provides: virt");
        let error = resolve(&request(&["app"]), &index).unwrap_err();
        assert_eq!(error.to_string(), "package `app` needs `lib (>= 2)`, and the suite has `lib` 1");
        let error = resolve(&request(&["virt"]), &index).unwrap_err();
        let expected = "there is no package `virt` in `stable` for `amd64`; there is `x-a`, `x-b`";
        assert_eq!(error.to_string(), expected);
        let error = resolve(&request(&["../x"]), &index).unwrap_err();
        assert!(matches!(error, Error::PackageName { .. }), "{error}");
    }
}

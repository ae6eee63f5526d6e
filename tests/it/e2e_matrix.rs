//! The interop matrix: {models, bentos} × {created by upstream, created by ekiben} × {listed, got, exported, imported,
//! deleted, pushed, pulled} by the other tool, and what is there afterwards.
//!
//! Upstream is the real package. All that it does is done first, a process for each home, by [`World::prepare`]; the cells
//! then look at what came of it, and have ekiben do its part.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ekiben::archive::{Input, Limits, unpack};
use ekiben::report::{Interrupt, Silent};
use serde_json::{Value, json};

use crate::cloud::tree;
use crate::support::cloud_server::{CloudServer, Way};
use crate::support::command::Command;
use crate::support::context::TestContext;
use crate::support::upstream::{Answers, Steps};

use Kind::{Bentos, Models};
use Tool::{Ekiben, Upstream};
use Verb::{Deleted, Exported, Got, Imported, Listed, Pulled, Pushed};

/// A check of what one tool makes of the things of the other.
type Check = fn(&World, Kind);

/// Kind, creator, what the other tool does with it, and whether that is so.
const CELLS: [(Kind, Tool, Verb, Check); 28] = [
    (Models, Upstream, Listed, ekiben_lists),
    (Models, Upstream, Got, ekiben_gets),
    (Models, Upstream, Exported, ekiben_exports),
    (Models, Upstream, Imported, ekiben_imports),
    (Models, Upstream, Deleted, ekiben_deletes),
    (Models, Upstream, Pushed, ekiben_pushes),
    (Models, Upstream, Pulled, ekiben_pulls),
    (Models, Ekiben, Listed, upstream_lists),
    (Models, Ekiben, Got, upstream_gets),
    (Models, Ekiben, Exported, upstream_exports),
    (Models, Ekiben, Imported, upstream_imports),
    (Models, Ekiben, Deleted, upstream_deletes),
    (Models, Ekiben, Pushed, upstream_pushes),
    (Models, Ekiben, Pulled, upstream_pulls),
    (Bentos, Upstream, Listed, ekiben_lists),
    (Bentos, Upstream, Got, ekiben_gets),
    (Bentos, Upstream, Exported, ekiben_exports),
    (Bentos, Upstream, Imported, ekiben_imports),
    (Bentos, Upstream, Deleted, ekiben_deletes),
    (Bentos, Upstream, Pushed, ekiben_pushes),
    (Bentos, Upstream, Pulled, ekiben_pulls),
    (Bentos, Ekiben, Listed, upstream_lists),
    (Bentos, Ekiben, Got, upstream_gets),
    (Bentos, Ekiben, Exported, upstream_exports),
    (Bentos, Ekiben, Imported, upstream_imports),
    (Bentos, Ekiben, Deleted, upstream_deletes),
    (Bentos, Ekiben, Pushed, upstream_pushes),
    (Bentos, Ekiben, Pulled, upstream_pulls),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Models,
    Bentos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    Upstream,
    Ekiben,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Listed,
    Got,
    Exported,
    Imported,
    Deleted,
    Pushed,
    Pulled,
}

const KINDS: [Kind; 2] = [Models, Bentos];
const TOOLS: [Tool; 2] = [Upstream, Ekiben];
const VERBS: [Verb; 7] = [Listed, Got, Exported, Imported, Deleted, Pushed, Pulled];

/// The model that the bentos use.
const USED: &str = "used:v1";
/// File names by which both tools choose the forms of archives; upstream's own form has a suffix for each kind.
const FORMS: [&str; 6] = ["native", "tar", "gz", "xz", "bz2", "zip"];
/// More than one part of an upload in parts. Both tools have 100 MiB, in constants that no setting changes.
const MORE_THAN_A_PART: u64 = (100 << 20) + 12_345;
/// The ways of transfers, and what is sent on them: the large ones in parts.
const WAYS: [(&str, Way, bool); 3] =
    [("proxy", Way::Proxy, false), ("single", Way::Single, false), ("parts", Way::Parts, true)];

/// Path, content and mode of everything in a directory.
type Tree = Vec<(String, Vec<u8>, u32)>;

const SERVICE: &str = "import bentoml\n\n\n@bentoml.service\nclass Service:\n    used = bentoml.models.BentoModel(\"used:latest\")\n\n    \
                       @bentoml.api\n    def predict(self, text: str) -> str:\n        return text\n";
const LARGE_SERVICE: &str = "import bentoml\n\n\n@bentoml.service\nclass Large:\n    @bentoml.api\n    \
                             def predict(self, text: str) -> str:\n        return text\n";

/// What upstream makes of its models.
const UPSTREAM_MODELS: &str = r"
import bentoml, pathlib, shutil
def make(tag, files, **more):
    with bentoml.models.create(tag, **more) as model:
        shutil.copytree(files, model.path, dirs_exist_ok=True)
more = dict(module='bentoml.sklearn', labels={'a': 'b', 'yes': 'no'}, metadata={'acc': 0.5, 'tags': [1, 'x']},
            signatures={'predict': {'batchable': True, 'batch_dim': 0}})
make('used:v1', 'files', **more)
make('m:v1', 'files', **more)
make('m:v2', 'files', **more)
make('large:v1', 'large')
";

impl Kind {
    fn directory(self) -> &'static str {
        match self {
            Models => "models",
            Bentos => "bentos",
        }
    }

    /// The words of a command line about this kind.
    fn command<'a>(self, words: &[&'a str]) -> Vec<&'a str> {
        let first = match self {
            Models => &["models"][..],
            Bentos => &[],
        };
        [first, words].concat()
    }

    fn name(self) -> &'static str {
        match self {
            Models => "m",
            Bentos => "b",
        }
    }

    fn newest(self) -> &'static str {
        match self {
            Models => "m:v2",
            Bentos => "b:v2",
        }
    }

    fn large(self) -> &'static str {
        match self {
            Models => "large:v1",
            Bentos => "large_b:v1",
        }
    }

    /// What travels in a way.
    fn sent(self, is_large: bool) -> &'static str {
        if is_large { self.large() } else { self.newest() }
    }

    /// The name of an archive.
    fn file(self, form: &str) -> String {
        match (form, self) {
            ("native", Models) => "a.bentomodel".to_owned(),
            ("native", Bentos) => "a.bento".to_owned(),
            _ => format!("a.{form}"),
        }
    }
}

impl Tool {
    fn home(self) -> &'static str {
        match self {
            Upstream => "upstream",
            Ekiben => "ekiben",
        }
    }
}

/// The servers that one tool pushes the things of one creator to, a server for each way.
struct Clouds(Vec<CloudServer>);

struct World {
    context: TestContext,
    /// What is in the stores as their creators left them.
    made: BTreeMap<(Tool, String), Tree>,
    /// By creator and pusher.
    clouds: BTreeMap<(Tool, Tool), Clouds>,
    /// What upstream said when it made its things, and of those of ekiben.
    making: Answers,
    others: Answers,
    elsewhere: Answers,
    after: Answers,
    /// What ekiben listed and got of the things of both, before any were deleted.
    said: BTreeMap<(Tool, Verb, Kind), Value>,
    /// What it said when it deleted some of upstream's.
    deletions: BTreeMap<Kind, String>,
}

#[test]
fn each_tool_does_everything_with_the_things_of_the_other() {
    let mut wanted = Vec::new();
    for kind in KINDS {
        for creator in TOOLS {
            wanted.extend(VERBS.map(|verb| (kind, creator, verb)));
        }
    }
    let present: Vec<_> = CELLS.iter().map(|(kind, creator, verb, _)| (*kind, *creator, *verb)).collect();
    assert_eq!(present, wanted, "the table has other cells");
    let world = World::prepare();
    let failed: Vec<String> = CELLS
        .iter()
        .filter(|(kind, _, _, check)| catch_unwind(AssertUnwindSafe(|| check(&world, *kind))).is_err())
        .map(|(kind, creator, verb, _)| format!("{kind:?} created by {creator:?}: {verb:?} by the other"))
        .collect();
    assert_eq!(failed, Vec::<String>::new(), "cells that failed; their reasons stand above");
}

impl World {
    fn prepare() -> Self {
        let context = TestContext::with_shared_cache();
        let clouds = TOOLS.into_iter().flat_map(|creator| TOOLS.map(|pusher| (creator, pusher)));
        let clouds = clouds.map(|pair| (pair, Clouds::start())).collect();
        let mut world = Self {
            context,
            made: BTreeMap::new(),
            clouds,
            making: Answers::default(),
            others: Answers::default(),
            elsewhere: Answers::default(),
            after: Answers::default(),
            said: BTreeMap::new(),
            deletions: BTreeMap::new(),
        };
        world.write_sources();
        world.make_with_ekiben();
        world.making = world.make_with_upstream();
        for creator in TOOLS {
            for path in ["models/m/v1", "models/m/v2", "models/used/v1", "models/large/v1"]
                .into_iter()
                .chain(["bentos/b/v1", "bentos/b/v2", "bentos/large_b/v1"])
            {
                let tree = tree(&world.home(creator).join(path));
                world.made.insert((creator, path.to_owned()), tree);
            }
        }
        for creator in TOOLS {
            world.use_with_ekiben(creator);
        }
        world.others = world.upstream_with_the_things_of_ekiben();
        world.elsewhere = world.upstream_elsewhere();
        world.delete_with_ekiben();
        let mut steps = Steps::default();
        for kind in KINDS {
            steps.cli(kind.directory(), &kind.command(&["list", "-o", "json"]));
            steps.cli(kind.newest(), &kind.command(&["get", kind.newest()]));
            let latest = format!("{}:latest", kind.name());
            steps.cli(&latest, &kind.command(&["get", &latest, "-o", "json"]));
        }
        world.after = steps.run(&world.context, &world.home(Upstream));
        world
    }

    fn home(&self, creator: Tool) -> PathBuf {
        self.context.work().join(creator.home())
    }

    /// Where `by` has put the archives of the things of `creator`.
    fn archives(&self, creator: Tool, by: Tool) -> PathBuf {
        self.context.work().join(format!("archives-{creator:?}-{by:?}"))
    }

    /// Ekiben on the home of a tool.
    fn ekiben(&self, creator: Tool, arguments: &[&str]) -> Command {
        self.ekiben_at(&self.home(creator), arguments)
    }

    fn ekiben_at(&self, home: &Path, arguments: &[&str]) -> Command {
        self.context.ekiben(arguments.iter().copied()).env("BENTOML_HOME", home)
    }

    /// What the creator made below a home: `models/m/v2`.
    fn made(&self, creator: Tool, path: &str) -> &Tree {
        &self.made[&(creator, path.to_owned())]
    }

    fn newest(&self, creator: Tool, kind: Kind) -> &Tree {
        self.made(creator, &path_of(kind, kind.newest()))
    }

    /// The files of models, and the projects of bentos.
    fn write_sources(&self) {
        let work = self.context.work();
        for directory in ["files/sub/deep", "large", "project/sub", "large_project"] {
            fs::create_dir_all(work.join(directory)).unwrap();
        }
        for base in ["files", "project"] {
            fs::write(work.join(base).join("sub/run.sh"), "#!/bin/sh\n").unwrap();
            fs::set_permissions(work.join(base).join("sub/run.sh"), fs::Permissions::from_mode(0o755))
                .unwrap();
            fs::write(work.join(base).join("empty"), "").unwrap();
            fs::write(work.join(base).join("x".repeat(120)), vec![7; 300_000]).unwrap();
        }
        fs::write(work.join("files/sub/deep/h\u{e9}llo"), "text").unwrap();
        for base in ["large", "large_project"] {
            let large = fs::File::create(work.join(base).join("weights")).unwrap();
            large.set_len(MORE_THAN_A_PART).unwrap();
            large.write_all_at(b"end", MORE_THAN_A_PART - 3).unwrap();
        }
        let bentofile = |service: &str, name: &str| {
            format!(
                "service: \"{service}\"\nname: {name}\nlabels: {{owner: team}}\ninclude: [\"*\"]\n\
                 python:\n  lock_packages: false\n"
            )
        };
        fs::write(work.join("project/service.py"), SERVICE).unwrap();
        fs::write(work.join("project/bentofile.yaml"), bentofile("service:Service", "b")).unwrap();
        fs::write(work.join("large_project/large_service.py"), LARGE_SERVICE).unwrap();
        let text = bentofile("large_service:Large", "large_b");
        fs::write(work.join("large_project/bentofile.yaml"), text).unwrap();
        for creator in TOOLS {
            for by in TOOLS {
                for kind in KINDS {
                    fs::create_dir_all(self.archives(creator, by).join(kind.directory())).unwrap();
                }
            }
        }
    }

    fn make_with_ekiben(&self) {
        let more = [
            "--label",
            "a=b",
            "--metadata",
            "acc=0.5",
            "--metadata",
            "tags=[1, \"x\"]",
            "--metadata",
            "small=1.0e-7",
            "--metadata",
            "note=h\u{e9}llo: world",
        ];
        // One after the other, by the time that the tests give.
        let mut times = 1_767_225_600..;
        let mut make = |arguments: &[&str]| {
            let command = self.ekiben(Ekiben, arguments);
            command.env("SOURCE_DATE_EPOCH", times.next().map_or(String::new(), |time: u32| time.to_string()))
        };
        for tag in [USED, "m:v1", "m:v2"] {
            let _created = make(&["models", "create", tag, "--from", "files"]).args(more).run();
        }
        let _created = make(&["models", "create", "large:v1", "--from", "large"]).run();
        for (version, project) in [("v1", "project"), ("v2", "project"), ("v1", "large_project")] {
            // It warns of large files.
            let _built = make(&["build", "--version", version, "-o", "tag", project]).any_stderr().run();
        }
    }

    /// Lists, gets, exports and pushes what is in a home.
    fn use_with_ekiben(&mut self, creator: Tool) {
        for kind in KINDS {
            for (verb, words) in
                [(Listed, ["list", "-o", "json"].as_slice()), (Got, &["get", kind.name(), "-o", "json"])]
            {
                let said = self.ekiben(creator, &kind.command(words)).run().json();
                self.said.insert((creator, verb, kind), said);
            }
            for form in FORMS {
                let to = self.archives(creator, Ekiben).join(kind.directory()).join(kind.file(form));
                let to = to.to_str().expect("UTF-8");
                let _exported = self.ekiben(creator, &kind.command(&["export", kind.newest(), to])).run();
            }
            for (server, (_, _, is_large)) in self.clouds[&(creator, Ekiben)].0.iter().zip(WAYS) {
                let push = || server.env(self.ekiben(creator, &kind.command(&["push", kind.sent(is_large)])));
                let said = push().run().stdout;
                assert!(said.to_lowercase().contains("successfully pushed"), "{said}");
                let said = push().run().stdout;
                assert!(said.contains("already exists in remote"), "{said}");
            }
        }
    }

    /// Makes upstream's things; exports, pushes, lists and gets them.
    fn make_with_upstream(&self) -> Answers {
        let mut steps = Steps::default();
        steps.python("make models", UPSTREAM_MODELS);
        for (version, project) in [("v1", "project"), ("v2", "project"), ("v1", "large_project")] {
            let name = format!("build {project} {version}");
            steps.cli(&name, &["build", "--version", version, project]);
        }
        self.use_with_upstream(Upstream, &mut steps);
        let answers = steps.run(&self.context, &self.home(Upstream));
        for name in ["make models", "build project v1", "build project v2", "build large_project v1"] {
            answers.stdout(name);
        }
        answers
    }

    /// Lists, gets, exports and pushes what is in a home.
    fn use_with_upstream(&self, creator: Tool, steps: &mut Steps) {
        for kind in KINDS {
            let base = kind.directory();
            steps.cli(&format!("list {base}"), &kind.command(&["list", "-o", "json"]));
            steps.cli(&format!("get {base}"), &kind.command(&["get", kind.name(), "-o", "json"]));
            steps.cli(&format!("path {base}"), &kind.command(&["get", kind.name(), "-o", "path"]));
            for form in FORMS {
                let to = self.archives(creator, Upstream).join(base).join(kind.file(form));
                let to = to.to_str().expect("UTF-8");
                steps.cli(&format!("export {base} {form}"), &kind.command(&["export", kind.newest(), to]));
            }
            for (server, (way, _, is_large)) in self.clouds[&(creator, Upstream)].0.iter().zip(WAYS) {
                let arguments = kind.command(&["push", kind.sent(is_large)]);
                steps.cli_at(&format!("push {base} {way}"), &arguments, server);
            }
        }
        let folder = self.archives(creator, Upstream).join("models/folder");
        let text = format!(
            "import bentoml\nbentoml.models.export_model('m:v2', '{}', output_format='folder')",
            folder.display()
        );
        steps.python("export models folder", &text);
    }

    fn upstream_with_the_things_of_ekiben(&self) -> Answers {
        let mut steps = Steps::default();
        self.use_with_upstream(Ekiben, &mut steps);
        // Read by the original and written again, the file is the same.
        let again = "import sys, bentoml\nbentoml.models.get('m:v2').info.dump(sys.stdout)";
        steps.python("dump", again);
        steps.cli("refuse", &["models", "delete", USED, "-y"]);
        for kind in KINDS {
            let base = kind.directory();
            steps.cli(&format!("delete {base}"), &kind.command(&["delete", kind.newest(), "-y"]));
        }
        steps.cli("delete the last", &["delete", "b:v1", "-y"]);
        steps.cli("delete used", &["models", "delete", USED, "-y"]);
        steps.run(&self.context, &self.home(Ekiben))
    }

    /// Upstream imports what ekiben exported and pulls what it pushed, each time into an empty home.
    fn upstream_elsewhere(&self) -> Answers {
        let home = self.elsewhere_of_upstream("now");
        let mut steps = Steps::default();
        let put_aside = |steps: &mut Steps, name: &str| {
            for base in ["models", "bentos"] {
                let to = self.elsewhere_of_upstream(name).join(base);
                steps.move_away(&format!("{name}/{base}"), &home.join(base), &to);
                steps.python(
                    &format!("{name}/{base} anew"),
                    &format!("import os; os.mkdir('{}')", home.join(base).display()),
                );
            }
        };
        for kind in KINDS {
            for form in FORMS {
                for creator in TOOLS {
                    let name = import_name(creator, kind, form);
                    let from = self.archives(creator, Ekiben).join(kind.directory()).join(kind.file(form));
                    steps.cli(&name, &kind.command(&["import", from.to_str().expect("UTF-8")]));
                    put_aside(&mut steps, &format!("{name}.home"));
                }
            }
            for (server, (way, _, is_large)) in self.clouds[&(Ekiben, Ekiben)].0.iter().zip(WAYS) {
                let name = format!("pull-{kind:?}-{way}");
                let mut arguments = kind.command(&["pull", kind.sent(is_large)]);
                arguments.extend((kind == Bentos).then_some("--with-models"));
                steps.cli_at(&name, &arguments, server);
                put_aside(&mut steps, &format!("{name}.home"));
            }
        }
        steps.run(&self.context, &home)
    }

    fn elsewhere_of_upstream(&self, name: &str) -> PathBuf {
        self.context.work().join("elsewhere").join(name)
    }

    fn delete_with_ekiben(&mut self) {
        let in_use = format!("Model {USED} is being used by the following bentos and can't be deleted");
        let _refused =
            self.ekiben(Upstream, &["models", "delete", USED, "-y"]).status(1).stderr(&in_use).run();
        for kind in KINDS {
            let said = self.ekiben(Upstream, &kind.command(&["delete", kind.newest(), "-y"])).run().stdout;
            self.deletions.insert(kind, said);
        }
    }
}

impl Clouds {
    fn start() -> Self {
        Self(WAYS.iter().map(|(_, way, _)| CloudServer::start(*way)).collect())
    }
}

fn path_of(kind: Kind, tag: &str) -> String {
    format!("{}/{}", kind.directory(), tag.replace(':', "/"))
}

fn import_name(creator: Tool, kind: Kind, form: &str) -> String {
    format!("import-{creator:?}-{kind:?}-{form}")
}

/// What upstream keeps when it puts a tree into its store: everything but modes.
fn without_modes(tree: &Tree) -> Vec<(&str, &[u8])> {
    tree.iter().map(|(path, content, _)| (path.as_str(), content.as_slice())).collect()
}

/// Fails without printing the contents, which are long.
fn assert_same(found: &Tree, expected: &Tree, place: &str) {
    assert!(!expected.is_empty(), "{place}: nothing was made");
    let show = |tree: &Tree| {
        let line =
            |(path, content, mode): &(String, Vec<u8>, u32)| format!("{mode:o} {} {path}", content.len());
        tree.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(show(found), show(expected), "{place}");
    assert!(found == expected, "{place}: the contents differ");
}

fn assert_same_files(found: &Tree, expected: &Tree, place: &str) {
    assert!(!expected.is_empty(), "{place}: nothing was made");
    let names = |tree: &Tree| tree.iter().map(|(path, ..)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{place}");
    assert!(without_modes(found) == without_modes(expected), "{place}: the contents differ");
}

/// The newest version by the pointer of a store.
fn latest(home: &Path, kind: Kind, name: &str) -> String {
    fs::read_to_string(home.join(kind.directory()).join(name).join("latest")).unwrap()
}

/// What an archive holds, models of a bento apart.
fn unpacked(world: &World, input: Input) -> (Tree, Tree) {
    let directory = tempfile::tempdir_in(world.context.temporary()).unwrap();
    let limits = Limits::of_disk(directory.path()).unwrap();
    unpack(input, directory.path(), limits, &world.context.temporary(), &Silent, &Interrupt::default())
        .unwrap();
    let is_carried = |path: &str| path == "models" || path.starts_with("models/");
    tree(directory.path()).into_iter().partition(|(path, ..)| !is_carried(path))
}

/// An archive of the newest one holds what its creator made, and for a bento its model with the pointer to it.
fn assert_archive(world: &World, creator: Tool, kind: Kind, archive: &Path) {
    let place = archive.display().to_string();
    let (found, models) = unpacked(world, Input::File(fs::File::open(archive).unwrap()));
    assert_same(&found, world.newest(creator, kind), &place);
    if kind == Bentos {
        let below = |(path, content, mode): &(String, Vec<u8>, u32)| {
            let path = path.strip_prefix("models/used/v1/")?;
            Some((path.to_owned(), content.clone(), *mode))
        };
        let carried: Tree = models.iter().filter_map(below).collect();
        assert_same(&carried, world.made(creator, "models/used/v1"), &place);
        let pointer = models.iter().find(|(path, ..)| path == "models/used/latest");
        assert_eq!(pointer.expect("a pointer").1, b"v1", "{place}");
    }
}

/// The home has what was imported or pulled, and its pointers say so; only upstream loses modes.
fn assert_arrived(world: &World, (creator, by): (Tool, Tool), (kind, tag): (Kind, &str), home: &Path) {
    let place = home.display().to_string();
    let same = if by == Upstream { assert_same_files } else { assert_same };
    let path = path_of(kind, tag);
    same(&tree(&home.join(&path)), world.made(creator, &path), &place);
    let (name, version) = tag.split_once(':').unwrap();
    assert_eq!(latest(home, kind, name), version, "{place}");
    if (kind, tag) == (Bentos, Bentos.newest()) {
        same(&tree(&home.join("models/used/v1")), world.made(creator, "models/used/v1"), &place);
        assert_eq!(latest(home, Models, "used"), "v1", "{place}");
    }
}

/// A list names everything with module, size and time, the newest first.
fn assert_list(list: &Value, kind: Kind, module: &str) {
    let rows = list.as_array().unwrap();
    let tags: Vec<_> = rows.iter().map(|row| row["tag"].as_str().unwrap()).collect();
    let expected: &[&str] = match kind {
        Models => &["large:v1", "m:v2", "m:v1", "used:v1"],
        Bentos => &["large_b:v1", "b:v2", "b:v1"],
    };
    assert_eq!(tags, expected);
    assert!(rows[0]["size"].as_str().unwrap().starts_with("100.0"), "{list}");
    if kind == Models {
        assert_eq!(rows[1]["module"], module);
    } else {
        assert!(rows[1]["model_size"].as_str().unwrap().ends_with("KiB"), "{list}");
    }
    for row in rows {
        let time = row["creation_time"].as_str().unwrap();
        assert!(time.parse::<jiff::civil::DateTime>().is_ok(), "{row}");
    }
}

fn ekiben_lists(world: &World, kind: Kind) {
    let list = &world.said[&(Upstream, Listed, kind)];
    assert_list(list, kind, "bentoml.sklearn");
    assert_eq!(list, &world.making.json(&format!("list {}", kind.directory())));
}

fn upstream_lists(world: &World, kind: Kind) {
    let list = world.others.json(&format!("list {}", kind.directory()));
    assert_list(&list, kind, "");
    assert_eq!(list, world.said[&(Ekiben, Listed, kind)]);
}

fn ekiben_gets(world: &World, kind: Kind) {
    let got = &world.said[&(Upstream, Got, kind)];
    assert_eq!(got["version"], "v2");
    assert_eq!(got, &world.making.json(&format!("get {}", kind.directory())));
    if kind == Models {
        assert_eq!(got["metadata"], json!({"acc": 0.5, "tags": [1, "x"]}));
        assert_eq!(got["signatures"]["predict"]["batchable"], true);
    } else {
        assert_eq!(got["services"][0]["models"][0]["tag"], USED);
    }
}

fn upstream_gets(world: &World, kind: Kind) {
    let base = kind.directory();
    let got = world.others.json(&format!("get {base}"));
    assert_eq!(got["version"], "v2");
    assert_eq!(got, world.said[&(Ekiben, Got, kind)]);
    let path = world.home(Ekiben).join(path_of(kind, kind.newest()));
    assert_eq!(Path::new(world.others.stdout(&format!("path {base}")).trim()), path);
    if kind == Models {
        assert_eq!(got["labels"], json!({"a": "b"}));
        let metadata = json!({"acc": 0.5, "tags": [1, "x"], "small": 1e-7, "note": "h\u{e9}llo: world"});
        assert_eq!(got["metadata"], metadata);
        let file = world.newest(Ekiben, kind).iter().find(|(path, ..)| path == "model.yaml").unwrap();
        assert_eq!(world.others.stdout("dump").as_bytes(), file.1);
    } else {
        assert_eq!(got["labels"], json!({"owner": "team"}));
        assert_eq!(got["entry_service"], "Service");
    }
}

fn ekiben_exports(world: &World, kind: Kind) {
    exported(world, (Upstream, Ekiben), kind);
    for form in FORMS {
        let name = import_name(Upstream, kind, form);
        world.elsewhere.stdout(&name);
        let home = world.elsewhere_of_upstream(&format!("{name}.home"));
        assert_arrived(world, (Upstream, Upstream), (kind, kind.newest()), &home);
    }
}

fn upstream_exports(world: &World, kind: Kind) {
    for form in FORMS {
        world.others.stdout(&format!("export {} {form}", kind.directory()));
    }
    exported(world, (Ekiben, Upstream), kind);
    import_with_ekiben(world, Ekiben, kind);
}

/// All archives of one creator by one tool.
fn exported(world: &World, (creator, by): (Tool, Tool), kind: Kind) {
    for form in FORMS {
        let archive = world.archives(creator, by).join(kind.directory()).join(kind.file(form));
        assert_archive(world, creator, kind, &archive);
    }
}

fn ekiben_imports(world: &World, kind: Kind) {
    import_with_ekiben(world, Upstream, kind);
    if kind == Models {
        world.making.stdout("export models folder");
        let home = world.context.work().join("home-folder");
        let folder = world.archives(Upstream, Upstream).join("models/folder");
        let _imported = world.ekiben_at(&home, &["models", "import", folder.to_str().unwrap()]).run();
        // Upstream's folders have no modes.
        assert_same_files(&tree(&home.join("models/m/v2")), world.newest(Upstream, kind), "folder");
    }
}

/// Ekiben imports what upstream exported, each archive into a new home.
fn import_with_ekiben(world: &World, creator: Tool, kind: Kind) {
    for form in FORMS {
        let home = world.context.work().join(format!("home-{creator:?}-{kind:?}-{form}"));
        let archive = world.archives(creator, Upstream).join(kind.directory()).join(kind.file(form));
        let command = kind.command(&["import", archive.to_str().unwrap(), "-o", "json"]);
        let imported = world.ekiben_at(&home, &command).run().json();
        assert_eq!(imported["tag"], kind.newest());
        let models = if kind == Bentos { json!([USED]) } else { json!([]) };
        assert_eq!(imported["models"], models);
        assert_arrived(world, (creator, Ekiben), (kind, kind.newest()), &home);
    }
}

fn upstream_imports(world: &World, kind: Kind) {
    for form in FORMS {
        let name = import_name(Ekiben, kind, form);
        world.elsewhere.stdout(&name);
        let home = world.elsewhere_of_upstream(&format!("{name}.home"));
        assert_arrived(world, (Ekiben, Upstream), (kind, kind.newest()), &home);
    }
}

fn ekiben_deletes(world: &World, kind: Kind) {
    let word = if kind == Models { "Model" } else { "Bento" };
    assert_eq!(world.deletions[&kind], format!("{word}(tag=\"{}\") deleted.\n", kind.newest()));
    let list = world.after.json(kind.directory());
    let tags: Vec<_> = list.as_array().unwrap().iter().map(|row| row["tag"].as_str().unwrap()).collect();
    let name = kind.name();
    assert!(!tags.contains(&kind.newest()) && tags.contains(&format!("{name}:v1").as_str()), "{tags:?}");
    assert_eq!(world.after.any(kind.newest()).status, 1, "upstream still has it");
    assert_eq!(world.after.json(&format!("{name}:latest"))["version"], "v1");
    assert_eq!(latest(&world.home(Upstream), kind, name), "v1");
    assert!(!world.home(Upstream).join(path_of(kind, kind.newest())).exists());
}

fn upstream_deletes(world: &World, kind: Kind) {
    let name = kind.name();
    let said = world.others.stdout(&format!("delete {}", kind.directory()));
    assert!(said.contains("deleted."), "{said}");
    let _gone = world.ekiben(Ekiben, &kind.command(&["get", kind.newest()])).status(1).any_stderr().run();
    let list = world.ekiben(Ekiben, &kind.command(&["list", "-o", "json"])).run().json();
    let tags: Vec<_> = list.as_array().unwrap().iter().map(|row| row["tag"].as_str().unwrap()).collect();
    if kind == Models {
        // A model in use stays until the last bento that uses it is gone.
        let refused = world.others.any("refuse");
        assert_eq!(refused.status, 1);
        assert!(refused.stderr.contains("is being used by the following bentos"), "{}", refused.stderr);
        world.others.stdout("delete used");
        assert_eq!(tags, ["large:v1", "m:v1"]);
        let got = world.ekiben(Ekiben, &["models", "get", "m:latest", "-o", "json"]).run().json();
        assert_eq!(got["version"], "v1");
        assert_eq!(latest(&world.home(Ekiben), kind, name), "v1");
    } else {
        world.others.stdout("delete the last");
        assert_eq!(tags, ["large_b:v1"]);
    }
}

/// What was pushed is whole on the server, which was told what the creator's own tool tells it.
fn pushed(world: &World, (creator, by): (Tool, Tool), kind: Kind) {
    if creator == Upstream {
        for (way, ..) in WAYS {
            world.making.stdout(&format!("push {} {way}", kind.directory()));
        }
    }
    let servers = world.clouds[&(creator, by)].0.iter().zip(&world.clouds[&(creator, creator)].0);
    for ((server, own), (way, _, is_large)) in servers.zip(WAYS) {
        let place = format!("{kind:?} of {creator:?} pushed by {by:?}, {way}");
        let tag = kind.sent(is_large);
        assert_eq!(server.status(kind.directory(), tag).0, "success", "{place}");
        assert_eq!(server.token_leaks(), Vec::<String>::new(), "{place}");
        let body = |server: &CloudServer, kind: Kind, tag| server.body(kind.directory(), tag).to_string();
        assert_eq!(body(server, kind, tag), body(own, kind, tag), "{place}");
        let input =
            |kind: Kind, tag| Input::Stream(Box::new(Cursor::new(server.content(kind.directory(), tag))));
        let expected = world.made(creator, &path_of(kind, tag));
        assert_same(&unpacked(world, input(kind, tag)).0, expected, &place);
        if kind == Bentos && !is_large {
            assert_eq!(body(server, Models, USED), body(own, Models, USED), "{place}");
            let model = unpacked(world, input(Models, USED)).0;
            assert_same(&model, world.made(creator, "models/used/v1"), &place);
        }
        if is_large {
            // A model and a bento, two parts each.
            assert_eq!(server.count("PATCH", "/presign_multipart_upload_url"), 4, "{place}");
        }
    }
}

fn ekiben_pushes(world: &World, kind: Kind) {
    pushed(world, (Upstream, Ekiben), kind);
}

fn upstream_pushes(world: &World, kind: Kind) {
    for (way, ..) in WAYS {
        let said = world.others.stdout(&format!("push {} {way}", kind.directory())).to_lowercase();
        assert!(said.contains("successfully pushed"), "{said}");
    }
    pushed(world, (Ekiben, Upstream), kind);
}

fn ekiben_pulls(world: &World, kind: Kind) {
    for (server, (way, _, is_large)) in world.clouds[&(Upstream, Upstream)].0.iter().zip(WAYS) {
        let home = world.context.work().join(format!("home-pulled-{kind:?}-{way}"));
        let tag = kind.sent(is_large);
        let pull = world.ekiben_at(&home, &kind.command(&["pull", tag]));
        let pull = if kind == Bentos { pull.arg("--with-models") } else { pull };
        let said = server.env(pull).run().stdout;
        assert!(said.to_lowercase().contains("successfully pulled"), "{said}");
        assert_arrived(world, (Upstream, Ekiben), (kind, tag), &home);
    }
}

fn upstream_pulls(world: &World, kind: Kind) {
    for (way, _, is_large) in WAYS {
        let name = format!("pull-{kind:?}-{way}");
        world.elsewhere.stdout(&name);
        let home = world.elsewhere_of_upstream(&format!("{name}.home"));
        assert_arrived(world, (Ekiben, Upstream), (kind, kind.sent(is_large)), &home);
    }
}

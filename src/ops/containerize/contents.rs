//! What is in each layer: gathered from the stores and the cache, and placed where the container contract wants it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::base::Base;
use super::error::ContainerizeError;
use super::hub::HubModels;
use super::packages::Packages;
use super::unpacked::{self, Unpacked};
use super::{Context, Job};
use crate::debian::{Lock, Root, UsrLayout};
use crate::fs;
use crate::oci::digest::Digest;
use crate::oci::json::canonical;
use crate::oci::tree::{Content, Entry, Owner, Tree};
use crate::pack::{FileRules, Inventory, PackError, inventory};
use crate::plan::{
    BENTO_PATH, BentoInput, BuildPlan, DistributionInput, EnvInput, HOME, Inputs, LayerContent, ModelInput,
    PackagesInput, SERVER, USER_ID, USER_NAME, VENV,
};
use crate::pydeps::{self, Distribution, Skeleton};
use crate::resolve::base::BaseFacts;
use crate::resolve::runtime::{self, Server};
use crate::store::{Bento, Home};
use crate::tag::{Tag, TagQuery};

/// The service's user, and the superuser's group: containers that run under a random user id are in that group.
pub(super) const SERVICE: Owner = Owner { uid: USER_ID, gid: 0 };
/// Directories that the service writes to, under whatever user id it runs.
const WRITABLE: u32 = 0o775;
/// Directories of the home that the SDK expects to be able to use.
const HOME_DIRECTORIES: [&str; 4] = ["bentos", "envs", "models", "tmp"];
/// Changes whenever the runtime layer's own files may.
const RUNTIME_VERSION: u32 = 1;
/// Stages of environment variables that end up in the image.
const IMAGE_STAGES: [&str; 2] = ["all", "runtime"];
/// Changes whenever the same Debian packages may give other files.
const ASSEMBLY_VERSION: u32 = 1;

/// The contents of all layers of an image, not yet read.
pub(super) struct Contents {
    /// What the plan follows from.
    pub(super) inputs: Inputs,
    base_lock: Option<Lock>,
    system_lock: Option<Lock>,
    /// How the base is laid out, and its package status, for packages on top of it.
    below: (UsrLayout, String),
    accounts: Vec<(&'static str, String)>,
    distributions: Vec<Distribution>,
    server: Server,
    sdk: PathBuf,
    skeleton: Skeleton,
    models: Vec<(Tag, Inventory)>,
    hub: HubModels,
    bento: Inventory,
    bento_yaml: String,
    base_unpacked: Option<Unpacked>,
    /// What was unpacked for a layer, until all are packed.
    unpacked: Mutex<Vec<Unpacked>>,
}

impl Contents {
    pub(super) fn new(
        job: &Job<'_>,
        base: &mut Base,
        packages: Packages,
        hub: HubModels,
        context: &Context,
    ) -> Result<Self, ContainerizeError> {
        let bento = job.bento;
        let server = Server::find(&context.program_directory, &job.platform)?;
        let sdk = compiled_sdk(&packages, context)?;
        let skeleton = pydeps::skeleton(packages.target.python, &base.python);
        let models = models(bento, context)?;
        let files = inventory(&bento.path, &|path| path != "models" && path != "hf-models")?;
        let bento_yaml = normalised_bento_yaml(bento, context)?;
        let accounts = base.facts.as_ref().map(accounts).unwrap_or_default();
        let runtime = json!({"version": RUNTIME_VERSION, "server": server.digest, "sdk": runtime::sdk_digest(),
            "links": skeleton.links, "files": skeleton.files, "bytecode": packages.compiler_version()});
        let packages_input = |title: &str, lock: &Lock| PackagesInput {
            title: title.to_owned(),
            lock: Digest::of(format!("{} {ASSEMBLY_VERSION}", lock.digest()).as_bytes()),
        };
        let inputs = Inputs {
            bento: bento_input(bento, &files, &bento_yaml),
            python: packages.target.python.to_string(),
            base_path: base.path.clone(),
            base_packages: base.packages.as_ref().map(|lock| packages_input(&base.title, lock)),
            system_packages: base.system_packages.as_ref().map(|(title, lock)| packages_input(title, lock)),
            accounts: (!accounts.is_empty()).then(|| Digest::of(&canonical(&accounts))),
            distributions: packages.installation.distributions.iter().map(distribution_input).collect(),
            runtime: Digest::of(&canonical(&runtime)),
            models: models.iter().map(model_input).collect(),
            hub: hub.inputs(),
            compression: job.settings.compression,
            created: context.time.rfc3339(),
        };
        Ok(Self {
            inputs,
            base_lock: base.packages.clone(),
            system_lock: base.system_packages.as_ref().map(|(_, lock)| lock.clone()),
            below: below(base),
            accounts,
            distributions: packages.installation.distributions,
            server,
            sdk,
            skeleton,
            models,
            hub,
            bento: files,
            bento_yaml,
            base_unpacked: base.unpacked.take(),
            unpacked: Mutex::default(),
        })
    }

    /// The files of a layer.
    pub(super) fn tree(&self, content: &LayerContent, context: &Context) -> Result<Tree, ContainerizeError> {
        match content {
            LayerContent::BasePackages => match (&self.base_unpacked, &self.base_lock) {
                (Some(unpacked), _) => Ok(unpacked.tree.clone()),
                (None, Some(lock)) => self.debian_tree(lock, unpacked::own_root(), context),
                (None, None) => Ok(Tree::new()),
            },
            LayerContent::SystemPackages => match &self.system_lock {
                Some(lock) => {
                    let (layout, status) = self.below.clone();
                    self.debian_tree(lock, Root::OnTop { layout, status }, context)
                }
                None => Ok(Tree::new()),
            },
            LayerContent::Accounts => self.accounts_tree(),
            LayerContent::Distributions(members) => self.distributions_tree(members),
            LayerContent::Runtime => self.runtime_tree(),
            LayerContent::Model(index) => self.model_tree(*index),
            LayerContent::Hub { .. } => self.hub.layer(content, context),
            LayerContent::Source => self.source_tree(),
        }
    }

    /// Finds out what the layers of the hub's models are.
    pub(super) fn prepare(
        &self,
        plan: &BuildPlan,
        is_verified: bool,
        context: &Context,
    ) -> Result<(), ContainerizeError> {
        self.hub.prepare(&plan.layers, is_verified, context)
    }

    fn debian_tree(&self, lock: &Lock, root: Root, context: &Context) -> Result<Tree, ContainerizeError> {
        let unpacked = unpacked::unpack(lock, root, context)?;
        let tree = unpacked.tree.clone();
        // The tree's files have to be there until all layers are packed.
        self.unpacked.lock().unwrap_or_else(PoisonError::into_inner).push(unpacked);
        Ok(tree)
    }

    fn accounts_tree(&self) -> Result<Tree, ContainerizeError> {
        let mut tree = Tree::new();
        for (path, text) in &self.accounts {
            put(&mut tree, path, Entry::file(Content::from(text.clone()), 0o644, Owner::ROOT))?;
        }
        Ok(tree)
    }

    fn distributions_tree(&self, members: &[usize]) -> Result<Tree, ContainerizeError> {
        let mut tree = Tree::new();
        let rules = FileRules { owner: Owner::ROOT, directory_mode: 0o755 };
        for &index in members {
            inventory(&self.distributions[index].root, &|_| true)?.add_to(
                &mut tree,
                relative(VENV),
                rules,
            )?;
        }
        Ok(tree)
    }

    fn runtime_tree(&self) -> Result<Tree, ContainerizeError> {
        let mut tree = Tree::new();
        let venv = relative(VENV);
        let rules = FileRules { owner: Owner::ROOT, directory_mode: 0o755 };
        inventory(&self.sdk, &|_| true)?.add_to(&mut tree, venv, rules)?;
        for (path, text) in &self.skeleton.files {
            let file = Entry::file(Content::from(text.clone()), 0o644, Owner::ROOT);
            put(&mut tree, &format!("{venv}/{path}"), file)?;
        }
        for (path, target) in &self.skeleton.links {
            put(&mut tree, &format!("{venv}/{path}"), Entry::symlink(target, Owner::ROOT))?;
        }
        let size = self.server.size;
        let server = Content::File { path: self.server.path.clone(), size };
        put(&mut tree, relative(SERVER), Entry::file(server, 0o755, Owner::ROOT))?;
        Ok(tree)
    }

    fn model_tree(&self, index: usize) -> Result<Tree, ContainerizeError> {
        let (tag, files) = &self.models[index];
        let mut tree = bento_root()?;
        let path = format!("{}/models/{}/{}", relative(BENTO_PATH), tag.name(), tag.version());
        let rules = FileRules { owner: SERVICE, directory_mode: 0o755 };
        put(&mut tree, &path, Entry::directory(SERVICE))?;
        files.add_to(&mut tree, &path, rules)?;
        Ok(tree)
    }

    fn source_tree(&self) -> Result<Tree, ContainerizeError> {
        let mut tree = bento_root()?;
        let bento = relative(BENTO_PATH);
        for directory in HOME_DIRECTORIES {
            put(&mut tree, &format!("{}/{directory}", relative(HOME)), writable())?;
        }
        let rules = FileRules { owner: SERVICE, directory_mode: 0o755 };
        self.bento.add_to(&mut tree, bento, rules)?;
        let bento_yaml = Content::from(self.bento_yaml.clone());
        put(&mut tree, &format!("{bento}/bento.yaml"), Entry::file(bento_yaml, 0o644, SERVICE))?;
        for (tag, _) in &self.models {
            let latest = Content::from(tag.version().to_owned());
            let path = format!("{bento}/models/{}/latest", tag.name());
            put(&mut tree, &path, Entry::file(latest, 0o644, SERVICE))?;
        }
        Ok(tree)
    }
}

/// How the base is laid out, and its package status: a base assembled here gets its own status from its lock.
fn below(base: &Base) -> (UsrLayout, String) {
    let Some(facts) = &base.facts else { return (UsrLayout::Merged, String::new()) };
    let layout = if facts.is_usr_merged { UsrLayout::Merged } else { UsrLayout::Split };
    (layout, facts.dpkg_status().unwrap_or_default())
}

/// The directories above a bento's files, as every layer below them has them: what a layer says last counts.
pub(super) fn bento_root() -> Result<Tree, ContainerizeError> {
    let mut tree = Tree::new();
    for path in [HOME, BENTO_PATH] {
        put(&mut tree, relative(path), writable())?;
    }
    Ok(tree)
}

/// A directory that the service may write to.
pub(super) fn writable() -> Entry {
    Entry { mode: WRITABLE, ..Entry::directory(SERVICE) }
}

pub(super) fn put(tree: &mut Tree, path: &str, entry: Entry) -> Result<(), ContainerizeError> {
    let explain = |source| PackError::Tree { path: path.into(), source };
    Ok(tree.insert(path, entry).map_err(explain)?)
}

/// The SDK with its bytecode, in the cache, as it is below the virtual environment.
fn compiled_sdk(packages: &Packages, context: &Context) -> Result<PathBuf, ContainerizeError> {
    let python = packages.target.python;
    let name = format!("{}-{python}-{}", runtime::sdk_digest().hex(), packages.compiler_version());
    let target = context.cache.root().join("sdk").join(name);
    if target.exists() {
        return Ok(target);
    }
    let staged = fs::StagedDirectory::beside(&target)?;
    let site = staged.path().join(python.site_packages());
    runtime::write_sdk(&site)?;
    packages.compile(staged.path())?;
    match staged.publish() {
        Err(_) if target.exists() => Ok(target),
        published => Ok(published.map(|()| target)?),
    }
}

/// The models of a bento, as they are in the store or in the bento itself.
fn models(bento: &Bento, context: &Context) -> Result<Vec<(Tag, Inventory)>, ContainerizeError> {
    let store = Home::open(&context.home)?.models();
    let mut models = Vec::new();
    for model in bento.info.all_models().into_iter().filter(|model| model.is_in_store()) {
        let tag = &model.tag;
        let own = bento.path.join("models").join(tag.name()).join(tag.version());
        let path = if own.is_dir() {
            own
        } else {
            let explain = |source| ContainerizeError::Model {
                bento: bento.info.tag.clone(),
                model: tag.clone(),
                source,
            };
            store.get(&TagQuery::from(tag.clone())).map_err(explain)?.path
        };
        models.push((tag.clone(), inventory(&path, &|_| true)?));
    }
    Ok(models)
}

/// `bento.yaml` with the build's time stamp in place of the time at which the bento was built: the same bento built
/// twice has the same image.
fn normalised_bento_yaml(bento: &Bento, context: &Context) -> Result<String, ContainerizeError> {
    let text = fs::read(&bento.path.join("bento.yaml"))?;
    let stamp = format!("creation_time: '{}'", context.time.iso8601());
    let is_stamp = |line: &str| line.starts_with("creation_time:");
    let line = |line: &str| if is_stamp(line) { stamp.clone() } else { line.to_owned() };
    Ok(String::from_utf8_lossy(&text).lines().map(line).collect::<Vec<_>>().join("\n") + "\n")
}

/// The account files of a base from elsewhere with the service's user in them, unless it is there.
fn accounts(facts: &BaseFacts) -> Vec<(&'static str, String)> {
    let lines = [
        ("etc/passwd", format!("{USER_NAME}:x:{USER_ID}:{USER_ID}::{HOME}:/bin/sh\n")),
        ("etc/group", format!("{USER_NAME}:x:{USER_ID}:\n")),
    ];
    let missing = |(path, line): (&'static str, String)| {
        let text = facts.texts.get(path).cloned().unwrap_or_default();
        let is_there = text.lines().any(|entry| entry.split(':').nth(2) == Some(&USER_ID.to_string()));
        let separator = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        (!is_there).then(|| (path, text + separator + &line))
    };
    lines.into_iter().filter_map(missing).collect()
}

fn bento_input(bento: &Bento, files: &Inventory, bento_yaml: &str) -> BentoInput {
    let info = &bento.info;
    let envs =
        info.envs.iter().filter(|env| IMAGE_STAGES.contains(&env.stage.as_str()) && !env.value.is_empty());
    BentoInput {
        name: info.tag.name().to_owned(),
        version: info.tag.version().to_owned(),
        service: info.entry_service.clone(),
        labels: info.labels.clone(),
        envs: envs.map(|env| EnvInput { name: env.name.clone(), value: env.value.clone() }).collect(),
        files: Digest::of(format!("{}\n{bento_yaml}", files.fingerprint()).as_bytes()),
    }
}

fn distribution_input(distribution: &Distribution) -> DistributionInput {
    DistributionInput {
        name: distribution.name.clone(),
        version: distribution.version.clone(),
        size: distribution.size,
        fingerprint: distribution.fingerprint.clone(),
    }
}

fn model_input((tag, files): &(Tag, Inventory)) -> ModelInput {
    ModelInput {
        name: tag.name().to_owned(),
        version: tag.version().to_owned(),
        fingerprint: files.fingerprint(),
    }
}

/// A path of the image as layers have it.
fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

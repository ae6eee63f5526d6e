//! `build`: from a project to a bento in the store.

mod base;
mod error;
mod functions;
mod hub;
mod image;
mod image_limits;
mod pin;
mod readme;
mod requirements;
mod stage;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use tokio::runtime::Runtime;

pub use self::error::BuildError;
use self::hub::HubPins;
pub(super) use self::image::describe as describe_image;
use self::pin::Pinned;
use self::requirements::PythonPackages;
use super::Context;
use super::discovery::walk;
use super::hub::HubAccessError;
use super::image_lock::ImageLock;
use crate::bentofile::{self, Bentofile, Loaded, Selection, Selector};
use crate::build_time::item_time;
use crate::debian::{self, Archive};
use crate::discover::{self, Discovery, LateLoad, ModelReference, Style};
use crate::hub::{Hub, HubError, Wanted};
use crate::pydeps::Host;
use crate::report::{Interrupt, Report};
use crate::store::{
    Bento, BentoInfo, CreationTime, Dependency, Environment, FORMAT_VERSION, Home, ServiceInfo, tree_size,
};
use crate::tag::{Tag, lowercase_warning, snake_case};
use crate::text;
use crate::yaml::{self, Value};

/// What is to be built, as the command line says it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The directory of the project.
    pub context: PathBuf,
    /// The build configuration; found where none is named.
    pub bentofile: Option<PathBuf>,
    /// The service; wins over the build configuration's.
    pub service: Option<String>,
    /// The name of the bento; wins over every other.
    pub name: Option<String>,
    /// The version of the bento; generated where none is given.
    pub version: Option<String>,
    /// Labels; they win over all others.
    pub labels: Vec<(String, String)>,
    /// Template arguments, as text; later ones win.
    pub arguments: Vec<(String, String)>,
    /// A file with template arguments.
    pub argument_file: Option<PathBuf>,
    /// The platform that packages are locked for, and that images are made for.
    pub platform: Option<String>,
}

/// What a build needs from its surroundings.
pub struct Surroundings<'a> {
    /// The home with both stores.
    pub home: Home,
    /// The environment that `os.getenv` in the service's code sees.
    pub environment: BTreeMap<String, String>,
    /// What resolving Python packages needs.
    pub python: Host,
    /// Who has the Debian packages of bases.
    pub debian_archive: Box<dyn Archive>,
    /// What is known of them.
    pub debian_cache: debian::Cache,
    /// Makes the way to the Hugging Face Hub.
    pub hub: Box<dyn Fn() -> Result<Hub, HubAccessError> + 'a>,
    /// Runs what is asynchronous.
    pub runtime: &'a Runtime,
    /// The time that the bento bears.
    pub now: Timestamp,
    /// Who is told what happens.
    pub report: &'a dyn Report,
    /// The user's wish to stop.
    pub interrupt: &'a Interrupt,
}

impl<'a> Surroundings<'a> {
    /// Takes what a build needs from the surroundings of the program.
    pub fn of(context: &'a Context) -> Result<Self, BuildError> {
        let text =
            |(name, value): (&OsStr, &OsStr)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()));
        Ok(Self {
            home: Home::open(&context.home)?,
            environment: context.environment.iter().filter_map(text).collect(),
            python: context.python_host(),
            debian_archive: context.debian_archive()?,
            debian_cache: context.debian_cache(),
            hub: Box::new(|| context.hub()),
            runtime: &context.runtime,
            now: item_time(context.environment.text("SOURCE_DATE_EPOCH"))?,
            report: context.report.as_ref(),
            interrupt: &context.interrupt,
        })
    }
}

/// What was built.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The bento.
    pub tag: Tag,
    /// Its directory.
    pub path: PathBuf,
    /// The models that it needs, at their exact versions.
    pub models: Vec<Tag>,
    /// How many files it has.
    pub files: u64,
    /// Their bytes, models not included.
    pub size: u64,
    /// How many Python packages were locked; none where locking is off.
    pub python_packages: Option<usize>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Everything that is known before anything is written.
struct Resolved {
    bentofile: Bentofile,
    discovery: Discovery,
    pinned: Pinned,
    tag: Tag,
    packages: PythonPackages,
    image_lock: ImageLock,
}

/// Builds a bento.
///
/// Nothing of the user's code runs. The bento appears in the store whole, or not at all.
pub fn build(settings: &Settings, surroundings: &Surroundings<'_>) -> Result<Outcome, BuildError> {
    let loaded = load(settings)?;
    let mut warnings = loaded.warnings;
    let bentofile = loaded.bentofile;
    let discovery = discover(&bentofile, settings, surroundings)?;
    refuse_unsupported(&bentofile, &discovery)?;
    let mut hub = HubPins::new(settings, surroundings)?;
    let pinned = pin::pin(&bentofile, &discovery, &surroundings.home, &mut hub)?;
    warnings.extend(
        [&settings.name, &settings.version].into_iter().flatten().filter_map(|text| lowercase_warning(text)),
    );
    warnings.extend(image_limits::warnings(&bentofile));
    warnings.extend(discovery.warnings.iter().cloned());
    warnings.extend(pinned.warnings.iter().cloned());
    warnings.extend(late_load_warnings(&discovery, &pinned));
    let tag = tag(settings, &bentofile, &discovery, &surroundings.home)?;
    surroundings.interrupt.check()?;
    let target = requirements::target(&bentofile, settings)?;
    let packages = requirements::lock(&bentofile, settings, target, surroundings)?;
    surroundings.interrupt.check()?;
    let (image_lock, warning) = base::lock(&bentofile.docker, target, surroundings)?;
    warnings.extend(warning);
    let image_lock = image_lock.with_models(hub.into_lock());
    let resolved = Resolved { bentofile, discovery, pinned, tag, packages, image_lock };
    let selection = select(&resolved.bentofile, &settings.context)?;
    check_service_is_selected(&resolved, &selection)?;
    warnings.extend(selection.warnings.iter().cloned());
    let bento = stage::write(&resolved, settings, &selection, surroundings)?;
    for warning in &warnings {
        surroundings.report.warn(warning);
    }
    outcome(bento, &resolved, warnings)
}

/// What `ekiben lock` locks: the models of hubs that a project declares.
pub(super) fn hub_models(
    settings: &Settings,
    surroundings: &Surroundings<'_>,
    endpoint: &str,
) -> Result<Vec<(ModelReference, Wanted)>, BuildError> {
    let bentofile = load(settings)?.bentofile;
    let discovery = discover(&bentofile, settings, surroundings)?;
    let declared = hub::declared(&discovery, endpoint)?;
    Ok(declared.into_iter().map(|(reference, wanted)| (reference.clone(), wanted)).collect())
}

/// An error of a hub, with the place at which the model is declared.
pub(super) fn hub_error(reference: &ModelReference, source: HubError) -> BuildError {
    hub::explain(reference, source)
}

fn load(settings: &Settings) -> Result<Loaded, BuildError> {
    let mut loaded = bentofile::load(&settings.context, settings.bentofile.as_deref())?;
    loaded.bentofile.check_files(&settings.context)?;
    if let Some(path) = &settings.argument_file {
        for (key, value) in argument_file(path)? {
            set(&mut loaded.bentofile.args, key, value);
        }
    }
    for (key, value) in &settings.arguments {
        set(&mut loaded.bentofile.args, key.clone(), Value::text(value));
    }
    if let Some(service) = &settings.service {
        loaded.bentofile.service = Some(service.clone());
    }
    Ok(loaded)
}

fn argument_file(path: &Path) -> Result<Vec<(String, Value)>, BuildError> {
    let bad = |message: String| BuildError::ArgumentFile { path: path.to_owned(), message };
    let source = text::read(path).map_err(|error| bad(error.to_string()))?;
    let value = yaml::read(&source).map_err(|error| bad(error.to_string()))?.into_value();
    let entries = value.as_map().ok_or_else(|| bad("it is not a map".to_owned()))?;
    let text =
        |key: &Value| key.as_text().map(str::to_owned).ok_or_else(|| bad("its keys are not text".to_owned()));
    entries.iter().map(|(key, value)| Ok((text(key)?, value.clone()))).collect()
}

/// Sets a key of an ordered map.
fn set<V>(entries: &mut Vec<(String, V)>, key: String, value: V) {
    match entries.iter_mut().find(|(known, _)| *known == key) {
        Some((_, known)) => *known = value,
        None => entries.push((key, value)),
    }
}

fn discover(
    bentofile: &Bentofile,
    settings: &Settings,
    surroundings: &Surroundings<'_>,
) -> Result<Discovery, BuildError> {
    let request = discover::Request {
        context: &settings.context,
        target: bentofile.service.as_deref(),
        is_src_layout: bentofile.python.is_src_layout,
        environment: &surroundings.environment,
    };
    let found = walk(&request).map_err(BuildError::Thread)?;
    found.map_err(|error| with_target(error, bentofile, settings))
}

/// What is wrong with the name of a service is wrong where the name is written.
fn with_target(error: discover::Error, bentofile: &Bentofile, settings: &Settings) -> BuildError {
    if settings.service.is_none() && bentofile.service.is_some() && error.is_about_target() {
        let place = bentofile.places.of("service");
        return BuildError::Target { place, source: Box::new(error) };
    }
    error.into()
}

/// A bento without the module of its own service could be built and never served.
fn check_service_is_selected(resolved: &Resolved, selection: &Selection) -> Result<(), BuildError> {
    let module = resolved.discovery.target.split(':').next().unwrap_or_default().replace('.', "/");
    let prefix = if resolved.bentofile.python.is_src_layout { "src/" } else { "" };
    let files = [format!("{prefix}{module}.py"), format!("{prefix}{module}/__init__.py")];
    if selection.files.iter().any(|file| files.contains(&file.path)) {
        return Ok(());
    }
    let [path, _] = files;
    Err(BuildError::ServiceLeftOut { path })
}

/// What would have to run in the image or belongs to the older kind of bentos.
fn refuse_unsupported(bentofile: &Bentofile, discovery: &Discovery) -> Result<(), BuildError> {
    let unsupported = [
        ("conda", bentofile.conda.is_some()),
        ("docker.cuda_version", bentofile.docker.cuda_version.is_some()),
        ("docker.dockerfile_template", bentofile.docker.dockerfile_template.is_some()),
        ("python.wheels", !bentofile.python.wheels.is_empty()),
    ];
    if let Some((key, _)) = unsupported.into_iter().find(|(_, is_used)| *is_used) {
        return Err(BuildError::Unsupported { place: bentofile.places.of(key), key });
    }
    match &discovery.entry().image {
        Some(place) => Err(BuildError::ImageObject { place: place.clone() }),
        None => Ok(()),
    }
}

/// Loads that will fail in the container, because the model is not among the pinned ones.
fn late_load_warnings(discovery: &Discovery, pinned: &Pinned) -> Vec<String> {
    let names: Vec<&str> = pinned.tags().map(Tag::name).chain(pinned.aliases()).collect();
    let is_pinned = |load: &&LateLoad| load.model_name().is_some_and(|name| names.contains(&name.as_str()));
    let missing = discovery.late_loads.iter().filter(|load| !is_pinned(load));
    missing
        .map(|load| {
            let model = load.model.as_deref().map_or_else(|| "a model".to_owned(), |model| format!("`{model}`"));
            let time = if load.is_at_module_level { "when the file is imported" } else { "when the code runs" };
            format!(
                "{}: `{}` loads {model} {time}, so it is not in the bento and will be missing in the container; {}",
                load.place,
                load.call,
                load.fix()
            )
        })
        .collect()
}

fn tag(
    settings: &Settings,
    bentofile: &Bentofile,
    discovery: &Discovery,
    home: &Home,
) -> Result<Tag, BuildError> {
    let chosen = settings.name.clone().or_else(|| bentofile.name.clone());
    let name = chosen.unwrap_or_else(|| snake_case(&discovery.entry().name));
    let Some(version) = &settings.version else { return Ok(Tag::generate(&name)?) };
    let tag = Tag::new(&name, version)?;
    let store = home.bentos();
    if store.contains(&tag) {
        // Said before the work, and checked again when the bento is registered.
        return Err(crate::store::Error::AlreadyExists { tag, store: store.path() }.into());
    }
    Ok(tag)
}

fn select(bentofile: &Bentofile, context: &Path) -> Result<bentofile::Selection, BuildError> {
    Ok(Selector::new(&bentofile.include, &bentofile.exclude).select(context)?)
}

/// What `bento.yaml` says.
fn info(
    resolved: &Resolved,
    settings: &Settings,
    image: crate::store::ImageInfo,
    now: Timestamp,
) -> BentoInfo {
    // The models of a service of functions are those of the bento, as upstream has it.
    let is_class = resolved.discovery.entry().style == Style::Class;
    let services = resolved.discovery.services.iter().zip(&resolved.pinned.services).filter(|_| is_class);
    let services = services.map(|(service, models)| ServiceInfo {
        name: service.name.clone(),
        service: String::new(),
        models: models.clone(),
        dependencies: service
            .dependencies
            .iter()
            .map(|dependency| Dependency {
                service: dependency.service.clone(),
                deployment: dependency.deployment.clone(),
                cluster: dependency.cluster.clone(),
                url: dependency.url.clone(),
            })
            .collect(),
        config: service.config.clone().into(),
    });
    BentoInfo {
        tag: resolved.tag.clone(),
        service: resolved.discovery.target.clone(),
        bentoml_version: FORMAT_VERSION.to_owned(),
        creation_time: CreationTime::new(now),
        labels: labels(resolved, settings),
        models: if is_class { resolved.pinned.listed.clone() } else { resolved.pinned.all() },
        entry_service: resolved.discovery.entry().name.clone(),
        services: services.collect(),
        envs: envs(resolved),
        schema: resolved.discovery.schema().into(),
        args: Value::map(resolved.bentofile.args.iter().cloned()),
        spec: 2,
        image: Some(image),
        functions: functions::functions(&resolved.discovery, &resolved.pinned),
    }
}

/// The file's labels, then the decorator's, then the command line's; later ones win.
fn labels(resolved: &Resolved, settings: &Settings) -> Vec<(String, String)> {
    const CHAT: &str = "/chat/completions";
    let mut labels = resolved.bentofile.labels.clone();
    for (key, value) in resolved.discovery.entry().labels.iter().chain(&settings.labels) {
        set(&mut labels, key.clone(), value.clone());
    }
    let entry = resolved.discovery.entry();
    if let Some(prefix) = entry.apis.iter().find_map(|api| api.route.strip_suffix(CHAT)) {
        set(&mut labels, "openai_endpoint".to_owned(), format!("{}{prefix}", entry.path_prefix));
    }
    labels
}

fn envs(resolved: &Resolved) -> Vec<Environment> {
    let all = resolved.bentofile.envs.iter().chain(&resolved.discovery.entry().envs);
    all.map(|variable| Environment {
        name: variable.name.clone(),
        value: variable.value.clone(),
        stage: variable.stage.word().to_owned(),
    })
    .collect()
}

fn outcome(bento: Bento, resolved: &Resolved, warnings: Vec<String>) -> Result<Outcome, BuildError> {
    let size = tree_size(&bento.path).map_err(crate::store::Error::from)?;
    Ok(Outcome {
        models: bento.info.all_models().into_iter().map(|model| model.tag.clone()).collect(),
        tag: bento.info.tag,
        path: bento.path,
        files: size.files,
        size: size.bytes,
        python_packages: resolved.packages.locked.as_ref().map(|locked| locked.packages.len()),
        warnings,
    })
}

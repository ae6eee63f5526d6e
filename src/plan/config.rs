//! The configuration of an image, which is the container contract (spec of the original tool: user, paths, ports,
//! variables).

use std::collections::BTreeMap;

use super::input::Inputs;
use super::{BENTO_PATH, HOME, SERVER, USER_ID, VENV};
use crate::oci::config::ConfigPatch;

/// Search path of images that have none of their own.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The port that the service listens on unless `PORT` says otherwise.
const PORT: &str = "3000/tcp";

pub(super) fn plan(inputs: &Inputs) -> ConfigPatch {
    ConfigPatch {
        env: env(inputs),
        entrypoint: vec![SERVER.to_owned()],
        command: Vec::new(),
        user: Some(format!("{USER_ID}:{USER_ID}")),
        working_directory: Some(BENTO_PATH.to_owned()),
        exposed_ports: vec![PORT.to_owned()],
        labels: labels(inputs),
        stop_signal: Some("SIGTERM".to_owned()),
        created: Some(inputs.created.clone()),
    }
}

fn env(inputs: &Inputs) -> BTreeMap<String, String> {
    let path = inputs.base_path.as_deref().unwrap_or(DEFAULT_PATH);
    let own = [
        ("BENTOML_CONTAINERIZED", "true".to_owned()),
        ("BENTOML_HF_CACHE_DIR", format!("{BENTO_PATH}/hf-models")),
        ("BENTOML_HOME", format!("{HOME}/")),
        ("BENTO_PATH", BENTO_PATH.to_owned()),
        ("HOME", HOME.to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("LC_ALL", "C.UTF-8".to_owned()),
        ("PATH", format!("{VENV}/bin:{path}")),
        ("PYTHONIOENCODING", "UTF-8".to_owned()),
        ("PYTHONUNBUFFERED", "1".to_owned()),
        ("VIRTUAL_ENV", VENV.to_owned()),
    ];
    // Where the hub's own client, and all that use it, look for what they would else download.
    let hub = (!inputs.hub.is_empty()).then(|| ("HF_HUB_CACHE", format!("{BENTO_PATH}/hf-models")));
    let users = inputs.bento.envs.iter().map(|env| (env.name.clone(), env.value.clone()));
    own.into_iter().chain(hub).map(|(name, value)| (name.to_owned(), value)).chain(users).collect()
}

fn labels(inputs: &Inputs) -> BTreeMap<String, String> {
    let bento = &inputs.bento;
    let mut labels: BTreeMap<_, _> = bento.labels.iter().cloned().collect();
    labels.extend([
        ("org.opencontainers.image.title".to_owned(), bento.name.clone()),
        ("org.opencontainers.image.version".to_owned(), bento.version.clone()),
        ("ekiben.bento".to_owned(), format!("{}:{}", bento.name, bento.version)),
        ("ekiben.service".to_owned(), bento.service.clone()),
    ]);
    labels
}

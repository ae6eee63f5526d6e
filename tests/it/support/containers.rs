//! Containers of the tests' engine, on networks of their own.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::docker_engine::DockerEngine;
use super::web::Address;

/// A network from which nothing outside of the machine can be reached.
const ISOLATED: &str = "isolated";

/// A network whose containers can publish ports: the engine of the tests has no default one.
pub(crate) const PUBLISHED: &str = "published";

/// The port that services listen on in a container.
const PORT: u16 = 3000;

/// Held while the networks of an engine are made.
static NETWORKS: Mutex<()> = Mutex::new(());

/// A container, removed with its handle.
pub(crate) struct Container {
    engine: Arc<DockerEngine>,
    id: String,
}

/// Makes the networks of this module, unless the engine has them.
pub(crate) fn make_networks(engine: &DockerEngine) {
    let _alone = NETWORKS.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, options) in [(ISOLATED, &["--internal"][..]), (PUBLISHED, &[])] {
        let filter = format!("name=^{name}$");
        if engine.docker(["network", "ls", "--quiet", "--filter", &filter]).is_empty() {
            let create = ["network", "create"].into_iter().chain(options.iter().copied());
            assert!(!engine.docker(create.chain([name])).is_empty(), "an engine names the network it made");
        }
    }
}

/// Loads an image from an archive into the engine.
pub(crate) fn load(engine: &DockerEngine, archive: &Path) {
    let archive = archive.to_str().expect("paths of tests are UTF-8");
    let loaded = engine.docker(["load", "--input", archive]);
    assert!(loaded.contains("Loaded image"), "{loaded}");
}

impl Container {
    /// Runs a container that cannot reach anything outside of the machine.
    pub(crate) fn isolated(engine: &Arc<DockerEngine>, options: &[&str], image: &str) -> Self {
        make_networks(engine);
        let run = ["run", "--detach", "--network", ISOLATED].into_iter().chain(options.iter().copied());
        let id = engine.docker(run.chain([image]));
        Self { engine: Arc::clone(engine), id }
    }

    /// Where the service in the container listens.
    pub(crate) fn address(&self) -> Address {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let text = self.engine.docker(["inspect", "--format", format, &self.id]);
        let ip: IpAddr = text.parse().unwrap_or_else(|error| panic!("`{text}`: {error}\n{}", self.logs()));
        Address::from((ip, PORT))
    }

    /// Asks the container to stop, as an orchestrator does, and returns its exit status.
    pub(crate) fn stop(&self) -> String {
        assert_eq!(self.engine.docker(["stop", "--time", "60", &self.id]), self.id);
        self.engine.docker(["inspect", "--format", "{{.State.ExitCode}}", &self.id])
    }

    /// Runs a program inside and returns what it printed.
    pub(crate) fn exec(&self, arguments: &[&str]) -> String {
        self.engine.docker(["exec", &self.id].into_iter().chain(arguments.iter().copied()))
    }

    /// What the container wrote to its standard output, which is where the front's log is.
    pub(crate) fn logs(&self) -> String {
        self.engine.docker(["logs", &self.id])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // After a failure the engine, which ends with the test, takes its containers along.
        if !std::thread::panicking() {
            assert_eq!(self.engine.docker(["rm", "--force", &self.id]), self.id);
        }
    }
}

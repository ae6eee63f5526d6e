//! Containers of the tests' engine, whose network reaches nothing outside of it.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::docker_engine::DockerEngine;
use super::web::Address;

/// The port that services listen on in a container.
const PORT: u16 = 3000;

/// A container, removed with its handle.
pub(crate) struct Container {
    engine: Arc<DockerEngine>,
    id: String,
}

/// Loads an image from an archive into the engine.
pub(crate) fn load(engine: &DockerEngine, archive: &Path) {
    let archive = archive.to_str().expect("paths of tests are UTF-8");
    let loaded = engine.docker(["load", "--input", archive]);
    assert!(loaded.contains("Loaded image"), "{loaded}");
}

impl Container {
    /// Runs a container.
    pub(crate) fn run(engine: &Arc<DockerEngine>, options: &[&str], image: &str) -> Self {
        let run = ["run", "--detach"].into_iter().chain(options.iter().copied());
        let id = engine.docker(run.chain([image]));
        Self { engine: Arc::clone(engine), id }
    }

    /// Does something with the address of the service, where the container can be reached.
    pub(crate) fn visit<T: Send>(&self, visit: impl FnOnce(Address) -> T + Send) -> T {
        let address = self.address();
        let network = File::open(self.engine.network()).expect("a running engine has a network");
        thread::scope(|scope| {
            let visitor = scope.spawn(|| {
                // This thread alone; it ends with the visit.
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("who started the engine may enter its network");
                visit(address)
            });
            visitor.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    fn address(&self) -> Address {
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

//! Which devices a worker computes on, and with how many threads (runtime contract 6).

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::env::Environment;
use crate::serve::config::RunnerConfig;
use crate::serve::config::runner::{Density, Devices};
use crate::serve::manifest::Abilities;

/// Where the driver lists the machine's devices, one directory each.
const DEVICES: &str = "/proc/driver/nvidia/gpus";

/// The variable that says which devices a process sees.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// The variable with which users keep all devices for all services.
const OFF: &str = "BENTOML_DISABLE_GPU_ALLOCATION";

/// The variable that lists the devices where the driver does not.
const LISTED: &str = "EKIBEN_DEVICES";

/// What says how many threads a library computes with.
const THREADS: [&str; 9] = [
    "BENTOML_NUM_THREAD",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_RS_NUM_CPUS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
];

/// The share of a device that is no device any more; fractions add up with small errors.
const EXHAUSTED: f64 = 1e-9;

/// A request for devices that cannot be met.
#[derive(Debug, Error, PartialEq)]
pub enum PlacementError {
    /// More than one device, but not a whole number of them.
    #[error("`resources.gpu` of `{unit}` is {wanted}: above 1 it must be a whole number")]
    Fraction {
        /// Who asks.
        unit: String,
        /// For how many.
        wanted: f64,
    },
    /// More devices than there are left.
    #[error("`resources.gpu` of `{unit}` is {wanted}, but {left} of {all} devices are left")]
    TooFew {
        /// Who asks.
        unit: String,
        /// For how many.
        wanted: f64,
        /// How many are left.
        left: usize,
        /// How many there are.
        all: usize,
    },
    /// A runner is configured for devices that are not there.
    #[error("`resources.nvidia.com/gpu` of the runner `{unit}` is {wanted}, but there are {all} devices")]
    NotThere {
        /// Who asks.
        unit: String,
        /// For what.
        wanted: String,
        /// How many there are.
        all: usize,
    },
    /// The value is no number of devices.
    #[error("`resources.gpu` of `{unit}` must be a number of devices, but is `{found}`")]
    NotANumber {
        /// Who asks.
        unit: String,
        /// What it says.
        found: String,
    },
}

/// The variables of each worker of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    workers: Vec<BTreeMap<String, String>>,
}

/// What the machine has, and what of it is still free.
#[derive(Clone, Debug)]
pub struct Machine {
    cores: u32,
    devices: Vec<String>,
    /// Devices that nobody has, from here on.
    next: usize,
    /// What is left of shared devices, with the share that each of their users has.
    shared: Vec<Shared>,
    assigns: bool,
}

#[derive(Clone, Debug)]
struct Shared {
    device: String,
    share: f64,
    left: f64,
}

impl Placement {
    /// Returns the variables of worker number `index`, from 1; a worker beyond the last has those of the last.
    pub fn variables(&self, index: u32) -> impl Iterator<Item = (&String, &String)> {
        let index = (index.saturating_sub(1) as usize).min(self.workers.len().saturating_sub(1));
        self.workers.get(index).into_iter().flatten()
    }
}

impl Machine {
    /// Looks at the machine: the cores that this process may use, and the devices that the user lets it see.
    pub fn new(environment: &Environment) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let visible = environment.text(VISIBLE);
        let devices = match visible.or_else(|| environment.text(LISTED)) {
            Some(names) => listed(names),
            None => installed(Path::new(DEVICES)),
        };
        Self {
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            devices,
            next: 0,
            shared: Vec::new(),
            // Who says which devices are seen has decided for the services too, as in upstream.
            assigns: visible.is_none() && environment.text(OFF).is_none(),
        }
    }

    /// Returns the cores.
    pub fn cores(&self) -> u32 {
        self.cores
    }

    /// Tells whether services may be given devices.
    pub fn gives_devices(&self) -> bool {
        self.assigns && !self.devices.is_empty()
    }

    /// Gives a service the devices that its `resources.gpu` asks for: one for each worker where they are enough,
    /// otherwise all of them to every worker.
    pub fn place_service(
        &mut self,
        name: &str,
        config: &Map<String, Value>,
        workers: u32,
    ) -> Result<Placement, PlacementError> {
        let wanted = config.get("resources").and_then(|resources| resources.get("gpu"));
        let is_for_all = config.get("workers").and_then(Value::as_str) == Some("cpu_count");
        let Some(wanted) = wanted.filter(|wanted| !wanted.is_null() && self.assigns && !is_for_all) else {
            return Ok(Placement::default());
        };
        let number =
            wanted.as_f64().or_else(|| wanted.as_str()?.parse().ok()).filter(|number| *number >= 0.0);
        let not_a_number = || PlacementError::NotANumber { unit: name.to_owned(), found: wanted.to_string() };
        let devices = self.take(name, number.ok_or_else(not_a_number)?)?;
        Ok(Placement { workers: (0..workers).map(|_| visible(devices.join(","))).collect() })
    }

    /// Places the workers of a runner: one for each device if it can use them, one for each core if it computes with
    /// one thread, otherwise one with as many threads as there are cores.
    pub fn place_runner(
        &self,
        name: &str,
        abilities: Abilities,
        config: &RunnerConfig,
    ) -> Result<Placement, PlacementError> {
        let all = self.devices.len();
        let not_there = |wanted: String| PlacementError::NotThere { unit: name.to_owned(), wanted, all };
        let devices = match &config.devices {
            None => self.devices.as_slice(),
            Some(Devices::Count(count)) => {
                self.devices.get(..*count as usize).ok_or_else(|| not_there(count.to_string()))?
            }
            Some(Devices::Named(devices)) => match devices.iter().find(|device| !self.has(device)) {
                None => devices.as_slice(),
                Some(missing) => return Err(not_there(missing.clone())),
            },
        };
        let workers = if abilities.gpu && !devices.is_empty() {
            on_devices(devices, config.workers_per_resource)
        } else {
            let cores = config.cores.unwrap_or(self.cores);
            let each = config.workers_per_resource.on_core();
            let (count, threads) = if abilities.threads { (each, cores) } else { (cores * each, 1) };
            let mut variables = visible("-1".to_owned());
            variables.extend(THREADS.map(|name| (name.to_owned(), threads.to_string())));
            vec![variables; count as usize]
        };
        Ok(Placement { workers })
    }

    /// Whether there is such a device; what is no index is one of the driver's own names, which it knows best.
    fn has(&self, device: &str) -> bool {
        let is_index = device.bytes().all(|byte| byte.is_ascii_digit());
        !is_index || self.devices.iter().any(|known| known == device)
    }

    fn take(&mut self, unit: &str, wanted: f64) -> Result<Vec<String>, PlacementError> {
        let left = self.devices.len() - self.next;
        let too_few =
            || PlacementError::TooFew { unit: unit.to_owned(), wanted, left, all: self.devices.len() };
        if wanted > 0.0 && wanted < 1.0 {
            let fits = |shared: &&mut Shared| {
                (shared.share - wanted).abs() < EXHAUSTED && shared.left + EXHAUSTED >= wanted
            };
            if let Some(shared) = self.shared.iter_mut().find(fits) {
                shared.left -= wanted;
                return Ok(vec![shared.device.clone()]);
            }
            let device = self.devices.get(self.next).cloned().ok_or_else(too_few)?;
            self.next += 1;
            self.shared.push(Shared { device: device.clone(), share: wanted, left: 1.0 - wanted });
            return Ok(vec![device]);
        }
        if wanted.fract() != 0.0 {
            return Err(PlacementError::Fraction { unit: unit.to_owned(), wanted });
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
        let count = wanted as usize;
        let taken = self.devices.get(self.next..self.next + count).ok_or_else(too_few)?.to_vec();
        self.next += count;
        Ok(taken)
    }
}

impl Placement {
    /// Places workers as somebody else has decided.
    pub fn decided(workers: Vec<BTreeMap<String, String>>) -> Self {
        Self { workers }
    }

    /// Returns how many workers have variables of their own.
    pub fn workers(&self) -> u32 {
        u32::try_from(self.workers.len()).unwrap_or(u32::MAX)
    }
}

/// Gives each device its workers, or each worker its devices.
fn on_devices(devices: &[String], each: Density) -> Vec<BTreeMap<String, String>> {
    match each {
        Density::Workers(each) => {
            devices.iter().flat_map(|device| vec![visible(device.clone()); each as usize]).collect()
        }
        Density::Devices(each) => {
            devices.chunks(each as usize).map(|devices| visible(devices.join(","))).collect()
        }
    }
}

fn visible(devices: String) -> BTreeMap<String, String> {
    BTreeMap::from([(VISIBLE.to_owned(), devices)])
}

/// The devices that the variable names; everything from the first that is none on is not seen, as CUDA has it.
fn listed(visible: &str) -> Vec<String> {
    let names = visible.split(',').map(str::trim);
    names.take_while(|name| !name.is_empty() && !name.starts_with('-')).map(str::to_owned).collect()
}

fn installed(folder: &Path) -> Vec<String> {
    let count = std::fs::read_dir(folder).map_or(0, Iterator::count);
    (0..count).map(|index| index.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machine(cores: u32, devices: &[&str]) -> Machine {
        let devices = devices.iter().map(|device| (*device).to_owned()).collect();
        Machine { cores, devices, next: 0, shared: Vec::new(), assigns: true }
    }

    fn asks(gpu: &Value) -> Map<String, Value> {
        json!({"resources": {"gpu": gpu}}).as_object().unwrap().clone()
    }

    fn seen(placement: &Placement, index: u32) -> Option<String> {
        placement.variables(index).find(|(name, _)| *name == VISIBLE).map(|(_, value)| value.clone())
    }

    #[test]
    fn services_take_devices_one_after_the_other() {
        let mut machine = machine(4, &["0", "1", "2", "3"]);
        let mut place = |gpu: Value| machine.place_service("s", &asks(&gpu), 2);
        assert_eq!(seen(&place(json!(2)).unwrap(), 2).unwrap(), "0,1");
        assert_eq!(seen(&place(json!(0.5)).unwrap(), 1).unwrap(), "2");
        assert_eq!(seen(&place(json!(0.5)).unwrap(), 1).unwrap(), "2");
        assert_eq!(seen(&place(json!(0.5)).unwrap(), 1).unwrap(), "3");
        let error = place(json!(1)).unwrap_err().to_string();
        assert_eq!(error, "`resources.gpu` of `s` is 1, but 0 of 4 devices are left");
        let error = place(json!(1.5)).unwrap_err().to_string();
        assert_eq!(error, "`resources.gpu` of `s` is 1.5: above 1 it must be a whole number");
        assert!(place(json!("many")).is_err() && place(json!(-1)).is_err());
        assert_eq!(place(Value::Null).unwrap(), Placement::default());
    }

    fn runner(config: &Value) -> RunnerConfig {
        RunnerConfig::new(config.as_object().unwrap()).unwrap()
    }

    #[test]
    fn runners_are_placed_by_what_they_can() {
        let (gpu, threads) = (true, true);
        let with = machine(4, &["0", "GPU-x"]);
        let plain = runner(&json!({}));
        let place = |machine: &Machine, gpu, threads, config: &RunnerConfig| {
            machine.place_runner("r", Abilities { gpu, threads }, config).unwrap()
        };
        let placed = place(&with, gpu, threads, &runner(&json!({"workers_per_resource": 2})));
        let devices: Vec<_> = (1..=4).map(|index| seen(&placed, index).unwrap()).collect();
        assert_eq!(devices, ["0", "0", "GPU-x", "GPU-x"]);
        let placed = place(&with, gpu, threads, &runner(&json!({"workers_per_resource": 0.5})));
        assert_eq!((placed.workers(), seen(&placed, 1).unwrap().as_str()), (1, "0,GPU-x"));
        let placed = place(&with, false, threads, &plain);
        assert_eq!((placed.workers(), seen(&placed, 1).unwrap().as_str()), (1, "-1"));
        assert!(placed.variables(1).any(|(name, value)| name == "OMP_NUM_THREADS" && value == "4"));
        let placed = place(&machine(4, &[]), gpu, false, &plain);
        assert_eq!(placed.workers(), 4);
        assert!(placed.variables(4).any(|(name, value)| name == "MKL_NUM_THREADS" && value == "1"));
    }

    #[test]
    fn what_is_configured_counts_before_what_is_there() {
        let abilities = Abilities { gpu: true, threads: true };
        let with = machine(4, &["0", "1"]);
        let place = |config: Value| with.place_runner("r", abilities, &runner(&config));
        let placed = place(json!({"resources": {"nvidia.com/gpu": [1]}})).unwrap();
        assert_eq!((placed.workers(), seen(&placed, 1).unwrap().as_str()), (1, "1"));
        let placed = place(json!({"resources": {"nvidia.com/gpu": 0, "cpu": 2}})).unwrap();
        assert!(placed.variables(1).any(|(name, value)| name == "OMP_NUM_THREADS" && value == "2"));
        let error = place(json!({"resources": {"nvidia.com/gpu": 3}})).unwrap_err().to_string();
        assert_eq!(error, "`resources.nvidia.com/gpu` of the runner `r` is 3, but there are 2 devices");
        assert!(place(json!({"resources": {"nvidia.com/gpu": ["0", 7]}})).is_err());
        assert!(place(json!({"resources": {"nvidia.com/gpu": ["GPU-x"]}})).is_ok());
    }

    #[test]
    fn the_mask_of_the_user_is_the_pool() {
        assert_eq!(listed("1, 3"), ["1", "3"]);
        assert_eq!(listed("-1"), Vec::<String>::new());
        assert_eq!(listed(""), Vec::<String>::new());
    }
}

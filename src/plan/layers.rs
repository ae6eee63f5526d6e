//! Which layers an image has, and what each follows from.

use serde_json::{Value, json};

use super::hub::hub_layers;
use super::input::{DistributionInput, Inputs, PackagesInput};
use crate::oci::compress::Compression;
use crate::oci::compress::Storage;

/// A distribution from this size has a layer of its own, so that an upgrade of another does not send it again.
const OWN_LAYER: u64 = 10 << 20;

/// A layer that the image will have.
#[derive(Clone, Debug)]
pub struct LayerPlan {
    /// What people read in the history and on the terminal.
    pub title: String,
    /// What is in it.
    pub content: LayerContent,
    /// Everything that its bytes follow from.
    pub inputs: Value,
    /// How it is stored.
    pub storage: Storage,
}

/// What a layer contains; indexes point into the inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerContent {
    /// A base assembled from Debian packages.
    BasePackages,
    /// Debian packages on top of the base.
    SystemPackages,
    /// Account files of a base image from elsewhere, with the service's user added.
    Accounts,
    /// Python packages.
    Distributions(Vec<usize>),
    /// ekiben's server and SDK, and the skeleton of the virtual environment.
    Runtime,
    /// A model.
    Model(usize),
    /// Contents of a repository of the hub.
    Hub {
        /// The repository.
        repository: usize,
        /// Which of its contents.
        contents: Vec<usize>,
        /// Whether the links that make files of all its contents are there too.
        has_links: bool,
    },
    /// The bento less its models.
    Source,
}

pub(super) fn plan(inputs: &Inputs) -> Vec<LayerPlan> {
    let mut layers = Vec::new();
    let compressed = Storage::Kept(inputs.compression);
    let mut add = |title: String, content, inputs, storage| {
        layers.push(LayerPlan { title, content, inputs, storage });
    };
    let packages = |packages: &PackagesInput| json!({"kind": "debian", "lock": packages.lock});
    if let Some(base) = &inputs.base_packages {
        add(format!("base {}", base.title), LayerContent::BasePackages, packages(base), compressed);
    }
    if let Some(system) = &inputs.system_packages {
        let title = format!("system packages {}", system.title);
        add(title, LayerContent::SystemPackages, packages(system), compressed);
    }
    if let Some(accounts) = inputs.accounts {
        let inputs = json!({"kind": "accounts", "files": accounts});
        add("user account".to_owned(), LayerContent::Accounts, inputs, compressed);
    }
    for group in distribution_groups(&inputs.distributions) {
        let members: Vec<_> = group.iter().map(|&index| &inputs.distributions[index]).collect();
        let prints: Vec<_> = members.iter().map(|member| &member.fingerprint).collect();
        let document = json!({"kind": "distributions", "python": inputs.python, "fingerprints": prints});
        let title = match members[..] {
            [only] => format!("python package {} {}", only.name, only.version),
            _ => format!("{} python packages", members.len()),
        };
        add(title, LayerContent::Distributions(group), document, compressed);
    }
    let runtime = json!({"kind": "runtime", "digest": inputs.runtime});
    add("runtime".to_owned(), LayerContent::Runtime, runtime, compressed);
    for (index, model) in inputs.models.iter().enumerate() {
        let document = json!({"kind": "model", "fingerprint": model.fingerprint, "name": model.name,
            "version": model.version});
        let storage = match inputs.compression {
            Compression::None => Storage::Virtual,
            compression => Storage::IfWorthwhile(compression),
        };
        add(format!("model {}:{}", model.name, model.version), LayerContent::Model(index), document, storage);
    }
    layers.extend(hub_layers(&inputs.hub));
    let latest: Vec<_> = inputs.models.iter().map(|model| (&model.name, &model.version)).collect();
    let source = json!({"kind": "source", "files": inputs.bento.files, "models": latest});
    layers.push(LayerPlan {
        title: format!("bento {}", inputs.bento.name),
        content: LayerContent::Source,
        inputs: source,
        storage: compressed,
    });
    layers
}

/// Large distributions alone, the others together, in the order of the largest first: what changes least often is
/// lowest.
fn distribution_groups(distributions: &[DistributionInput]) -> Vec<Vec<usize>> {
    let mut large: Vec<_> =
        (0..distributions.len()).filter(|&index| distributions[index].size >= OWN_LAYER).collect();
    large.sort_by(|&left, &right| distributions[left].name.cmp(&distributions[right].name));
    let small: Vec<_> =
        (0..distributions.len()).filter(|&index| distributions[index].size < OWN_LAYER).collect();
    let mut groups: Vec<_> = large.into_iter().map(|index| vec![index]).collect();
    if !small.is_empty() {
        groups.push(small);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn distribution(name: &str, size: u64) -> DistributionInput {
        DistributionInput {
            name: name.to_owned(),
            version: "1".to_owned(),
            size,
            fingerprint: name.to_owned(),
        }
    }

    #[test]
    fn large_distributions_stand_alone() {
        let all = [
            distribution("numpy", OWN_LAYER),
            distribution("joblib", 1),
            distribution("attrs", 2),
            distribution("faiss", OWN_LAYER),
        ];
        assert_eq!(distribution_groups(&all), [vec![3], vec![0], vec![1, 2]]);
        assert_eq!(distribution_groups(&[]), Vec::<Vec<usize>>::new());
    }

    proptest! {
        #[test]
        fn every_distribution_is_in_exactly_one_layer(sizes in proptest::collection::vec(0_u64..2 * OWN_LAYER, 0..40)) {
            let all: Vec<_> = sizes.iter().enumerate().map(|(index, size)| distribution(&index.to_string(), *size)).collect();
            let mut members: Vec<_> = distribution_groups(&all).concat();
            members.sort_unstable();
            prop_assert_eq!(members, (0..all.len()).collect::<Vec<_>>());
        }
    }
}

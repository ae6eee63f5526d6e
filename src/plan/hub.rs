//! The layers of models of the Hugging Face Hub: large contents alone, so that they are shared and sent by themselves,
//! and small ones together.

use serde_json::json;

use super::layers::{LayerContent, LayerPlan};
use crate::oci::compress::Storage;

/// A content from this size has a layer of its own.
const OWN_LAYER: u64 = 64 << 20;
/// Most bytes of the contents that share a layer.
const BUNDLE: u64 = 256 << 20;
/// Most layers of all models of the hub: overlay file systems stop at 127, and some forty more are there for the rest.
/// What else is in an image does not count, so that its models' layers do not follow from it.
const MAX_LAYERS: usize = 64;

/// A repository of which an image needs something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubInput {
    /// Its name, as the hub writes it.
    pub name: String,
    /// Its directory in a cache.
    pub directory: String,
    /// Another name under which that directory is looked for: bentos have names in lower case.
    pub alias: Option<String>,
    /// Every content once, in the order of the files.
    pub contents: Vec<HubContentInput>,
    /// The commits that are needed; what the first one is, is what the repository's name alone means.
    pub snapshots: Vec<HubSnapshotInput>,
}

/// A content of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubContentInput {
    /// Its name in a cache, which tells what it is.
    pub name: String,
    /// Bytes that it has.
    pub size: u64,
    /// The path of a file with it, for people.
    pub path: String,
}

/// A commit of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubSnapshotInput {
    /// Its hash.
    pub commit: String,
    /// Its files: path, and name of the content.
    pub files: Vec<(String, String)>,
}

/// A layer of a repository: some of its contents, and with the last ones the links that make files of them.
struct Group {
    repository: usize,
    contents: Vec<usize>,
    size: u64,
    has_links: bool,
}

/// The layers of all repositories that an image needs.
pub fn hub_layers(repositories: &[HubInput]) -> Vec<LayerPlan> {
    let groups = repositories.iter().enumerate().flat_map(|(index, input)| groups(index, input));
    let mut groups: Vec<Group> = groups.collect();
    while groups.len() > MAX_LAYERS && merge_smallest(&mut groups) {}
    groups.into_iter().map(|group| layer(&repositories[group.repository], group)).collect()
}

fn groups(repository: usize, input: &HubInput) -> Vec<Group> {
    let group = |contents: Vec<usize>, has_links| {
        let size = contents.iter().map(|&index| input.contents[index].size).sum();
        Group { repository, contents, size, has_links }
    };
    let is_large = |index: &usize| input.contents[*index].size >= OWN_LAYER;
    let (large, small): (Vec<usize>, Vec<usize>) = (0..input.contents.len()).partition(is_large);
    let mut groups: Vec<Group> = large.into_iter().map(|index| group(vec![index], false)).collect();
    let (mut bundle, mut size) = (Vec::new(), 0);
    for index in small {
        let more = input.contents[index].size;
        if size + more > BUNDLE {
            groups.push(group(std::mem::take(&mut bundle), false));
            size = 0;
        }
        bundle.push(index);
        size += more;
    }
    groups.push(group(bundle, true));
    groups
}

/// Makes one layer of the two neighbours of a repository that are smallest together; `false` where there are none.
fn merge_smallest(groups: &mut Vec<Group>) -> bool {
    let pairs = groups.windows(2).enumerate().filter(|(_, pair)| pair[0].repository == pair[1].repository);
    let smallest = pairs.min_by_key(|(_, pair)| pair[0].size + pair[1].size).map(|(index, _)| index);
    let Some(index) = smallest else { return false };
    let second = groups.remove(index + 1);
    let first = &mut groups[index];
    first.contents.extend(second.contents);
    first.size += second.size;
    first.has_links |= second.has_links;
    true
}

fn layer(input: &HubInput, group: Group) -> LayerPlan {
    let contents: Vec<_> = group.contents.iter().map(|&index| &input.contents[index]).collect();
    let named: Vec<_> = contents.iter().map(|content| json!([content.name, content.size])).collect();
    let mut inputs = json!({"kind": "hub", "directory": input.directory, "contents": named});
    if group.has_links {
        let snapshots = input.snapshots.iter().map(|snapshot| json!([snapshot.commit, snapshot.files]));
        inputs["snapshots"] = snapshots.collect();
        inputs["alias"] = json!(input.alias);
    }
    let what = match contents[..] {
        [only] if !group.has_links => only.path.clone(),
        [] => "links".to_owned(),
        [_] => "1 file".to_owned(),
        _ => format!("{} files", contents.len()),
    };
    let repository = group.repository;
    let content = LayerContent::Hub { repository, contents: group.contents, has_links: group.has_links };
    // Weights do not get smaller, and a layer that is not compressed never has to be written down.
    LayerPlan { title: format!("model {} ({what})", input.name), content, inputs, storage: Storage::Virtual }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn input(name: &str, sizes: &[u64]) -> HubInput {
        let content = |(index, size): (usize, &u64)| HubContentInput {
            name: format!("{index:064x}"),
            size: *size,
            path: format!("file-{index}"),
        };
        HubInput {
            name: name.to_owned(),
            directory: format!("models--{name}"),
            alias: None,
            contents: sizes.iter().enumerate().map(content).collect(),
            snapshots: Vec::new(),
        }
    }

    fn titles(repositories: &[HubInput]) -> Vec<String> {
        hub_layers(repositories).into_iter().map(|layer| layer.title).collect()
    }

    #[test]
    fn large_contents_stand_alone_and_small_ones_together() {
        let sizes = [1, OWN_LAYER, 2, OWN_LAYER + 1];
        assert_eq!(
            titles(&[input("m", &sizes)]),
            ["model m (file-1)", "model m (file-3)", "model m (2 files)"]
        );
        assert_eq!(titles(&[input("m", &[OWN_LAYER])]), ["model m (file-0)", "model m (links)"]);
        let medium = [OWN_LAYER - 1; 6];
        assert_eq!(titles(&[input("m", &medium)]), ["model m (4 files)", "model m (2 files)"]);
    }

    #[test]
    fn what_does_not_concern_a_layer_does_not_change_it() {
        let one = input("m", &[OWN_LAYER, 1]);
        let mut other = one.clone();
        other.contents[1].name = "f".repeat(64);
        let (one, other) = (hub_layers(&[one]), hub_layers(&[other]));
        assert_eq!(one[0].inputs, other[0].inputs);
        assert_ne!(one[1].inputs, other[1].inputs);
    }

    proptest! {
        #[test]
        fn every_content_is_in_one_layer_and_there_are_never_too_many(
            sizes in proptest::collection::vec(0_u64..2 * OWN_LAYER, 0..300),
        ) {
            let planned = hub_layers(&[input("m", &sizes), input("n", &sizes)]);
            prop_assert!(planned.len() <= MAX_LAYERS);
            for repository in 0..2 {
                let mut members: Vec<usize> = Vec::new();
                let mut links = 0;
                for layer in &planned {
                    if let LayerContent::Hub { repository: of, contents, has_links } = &layer.content
                        && *of == repository
                    {
                        members.extend(contents);
                        links += usize::from(*has_links);
                    }
                }
                members.sort_unstable();
                prop_assert_eq!(members, (0..sizes.len()).collect::<Vec<_>>());
                prop_assert_eq!(links, 1);
            }
        }
    }
}

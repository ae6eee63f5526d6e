//! `delete`: what its targets mean, for models and bentos alike.

use crate::store::{self, Item, Store};
use crate::tag::{Tag, TagQuery};

/// The targets in the arguments of `delete`: separated by commas if there is one, else by spaces.
pub fn split(arguments: &[String]) -> Vec<String> {
    let joined = arguments.join(" ");
    let is_target = |part: &&str| !part.is_empty();
    if joined.contains(',') {
        return joined.split(',').map(str::trim).filter(is_target).map(str::to_owned).collect();
    }
    joined.split_whitespace().map(str::to_owned).collect()
}

/// The items that a target of `delete` means, sorted: all versions of a name, or the one of a version.
pub fn targets<I: Item>(query: &TagQuery, store: &Store<I>) -> Result<Vec<Tag>, store::Error> {
    if query.version().is_some() {
        return Ok(vec![store.resolve(query)?]);
    }
    let listing = store.list(Some(query))?;
    let mut tags: Vec<Tag> = listing.items.into_iter().map(|item| item.tag().clone()).collect();
    tags.sort();
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn targets_are_separated_by_commas_or_spaces() {
        let parts =
            |arguments: &[&str]| split(&arguments.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(parts(&["a:1", "b"]), ["a:1", "b"]);
        assert_eq!(parts(&["a:1, b", ",c"]), ["a:1", "b", "c"]);
        assert_eq!(parts(&["a b"]), ["a", "b"]);
        assert_eq!(parts(&[" , "]), Vec::<String>::new());
    }
}

//! The keys that a bentofile may have, and what a wrong one probably meant.

/// Keys of the bentofile itself.
pub(super) const ROOT: &[&str] = &[
    "args",
    "conda",
    "description",
    "docker",
    "envs",
    "exclude",
    "include",
    "labels",
    "models",
    "name",
    "python",
    "service",
];

/// Keys of `python`.
pub(super) const PYTHON: &[&str] = &[
    "extra_index_url",
    "find_links",
    "index_url",
    "is_src_layout",
    "lock_packages",
    "no_index",
    "pack_git_packages",
    "packages",
    "pip_args",
    "requirements_txt",
    "trusted_host",
    "wheels",
];

/// Keys of `docker`.
pub(super) const DOCKER: &[&str] = &[
    "base_image",
    "cuda_version",
    "distro",
    "dockerfile_template",
    "env",
    "python_version",
    "setup_script",
    "system_packages",
];

/// Keys of `conda`.
pub(super) const CONDA: &[&str] = &["channels", "dependencies", "environment_yml", "pip"];

/// Keys of one entry of `models`.
pub(super) const MODEL: &[&str] = &["alias", "filter", "tag"];

/// The sections whose keys people put in the wrong place.
const SECTIONS: [(&str, &[&str]); 3] = [("python", PYTHON), ("docker", DOCKER), ("conda", CONDA)];

/// Guesses what an unknown key meant: a similar one beside it, or the same one in another section.
pub(super) fn suggest(key: &str, known: &[&str]) -> Option<String> {
    let wanted = key.to_lowercase().replace('-', "_");
    let allowed = (wanted.len() / 3).max(1);
    let similar = known
        .iter()
        .map(|candidate| (distance(&wanted, candidate), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min();
    let similar = similar.map(|(_, candidate)| candidate.to_owned());
    similar.or_else(|| {
        let elsewhere = SECTIONS.iter().find(|(_, keys)| keys.contains(&wanted.as_str()));
        let moved = elsewhere.map(|(section, _)| format!("{section}.{wanted}"));
        moved.or_else(|| ROOT.contains(&wanted.as_str()).then(|| format!("{wanted} at the top level")))
    })
}

/// How many letters have to be changed, added, removed or swapped.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut best = replaced.min(row[j] + 1).min(rows[i][j + 1] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_and_a_wrong_section_are_recognised() {
        assert_eq!(suggest("servcie", ROOT).as_deref(), Some("service"));
        assert_eq!(suggest("package", PYTHON).as_deref(), Some("packages"));
        assert_eq!(suggest("python_version", ROOT).as_deref(), Some("docker.python_version"));
        assert_eq!(suggest("include", DOCKER).as_deref(), Some("include at the top level"));
        assert_eq!(suggest("zzz", ROOT), None);
    }
}

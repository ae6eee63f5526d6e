//! Bentos in the older form (spec 1), which upstream still builds of services of functions: `docker`, `python` and
//! `conda` say how their images are made.

use super::error::ContainerizeError;
use crate::bentofile::Docker;
use crate::ops::build::describe_image;
use crate::store::{Bento, ImageInfo};
use crate::yaml::Value;

/// What would have to run in the image, by section and key.
const UNSUPPORTED: [(&str, &str); 6] = [
    ("conda", "channels"),
    ("conda", "dependencies"),
    ("conda", "environment_yml"),
    ("docker", "cuda_version"),
    ("docker", "dockerfile_template"),
    ("python", "wheels"),
];

/// Options of package indexes that stand in `python`, and in requirement files.
const INDEX_OPTIONS: [&str; 4] = ["index_url", "extra_index_url", "find_links", "trusted_host"];

/// How the image of a bento of either form is made.
pub(super) fn described(bento: &Bento) -> Result<ImageInfo, ContainerizeError> {
    if let Some(image) = &bento.info.image {
        return Ok(image.clone());
    }
    let refused = |key: String| ContainerizeError::OldBento { tag: bento.info.tag.clone(), key };
    let is_used = |(section, key): &&(&str, &str)| entry(bento, section, key).is_some();
    if let Some((section, key)) = UNSUPPORTED.iter().find(is_used) {
        return Err(refused(format!("{section}.{key}")));
    }
    let text = |key: &str| entry(bento, "docker", key).and_then(Value::as_text).map(str::to_owned);
    let python = text("python_version").ok_or_else(|| refused("docker.python_version".to_owned()))?;
    let base_image = text("base_image");
    let docker = Docker {
        // The older form names the default, too, which says nothing of a base of the user's own.
        distro: text("distro").filter(|_| base_image.is_none()),
        base_image,
        system_packages: texts(entry(bento, "docker", "system_packages")),
        ..Docker::default()
    };
    let script = text("setup_script").map(|_| "env/docker/setup_script".to_owned());
    Ok(describe_image(&docker, &python, "", script.as_deref()))
}

/// The lines that a requirements file of a bento of the older form lacks: they were arguments of its installation.
pub(super) fn index_lines(bento: &Bento) -> Vec<String> {
    if bento.info.image.is_some() {
        return Vec::new();
    }
    let options = INDEX_OPTIONS.iter().flat_map(|key| {
        let option = key.replace('_', "-");
        let values = texts(entry(bento, "python", key)).into_iter();
        values.map(move |value| format!("--{option} {value}"))
    });
    let no_index = entry(bento, "python", "no_index").filter(|value| **value == Value::Bool(true));
    options.chain(no_index.map(|_| "--no-index".to_owned())).collect()
}

/// What a key of a section says, if it says anything.
fn entry<'b>(bento: &'b Bento, section: &str, key: &str) -> Option<&'b Value> {
    let value = bento.document.get(section)?.get(key)?;
    let is_empty = value.as_list().is_some_and(<[Value]>::is_empty);
    (*value != Value::Null && !is_empty).then_some(value)
}

/// One text, or several.
fn texts(value: Option<&Value>) -> Vec<String> {
    let Some(value) = value else { return Vec::new() };
    let items = value.as_list().unwrap_or(std::slice::from_ref(value));
    items.iter().filter_map(Value::as_text).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Item as _;

    const HEAD: &str = "service: s:svc\nname: old\nversion: v1\ncreation_time: '2026-01-01T00:00:00+00:00'\n";

    fn bento(rest: &str) -> (tempfile::TempDir, Bento) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("bento.yaml"), format!("{HEAD}{rest}")).unwrap();
        let bento = Bento::load(directory.path()).unwrap();
        (directory, bento)
    }

    #[test]
    fn docker_options_describe_the_image_as_the_newer_form_does() {
        let docker = "docker:\n  distro: debian\n  python_version: '3.11'\n  system_packages: [curl]\n  env: {A: b, C: 1}\n\
                      envs:\n- {name: A, value: own}\n";
        let (_directory, bento) = bento(docker);
        let image = described(&bento).unwrap();
        assert_eq!((image.base_image.as_str(), image.python_version.as_str()), ("python:3.11-slim", "3.11"));
        assert!(image.commands[1].ends_with(" curl") && image.post_commands.is_empty(), "{image:?}");
        let envs: Vec<_> =
            bento.info.envs.iter().map(|env| (env.name.as_str(), env.value.as_str())).collect();
        assert_eq!(envs, [("A", "own"), ("C", "1")]);
    }

    #[test]
    fn a_base_of_the_users_own_is_kept_and_a_script_is_a_command() {
        let docker = "docker: {distro: debian, python_version: '3.11', base_image: 'me/base:1', setup_script: ./x.sh}\n";
        let image = described(&bento(docker).1).unwrap();
        assert_eq!((image.base_image.as_str(), image.commands.len()), ("me/base:1", 0));
        assert_eq!(image.post_commands.len(), 1);
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        for (rest, key) in [
            ("docker: {python_version: '3.11'}\nconda: {channels: [x], pip: null}\n", "conda.channels"),
            ("docker: {python_version: '3.11', cuda_version: '12'}\n", "docker.cuda_version"),
            ("docker: {python_version: '3.11'}\npython: {wheels: [a.whl]}\n", "python.wheels"),
            ("", "docker.python_version"),
        ] {
            let error = described(&bento(rest).1).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
    }

    #[test]
    fn options_of_indexes_become_lines() {
        let python = "python:\n  index_url: https://a/simple\n  extra_index_url: [https://b, https://c]\n  no_index: null\n";
        let lines = index_lines(&bento(python).1);
        assert_eq!(
            lines,
            ["--index-url https://a/simple", "--extra-index-url https://b", "--extra-index-url https://c"]
        );
    }
}

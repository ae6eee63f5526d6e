//! What a bentofile asks of its image that `containerize` will refuse.
//!
//! The bento is still built: the original tool, which runs commands inside images, can make its image.

use crate::bentofile::Bentofile;
use crate::plan::is_package;

/// Says for each key what will be refused, where it is written, and what to do instead.
pub(super) fn warnings(bentofile: &Bentofile) -> Vec<String> {
    let docker = &bentofile.docker;
    let warn = |key: &str, what: &str, remedy: &str| {
        let place = bentofile.places.of(key);
        format!("{place}: `{key}`: {what}, so `ekiben containerize` will refuse the bento: {remedy}")
    };
    let mut warnings = Vec::new();
    if let Some(distro) = docker.distro.as_deref().filter(|distro| *distro != "debian") {
        warnings.push(warn(
            "docker.distro",
            &format!("ekiben installs packages on Debian only, not on `{distro}`"),
            "take the key out, or choose `debian`",
        ));
    }
    if docker.setup_script.is_some() {
        warnings.push(warn(
            "docker.setup_script",
            "ekiben runs nothing inside images",
            "put the script's result into a base image, and name it with `docker.base_image`",
        ));
    }
    for (index, name) in docker.system_packages.iter().enumerate().filter(|(_, name)| !is_package(name)) {
        warnings.push(warn(
            &format!("docker.system_packages[{index}]"),
            &format!("`{name}` cannot be the name of a Debian package"),
            "mend the name",
        ));
    }
    warnings
}

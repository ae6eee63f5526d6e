//! From what is written to what is meant: defaults, the project's own metadata, files named.

use std::path::Path;

use super::error::{Error, Reason};
use super::files::Files;
use super::places::Places;
use super::raw::{Raw, RawDocker, RawEnv, RawPython, is_variable_name};
use super::{Bentofile, Description, Docker, Loaded, Python, Stage, Variable};

/// What `pyproject.toml` says about the project itself.
#[derive(Debug, Default)]
pub(super) struct Project {
    pub(super) name: Option<String>,
    pub(super) dependencies: Vec<String>,
    /// Whether the code is under `src/`.
    pub(super) has_src_directory: bool,
}

/// Fills in everything that is not written.
pub(super) fn complete(context: &Path, places: Places, raw: Raw, project: Project) -> Result<Loaded, Error> {
    let mut warnings = raw.warnings;
    let files = Files { context, places: &places };
    let description = raw.description.map(|text| match text.strip_prefix("file:").map(str::trim) {
        None => Ok(Description::Text(text)),
        Some(path) if is_inside(path) => Ok(Description::File(path.into())),
        Some(path) => Err(places.bad_value("description", path, Reason::OutsideContext)),
    });
    let mut envs = raw.envs;
    let (docker, docker_env) = docker(&files, raw.docker)?;
    // The original ignores `docker.env`; what it says is still what the user wants.
    for (name, value) in docker_env {
        if !envs.iter().any(|known| known.name == name) {
            envs.push(Variable { name, value, stage: Stage::All });
        }
    }
    if docker.base_image.is_some() && !docker.system_packages.is_empty() && docker.distro.is_none() {
        warnings.push(
            "`docker.system_packages` are added to `docker.base_image`, which has to be a Debian".into(),
        );
    }
    let bentofile = Bentofile {
        service: raw.service,
        name: raw.name.or(project.name),
        description: description.transpose()?,
        labels: raw.labels,
        include: raw.include.unwrap_or_else(|| vec!["*".to_owned()]),
        exclude: raw.exclude,
        python: python(raw.python, project.dependencies, project.has_src_directory, &mut warnings),
        docker,
        conda: raw.conda,
        models: raw.models,
        envs,
        args: raw.args,
        places,
    };
    Ok(Loaded { bentofile, warnings, path: None })
}

fn python(
    raw: RawPython,
    dependencies: Vec<String>,
    has_src_directory: bool,
    warnings: &mut Vec<String>,
) -> Python {
    let mut packages = raw.packages.unwrap_or_default();
    packages.extend(dependencies);
    if let Some(file) = &raw.requirements_txt
        && !packages.is_empty()
    {
        warnings.push(format!(
            "`python.requirements_txt` is `{file}`, so `python.packages` and the project's dependencies are ignored"
        ));
        packages.clear();
    }
    let no_index = raw.no_index.unwrap_or(false);
    if no_index && (raw.index_url.is_some() || !raw.extra_index_url.is_empty()) {
        warnings.push("`python.no_index` is set, so the index URLs are ignored".to_owned());
    }
    if raw.pip_args.is_some() {
        warnings
            .push("`python.pip_args` is ignored: use `index_url`, `find_links` and their like".to_owned());
    }
    let pack_git_packages = raw.pack_git_packages.unwrap_or(true);
    Python {
        requirements_txt: raw.requirements_txt,
        packages,
        lock_packages: raw.lock_packages.unwrap_or(pack_git_packages),
        pack_git_packages,
        index_url: raw.index_url,
        no_index,
        trusted_host: raw.trusted_host,
        find_links: raw.find_links,
        extra_index_url: raw.extra_index_url,
        pip_args: raw.pip_args,
        wheels: raw.wheels,
        is_src_layout: raw.is_src_layout.unwrap_or(has_src_directory),
    }
}

type Variables = Vec<(String, String)>;

fn docker(files: &Files<'_>, raw: RawDocker) -> Result<(Docker, Variables), Error> {
    let bad = |value: &str, reason| files.places.bad_value("docker.env", value, reason);
    let variables = match raw.env {
        None => Vec::new(),
        Some(RawEnv::Variables(variables)) => variables,
        Some(RawEnv::File(path)) => {
            if !is_inside(&path) {
                return Err(bad(&path, Reason::OutsideContext));
            }
            dotenv(&files.read("docker.env", path.as_ref())?)
                .map_err(|line| bad(&line, Reason::NotAVariable))?
        }
    };
    let docker = Docker {
        distro: raw.distro,
        python_version: raw.python_version,
        cuda_version: raw.cuda_version,
        system_packages: raw.system_packages,
        setup_script: raw.setup_script,
        base_image: raw.base_image,
        dockerfile_template: raw.dockerfile_template,
    };
    Ok((docker, variables))
}

/// Reads `NAME=VALUE` lines; a line that is none is the error, without its value.
fn dotenv(text: &str) -> Result<Variables, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            let name = name.trim();
            if !is_variable_name(name) {
                return Err(name.to_owned());
            }
            let value = value.trim();
            let unquoted = ['"', '\'']
                .into_iter()
                .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
                .unwrap_or(value);
            Ok((name.to_owned(), unquoted.to_owned()))
        })
        .collect()
}

/// Whether a path stays in the directory it is relative to.
fn is_inside(path: &str) -> bool {
    use std::path::Component;
    let mut components = Path::new(path).components();
    !path.is_empty() && components.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotenv_file_has_comments_quotes_and_exports() {
        let variables = dotenv("# c\nA=1\nexport B=\"x y\"\n\nC=\n").unwrap();
        let expected = [("A", "1"), ("B", "x y"), ("C", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(variables, expected);
        assert_eq!(dotenv("A B=secret"), Err("A B".to_owned()));
    }
}

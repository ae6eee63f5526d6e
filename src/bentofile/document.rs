//! The normalised bentofile that travels inside a bento.

use super::{Bentofile, Conda, Description, Docker, Model, Python, Variable};
use crate::yaml::Value;

impl Bentofile {
    /// Writes every key, sorted, with its default where nothing was given.
    pub fn to_document(&self) -> Value {
        let description = self.description.as_ref().map(|description| match description {
            Description::Text(text) => text.clone(),
            Description::File(path) => format!("file: {}", path.display()),
        });
        let labels = self.labels.iter().map(|(key, value)| (key, value.as_str().into()));
        Value::map([
            ("args", Value::map(self.args.iter().cloned())),
            ("conda", conda(self.conda.as_ref())),
            ("description", Value::or_null(description)),
            ("docker", docker(&self.docker)),
            ("envs", Value::list(self.envs.iter().map(variable))),
            ("exclude", texts(&self.exclude)),
            ("include", texts(&self.include)),
            ("labels", Value::map(labels)),
            ("models", Value::list(self.models.iter().map(model))),
            ("name", Value::or_null(self.name.as_deref())),
            ("python", python(&self.python)),
            ("service", self.service.as_deref().unwrap_or_default().into()),
        ])
        .sorted()
    }
}

fn texts(items: &[String]) -> Value {
    Value::list(items.iter().map(|item| item.as_str().into()))
}

/// A list, or nothing where it is empty.
fn texts_or_null(items: &[String]) -> Value {
    if items.is_empty() { Value::Null } else { texts(items) }
}

fn conda(conda: Option<&Conda>) -> Value {
    let empty = Conda::default();
    let conda = conda.unwrap_or(&empty);
    let dependencies =
        if conda.dependencies.is_empty() { Value::Null } else { conda.dependencies.clone().into() };
    Value::map([
        ("channels", texts_or_null(&conda.channels)),
        ("dependencies", dependencies),
        ("environment_yml", Value::or_null(conda.environment_yml.as_deref())),
        ("pip", texts_or_null(&conda.pip)),
    ])
}

/// `docker.env` is part of `envs` by now.
fn docker(docker: &Docker) -> Value {
    Value::map([
        ("base_image", Value::or_null(docker.base_image.as_deref())),
        ("cuda_version", Value::or_null(docker.cuda_version.as_deref())),
        ("distro", Value::or_null(docker.distro.as_deref())),
        ("dockerfile_template", Value::or_null(docker.dockerfile_template.as_deref())),
        ("env", Value::Null),
        ("python_version", Value::or_null(docker.python_version.as_deref())),
        ("setup_script", Value::or_null(docker.setup_script.as_deref())),
        ("system_packages", texts_or_null(&docker.system_packages)),
    ])
}

fn variable(variable: &Variable) -> Value {
    Value::map([
        ("name", variable.name.as_str().into()),
        ("stage", variable.stage.word().into()),
        ("value", variable.value.as_str().into()),
    ])
}

fn model(model: &Model) -> Value {
    Value::map([
        ("alias", Value::or_null(model.alias.as_deref())),
        ("filter", Value::or_null(model.filter.as_deref())),
        ("tag", model.tag.to_string().into()),
    ])
}

fn python(python: &Python) -> Value {
    Value::map([
        ("extra_index_url", texts_or_null(&python.extra_index_url)),
        ("find_links", texts_or_null(&python.find_links)),
        ("index_url", Value::or_null(python.index_url.as_deref())),
        ("is_src_layout", python.is_src_layout.into()),
        ("lock_packages", python.lock_packages.into()),
        ("no_index", if python.no_index { true.into() } else { Value::Null }),
        ("pack_git_packages", python.pack_git_packages.into()),
        ("packages", texts_or_null(&python.packages)),
        ("pip_args", Value::or_null(python.pip_args.as_deref())),
        ("requirements_txt", Value::or_null(python.requirements_txt.as_deref())),
        ("trusted_host", texts_or_null(&python.trusted_host)),
        ("wheels", texts_or_null(&python.wheels)),
    ])
}

//! How the image of a bento is made, in the original tool's terms.
//!
//! The original's own `containerize` works from this; ours reads it back as data.

use std::fmt::Write as _;

use crate::bentofile::Docker;
use crate::store::{Environment, ImageInfo};

/// What the commands of a distribution look like.
struct Distro {
    /// Its image with Python; `{python}` is the version.
    image: &'static str,
    /// The first command: what building packages needs.
    default_command: &'static str,
    /// How packages are installed.
    install: &'static str,
}

const DEBIAN: Distro = Distro {
    image: "python:{python}-slim",
    default_command: "apt-get update && apt-get install -q -y --no-install-recommends --allow-remove-essential \
                      ca-certificates gnupg2 bash build-essential git",
    install: "apt-get install -q -y -o Dpkg::Options::=--force-confdef",
};

const ALPINE: Distro = Distro {
    image: "python:{python}-alpine",
    default_command: "apk add --update bash gcc libc-dev shadow musl-dev build-base linux-headers g++ git",
    install: "apk add --update",
};

const UBI8: Distro = Distro {
    image: "registry.access.redhat.com/ubi8/python-{python}:1",
    default_command: "yum update -y && yum install -y ca-certificates gcc gcc-c++ make bash shadow-utils git",
    install: "yum install -y",
};

const AMAZON: Distro = Distro {
    image: "amazonlinux:2",
    default_command: "yum update -y && yum install -y amazon-linux-extras ca-certificates gcc gcc-c++ make bash \
                      shadow-utils && amazon-linux-extras enable && yum groupinstall -y \"Development Tools\"",
    install: "yum install -y",
};

/// Describes the image.
///
/// A base image of the user's own gets no compilers unless its distribution is named.
pub(in crate::ops) fn describe(
    docker: &Docker,
    python: &str,
    requirements: &str,
    script: Option<&str>,
) -> ImageInfo {
    let distro = match docker.distro.as_deref() {
        Some("alpine") => ALPINE,
        Some("ubi8") => UBI8,
        Some("amazonlinux") => AMAZON,
        _ => DEBIAN,
    };
    let is_plain_base = docker.base_image.is_some() && docker.distro.is_none();
    let spelled =
        if docker.distro.as_deref() == Some("ubi8") { python.replace('.', "") } else { python.to_owned() };
    let mut commands = Vec::new();
    if !is_plain_base {
        commands.push(distro.default_command.to_owned());
    }
    if !docker.system_packages.is_empty() {
        let update = if is_plain_base { "apt-get update && " } else { "" };
        let packages: Vec<String> = docker.system_packages.iter().map(|name| quoted(name)).collect();
        commands.push(format!("{update}{} {}", distro.install, packages.join(" ")));
    }
    let script = script.map(|path| format!("chmod +x ./{path} && ./{path}"));
    ImageInfo {
        base_image: docker.base_image.clone().unwrap_or_else(|| distro.image.replace("{python}", &spelled)),
        python_version: python.to_owned(),
        commands,
        python_requirements: requirements.to_owned(),
        post_commands: script.into_iter().collect(),
        build_include: Vec::new(),
    }
}

/// Quotes a word for a shell, if it needs that.
fn quoted(word: &str) -> String {
    let is_safe = |ch: char| ch.is_ascii_alphanumeric() || "@%+=:,./-_".contains(ch);
    if !word.is_empty() && word.chars().all(is_safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\"'\"'"))
    }
}

/// Writes the Dockerfile that stands in a bento.
///
/// The original renders its own when it makes an image; this one shows the same steps and works
/// with any builder. Variables of the build stage are secrets, which only `BuildKit` can mount.
pub(super) fn dockerfile(image: &ImageInfo, envs: &[Environment]) -> String {
    let (mut mounts, mut exports) = (String::new(), String::new());
    for secret in envs.iter().filter(|env| env.stage == "build") {
        let _ = write!(mounts, "--mount=type=secret,id={} ", secret.name);
        let _ = write!(exports, "export {0}=\"$(cat /run/secrets/{0})\"; ", secret.name);
    }
    let run = |command: &str| format!("RUN {mounts}{exports}{command}\n");
    let mut text =
        String::from("# Generated when the bento was built. Do not edit: it is not read again.\n\n");
    let _ = write!(text, "FROM {} AS base-container\n\n", image.base_image);
    text.push_str(PROLOGUE);
    for env in envs.iter().filter(|env| env.stage == "all") {
        let value = if env.value.is_empty() { String::new() } else { format!("={}", quoted(&env.value)) };
        let _ = write!(text, "ARG {0}{value}\nENV {0}=${0}\n", env.name);
    }
    text.push_str(DIRECTORIES);
    for command in &image.commands {
        text.push_str(&run(command));
    }
    text.push_str(&run("command -v uv >/dev/null || pip install uv"));
    text.push_str(&run(&format!(
        "UV_PYTHON_INSTALL_DIR=/app/python/ uv venv --python {} /app/.venv && chown -R bentoml:bentoml /app/.venv",
        image.python_version
    )));
    text.push_str(PYTHON);
    for path in &image.build_include {
        let _ = writeln!(text, "COPY --chown=bentoml:bentoml ./src/{path} ./src/{path}");
    }
    text.push_str(&run(
        "mkdir -p ./src && uv --directory ./src pip install -r $BENTO_PATH/env/python/requirements.txt",
    ));
    for command in &image.post_commands {
        text.push_str(&run(command));
    }
    text.push_str(EPILOGUE);
    text
}

const PROLOGUE: &str = r"ENV LANG=C.UTF-8
ENV LC_ALL=C.UTF-8
ENV PYTHONIOENCODING=UTF-8
ENV PYTHONUNBUFFERED=1

ARG BENTO_USER=bentoml
ARG BENTO_USER_UID=1034
ARG BENTO_USER_GID=1034
RUN if command -v groupadd >/dev/null 2>&1; then \
      groupadd -g $BENTO_USER_GID -o $BENTO_USER && useradd -m -u $BENTO_USER_UID -g $BENTO_USER_GID -o -r $BENTO_USER; \
    else \
      addgroup -g $BENTO_USER_GID -S $BENTO_USER && adduser -u $BENTO_USER_UID -G $BENTO_USER -S $BENTO_USER; \
    fi

ARG BENTO_PATH=/home/bentoml/bento
ENV BENTO_PATH=$BENTO_PATH
ENV BENTOML_HOME=/home/bentoml/
ENV BENTOML_HF_CACHE_DIR=/home/bentoml/bento/hf-models
ENV BENTOML_CONTAINERIZED=true
";

const DIRECTORIES: &str = r"
RUN mkdir $BENTO_PATH && chown bentoml:bentoml $BENTO_PATH -R
WORKDIR $BENTO_PATH

COPY --chown=bentoml:bentoml ./env/docker ./env/docker/
";

const PYTHON: &str = r"ENV VIRTUAL_ENV=/app/.venv
ENV UV_COMPILE_BYTECODE=1
ENV UV_NO_PROGRESS=1
ENV PATH=/app/.venv/bin:${PATH}

COPY --chown=bentoml:bentoml ./env/python ./env/python/
";

const EPILOGUE: &str = r#"
COPY --chown=bentoml:bentoml . ./

EXPOSE 3000
EXPOSE 3001

RUN chmod +x /home/bentoml/bento/env/docker/entrypoint.sh

USER bentoml

ENTRYPOINT [ "/home/bentoml/bento/env/docker/entrypoint.sh" ]
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_packages_follow_the_default_command() {
        let docker = Docker { system_packages: vec!["curl".into(), "a b".into()], ..Docker::default() };
        let image = describe(&docker, "3.11", "x\n", None);
        assert_eq!(image.base_image, "python:3.11-slim");
        assert_eq!(image.commands[1], "apt-get install -q -y -o Dpkg::Options::=--force-confdef curl 'a b'");
    }

    #[test]
    fn a_base_of_the_users_own_gets_no_compilers() {
        let docker = Docker {
            base_image: Some("me/base:1".into()),
            system_packages: vec!["curl".into()],
            ..Docker::default()
        };
        let image = describe(&docker, "3.12", "", None);
        assert_eq!(image.base_image, "me/base:1");
        assert_eq!(
            image.commands,
            ["apt-get update && apt-get install -q -y -o Dpkg::Options::=--force-confdef curl"]
        );
    }

    #[test]
    fn build_variables_are_mounted_as_secrets_and_not_set() {
        let image = describe(&Docker::default(), "3.11", "", None);
        let env = |name: &str, stage: &str| Environment {
            name: name.into(),
            value: "it's".into(),
            stage: stage.into(),
        };
        let text = dockerfile(&image, &[env("A", "all"), env("B", "build"), env("C", "runtime")]);
        assert!(text.contains("ARG A='it'\"'\"'s'\nENV A=$A\n"), "{text}");
        assert!(
            text.contains("RUN --mount=type=secret,id=B export B=\"$(cat /run/secrets/B)\"; apt-get update")
        );
        assert!(!text.contains("ARG B=") && !text.contains("ENV B=") && !text.contains("ARG C"));
    }
}

//! The shell commands of a bento's image description, as far as they can be carried out without a shell.

use thiserror::Error;

/// The command that the original tool puts first: compilers for building packages, which a locked environment of
/// wheels does not need.
const DEFAULT_COMMAND: &str = "apt-get update && apt-get install -q -y --no-install-recommends \
     --allow-remove-essential ca-certificates gnupg2 bash build-essential git";
/// How the original tool installs the system packages that a user asks for.
const INSTALL: &str = "apt-get install -q -y -o Dpkg::Options::=--force-confdef ";
/// What some of its versions put before that.
const UPDATE: &str = "apt-get update && ";

/// A command would have to be run inside the image.
#[derive(Debug, Error)]
#[error("the image of this bento needs the command `{command}` to be run inside it")]
pub struct CommandError {
    /// The command.
    pub command: String,
}

/// The Debian packages that the commands install, sorted; an error for any command that does something else.
pub fn system_packages(commands: &[String]) -> Result<Vec<String>, CommandError> {
    let mut packages = Vec::new();
    for command in commands {
        let words = command.split_whitespace().collect::<Vec<_>>().join(" ");
        if words == DEFAULT_COMMAND {
            continue;
        }
        let install = words.strip_prefix(UPDATE).unwrap_or(&words).strip_prefix(INSTALL);
        let names = install.map(|names| names.split(' ').map(unquote).collect::<Option<Vec<_>>>());
        match names {
            Some(Some(names)) => packages.extend(names),
            _ => return Err(CommandError { command: command.clone() }),
        }
    }
    packages.sort_unstable();
    packages.dedup();
    Ok(packages)
}

/// Whether a text can be the name of a Debian package.
pub fn is_package(text: &str) -> bool {
    unquote(text).is_some_and(|name| name == text)
}

/// The package's name (Debian policy, 5.6.1), out of the quotes that a shell would take off.
fn unquote(word: &str) -> Option<String> {
    let name = word.strip_prefix('\'').and_then(|word| word.strip_suffix('\'')).unwrap_or(word);
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.:".contains(&byte);
    let is_package = name.len() > 1 && name.bytes().all(is_name) && !name.starts_with('-');
    is_package.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(commands: &[&str]) -> Result<Vec<String>, CommandError> {
        system_packages(&commands.iter().map(|&command| command.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn packages_are_found_in_the_usual_commands() {
        let commands =
            [DEFAULT_COMMAND, &format!("{INSTALL}ffmpeg 'libgl1'"), &format!("{UPDATE}{INSTALL}ffmpeg")];
        assert_eq!(packages(&commands).unwrap(), ["ffmpeg", "libgl1"]);
        assert_eq!(packages(&[]).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn other_commands_are_refused() {
        for command in [
            "make all",
            &format!("{INSTALL}ffmpeg && rm -rf /"),
            &format!("{INSTALL}$(id)"),
            &format!("{INSTALL}--yes"),
        ] {
            let error = packages(&[command]).unwrap_err();
            assert!(error.to_string().contains(command), "{error}");
        }
    }
}

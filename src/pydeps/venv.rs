//! The files that make a directory of packages a virtual environment.

use super::target::PythonVersion;

/// Where the environment is in an image, as upstream has it.
pub const VENV: &str = "/app/.venv";

/// Files and links of an empty environment, relative to its root and sorted by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skeleton {
    /// Regular files, mode 644: path and text.
    pub files: Vec<(String, String)>,
    /// Symbolic links: path and target.
    pub links: Vec<(String, String)>,
}

/// Makes the skeleton for the interpreter at `executable`, such as `/usr/bin/python3.11`.
///
/// Every name leads to the interpreter itself: it finds `pyvenv.cfg` beside the directory of the name it was
/// started by.
pub fn skeleton(python: PythonVersion, executable: &str) -> Skeleton {
    let home = executable.rsplit_once('/').map_or("/usr/bin", |(home, _)| home);
    let home = if home.is_empty() { "/" } else { home };
    let settings = format!(
        "home = {home}\nimplementation = CPython\nversion_info = {python}\ninclude-system-site-packages = false\n"
    );
    let names = ["python".to_owned(), format!("python{}", python.major()), python.executable()];
    Skeleton {
        files: vec![("pyvenv.cfg".to_owned(), settings)],
        links: names.map(|name| (format!("bin/{name}"), executable.to_owned())).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_the_interpreter() {
        let skeleton = skeleton(PythonVersion::new(3, 11), "/usr/local/bin/python3.11");
        let links: Vec<_> = skeleton.links.iter().map(|(path, to)| (path.as_str(), to.as_str())).collect();
        let to = "/usr/local/bin/python3.11";
        assert_eq!(links, [("bin/python", to), ("bin/python3", to), ("bin/python3.11", to)]);
        assert_eq!(skeleton.files[0].0, "pyvenv.cfg");
        assert!(skeleton.files[0].1.starts_with("home = /usr/local/bin\n"));
    }
}

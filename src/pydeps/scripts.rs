//! Programs of a distribution: what `bin/` gets, whatever machine and uv made it.

use std::collections::BTreeMap;

/// Sections of `entry_points.txt` that become programs.
const SECTIONS: [&str; 2] = ["console_scripts", "gui_scripts"];

/// Programs that a distribution's `entry_points.txt` declares, with the text each one gets.
///
/// Written here and not taken from uv, whose wording changes between its versions.
pub(super) fn entry_points(text: &str, python: &str) -> BTreeMap<String, String> {
    let mut programs = BTreeMap::new();
    let mut is_wanted = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            is_wanted = SECTIONS.contains(&section.trim());
        } else if is_wanted && !line.starts_with(['#', ';']) {
            let Some((name, object)) = line.split_once('=') else { continue };
            if let Some(script) = script(object, python) {
                programs.insert(name.trim().to_owned(), script);
            }
        }
    }
    programs
}

/// The program that calls `module:function`; `None` when that is not what the text names.
fn script(object: &str, python: &str) -> Option<String> {
    let object = object.split('[').next().unwrap_or_default().trim();
    let (module, function) = object.split_once(':')?;
    let (module, function) = (module.trim(), function.trim());
    let is_dotted = |text: &str| text.split('.').all(is_identifier);
    if !is_dotted(module) || !is_dotted(function) {
        return None;
    }
    let imported = function.split('.').next().unwrap_or(function);
    Some(format!(
        "#!{python}\nimport sys\nfrom {module} import {imported}\n\nif __name__ == \"__main__\":\n    sys.exit({function}())\n"
    ))
}

fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && characters.all(|c| c.is_alphanumeric() || c == '_')
}

/// Makes a shipped script run the image's Python; `None` when it is no Python script and stays as it is.
pub(super) fn with_python(script: &[u8], python: &str) -> Option<Vec<u8>> {
    let first = script.strip_prefix(b"#!")?;
    let end = first.iter().position(|byte| *byte == b'\n').unwrap_or(first.len());
    let (interpreter, rest) = first.split_at(end);
    let interpreter = String::from_utf8_lossy(interpreter);
    let rest = if interpreter.trim() == "/bin/sh" { after_trampoline(rest)? } else { rest };
    let program = interpreter.split_whitespace().next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    if interpreter.trim() != "/bin/sh" && !is_python(name) {
        return None;
    }
    let mut fixed = format!("#!{python}").into_bytes();
    fixed.extend_from_slice(rest);
    Some(fixed)
}

/// Installers start Python through a shell when its path is too long for a first line:
/// `'''exec' "/long/python" "$0" "$@"`, then `' '''`.
fn after_trampoline(rest: &[u8]) -> Option<&[u8]> {
    let rest = rest.strip_prefix(b"\n'''exec' ")?;
    let end = rest.windows(5).position(|window| window == b"\n' ''")?;
    rest.get(end + 1..).and_then(|tail| tail.strip_prefix(b"' '''"))
}

fn is_python(name: &str) -> bool {
    let version = name.strip_prefix("pythonw").or_else(|| name.strip_prefix("python"));
    version.is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_points_become_programs() {
        let text = "[other]\nx = a:b\n[console_scripts]\n# no\nf2py = numpy.f2py.f2py2e:main\ncls = pkg:Tool.run [extra]\nbad = not a module\nworse = os:system('x')\n[gui_scripts]\ngui=pkg.gui:start\n";
        let programs = entry_points(text, "/app/.venv/bin/python");
        assert_eq!(programs.keys().collect::<Vec<_>>(), ["cls", "f2py", "gui"]);
        assert_eq!(
            programs["cls"],
            "#!/app/.venv/bin/python\nimport sys\nfrom pkg import Tool\n\nif __name__ == \"__main__\":\n    sys.exit(Tool.run())\n"
        );
    }

    #[test]
    fn shipped_scripts_run_the_images_python() {
        let long = "#!/bin/sh\n'''exec' '/very long/bin/python3.11' \"$0\" \"$@\"\n' '''\nimport x\n";
        for (given, fixed) in [
            ("#!/root/host/bin/python\nimport x\n", Some("#!/v/python\nimport x\n")),
            ("#!/usr/bin/python3.11 -E\nx", Some("#!/v/python\nx")),
            (long, Some("#!/v/python\nimport x\n")),
            ("#!python", Some("#!/v/python")),
            ("#!/bin/sh\necho hi\n", None),
            ("#!/usr/bin/pythonic\n", None),
            ("\u{7f}ELF", None),
            ("", None),
        ] {
            let result = with_python(given.as_bytes(), "/v/python");
            assert_eq!(result.as_deref(), fixed.map(str::as_bytes), "{given}");
        }
    }
}

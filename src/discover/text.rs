//! What Python's text methods and formats make of known values.

use super::fold::Constant;

/// A value as `str()` writes it.
pub(super) fn display(value: &Constant) -> String {
    match value {
        Constant::Text(text) | Constant::Path(text) => text.clone(),
        other => repr(other),
    }
}

/// A value as `repr()` writes it.
fn repr(value: &Constant) -> String {
    let all = |items: &[Constant]| items.iter().map(repr).collect::<Vec<_>>().join(", ");
    match value {
        Constant::None => "None".to_owned(),
        Constant::Bool(true) => "True".to_owned(),
        Constant::Bool(false) => "False".to_owned(),
        Constant::Int(value) => value.to_string(),
        Constant::Float(value) if value.fract() == 0.0 && value.abs() < 1e16 => format!("{value:.1}"),
        Constant::Float(value) => value.to_string(),
        Constant::Text(text) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        Constant::Path(path) => format!("PosixPath('{path}')"),
        Constant::List(items) => format!("[{}]", all(items)),
        Constant::Tuple(items) if items.len() == 1 => format!("({},)", all(items)),
        Constant::Tuple(items) => format!("({})", all(items)),
        Constant::Dict(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{}: {}", repr(key), repr(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Joins two paths; an absolute one starts anew.
pub(super) fn join(path: &str, part: &str) -> String {
    if path.is_empty() || part.starts_with('/') {
        part.to_owned()
    } else if part.is_empty() {
        path.to_owned()
    } else {
        format!("{}/{part}", path.trim_end_matches('/'))
    }
}

/// `text % value`, for `%s`, `%d` and `%%`.
pub(super) fn percent(format: &str, value: &Constant) -> Option<String> {
    let single = std::slice::from_ref(value);
    let mut values = if let Constant::Tuple(items) = value { items.iter() } else { single.iter() };
    let mut result = String::new();
    let mut chars = format.chars();
    while let Some(ch) = chars.next() {
        if ch != '%' {
            result.push(ch);
            continue;
        }
        match chars.next()? {
            '%' => result.push('%'),
            's' => result.push_str(&display(values.next()?)),
            'r' => result.push_str(&repr(values.next()?)),
            'd' | 'i' => match values.next()? {
                Constant::Int(value) => result.push_str(&value.to_string()),
                _ => return None,
            },
            '(' => {
                let Constant::Dict(entries) = value else { return None };
                let name: String = chars.by_ref().take_while(|ch| *ch != ')').collect();
                let (_, found) = entries.iter().find(|(key, _)| key.as_text() == Some(&name))?;
                if chars.next()? != 's' {
                    return None;
                }
                result.push_str(&display(found));
            }
            _ => return None,
        }
    }
    let is_used_up = matches!(value, Constant::Dict(_)) || values.next().is_none();
    is_used_up.then_some(result)
}

/// A method of `str`, as far as it is followed.
pub(super) fn method(
    text: &str,
    name: &str,
    positional: &[Constant],
    named: &[(Constant, Constant)],
) -> Option<Constant> {
    let texts: Option<Vec<&str>> = positional.iter().map(Constant::as_text).collect();
    let done = match (name, texts.as_deref()) {
        ("format", _) => format(text, positional, named)?,
        ("lower", Some([])) => text.to_lowercase(),
        ("upper", Some([])) => text.to_uppercase(),
        ("strip", Some([])) => text.trim().to_owned(),
        ("strip", Some([chars])) => text.trim_matches(|ch| chars.contains(ch)).to_owned(),
        ("lstrip", Some([chars])) => text.trim_start_matches(|ch| chars.contains(ch)).to_owned(),
        ("rstrip", Some([chars])) => text.trim_end_matches(|ch| chars.contains(ch)).to_owned(),
        ("replace", Some([from, to])) => text.replace(from, to),
        ("removeprefix", Some([prefix])) => text.strip_prefix(prefix).unwrap_or(text).to_owned(),
        ("removesuffix", Some([suffix])) => text.strip_suffix(suffix).unwrap_or(text).to_owned(),
        ("startswith", Some([prefix])) => return Some(Constant::Bool(text.starts_with(prefix))),
        ("endswith", Some([suffix])) => return Some(Constant::Bool(text.ends_with(suffix))),
        ("split", Some([at])) if !at.is_empty() => {
            return Some(Constant::List(
                text.split(at).map(|part| Constant::Text(part.to_owned())).collect(),
            ));
        }
        ("join", _) => match positional {
            [Constant::List(items) | Constant::Tuple(items)] => {
                let parts: Option<Vec<&str>> = items.iter().map(Constant::as_text).collect();
                parts?.join(text)
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(Constant::Text(done))
}

/// `"{} {0} {name}".format(…)` without format specifications.
fn format(text: &str, positional: &[Constant], named: &[(Constant, Constant)]) -> Option<String> {
    let mut result = String::new();
    let mut next = 0;
    let mut chars = text.chars().peekable();
    while let Some(ch) = chars.next() {
        match ch {
            '{' | '}' if chars.peek() == Some(&ch) => {
                chars.next();
                result.push(ch);
            }
            '{' => {
                let field: String = chars.by_ref().take_while(|ch| *ch != '}').collect();
                let value = if field.is_empty() {
                    next += 1;
                    positional.get(next - 1)?
                } else if let Ok(index) = field.parse::<usize>() {
                    positional.get(index)?
                } else {
                    let found = named.iter().find(|(key, _)| key.as_text() == Some(&field));
                    &found?.1
                };
                result.push_str(&display(value));
            }
            '}' => return None,
            _ => result.push(ch),
        }
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Constant {
        Constant::Text(text.to_owned())
    }

    #[test]
    fn formats_give_what_python_gives() {
        let values = [text("a"), Constant::Int(3)];
        assert_eq!(format("{}-{1}{{}}", &values, &[]).as_deref(), Some("a-3{}"));
        assert_eq!(format("{x}", &[], &[(text("x"), text("y"))]).as_deref(), Some("y"));
        assert_eq!(format("{0:>3}", &values, &[]), None);
        assert_eq!(percent("%s:%d%%", &Constant::Tuple(values.to_vec())).as_deref(), Some("a:3%"));
        assert_eq!(percent("%s", &Constant::Tuple(values.to_vec())), None);
        assert_eq!(percent("%(k)s", &Constant::Dict(vec![(text("k"), text("v"))])).as_deref(), Some("v"));
        assert_eq!(display(&Constant::List(vec![text("a"), Constant::None])), "['a', None]");
        assert_eq!(display(&Constant::Float(2.0)), "2.0");
    }

    #[test]
    fn paths_join_as_in_pathlib() {
        assert_eq!(join("a/", "b"), "a/b");
        assert_eq!(join("a", "/b"), "/b");
        assert_eq!(join("", "b"), "b");
    }
}

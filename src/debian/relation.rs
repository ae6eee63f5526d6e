//! Relationships between packages (Debian policy §7.1).

use std::cmp::Ordering;
use std::fmt;

use super::version;

/// How a version must compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// A package by name, perhaps with a condition on its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relation {
    /// The package, which may be virtual.
    pub name: String,
    /// The architecture asked for, where one is: `any`, `native` or a name.
    pub qualifier: Option<String>,
    /// The condition.
    pub constraint: Option<(Operator, String)>,
}

/// Alternatives of which one must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dependency(pub Vec<Relation>);

impl Relation {
    /// Whether `version` fulfils the condition.
    pub(super) fn accepts(&self, version: &str) -> bool {
        let Some((operator, wanted)) = &self.constraint else { return true };
        let order = version::compare(version, wanted);
        match operator {
            Operator::Earlier => order == Ordering::Less,
            Operator::EarlierOrEqual => order != Ordering::Greater,
            Operator::Equal => order == Ordering::Equal,
            Operator::LaterOrEqual => order != Ordering::Less,
            Operator::Later => order == Ordering::Greater,
        }
    }

    /// Whether a virtual package, of `version` where it has one, fulfils this (policy §7.5).
    pub(super) fn accepts_provided(&self, version: Option<&str>) -> bool {
        version.map_or(self.constraint.is_none(), |version| self.accepts(version))
    }

    /// Whether a package for `architecture` can fulfil this.
    pub(super) fn fits(&self, architecture: &str) -> bool {
        match self.qualifier.as_deref() {
            None | Some("any" | "native") => true,
            Some(other) => other == architecture,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, constraint) = match text.split_once('(') {
            Some((name, rest)) => (name, Some(parse_constraint(rest.trim_end().strip_suffix(')')?)?)),
            None => (text, None),
        };
        let name = name.split(['[', '<']).next().unwrap_or_default().trim();
        let (name, qualifier) = match name.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier.to_owned())),
            None => (name, None),
        };
        is_name(name).then(|| Self { name: name.to_owned(), qualifier, constraint })
    }
}

/// Reads a field such as `Depends`; fields are empty where there is nothing to say.
pub(super) fn parse(field: &str) -> Option<Vec<Dependency>> {
    let dependencies = field.split(',').map(str::trim).filter(|text| !text.is_empty());
    dependencies
        .map(|text| {
            text.split('|').map(|text| Relation::parse(text.trim())).collect::<Option<_>>().map(Dependency)
        })
        .collect()
}

/// Whether `text` can be the name of a package (policy §5.6.1); nothing else may become part of a path.
pub(super) fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    text.len() > 1 && text.bytes().all(is_plain) && text.as_bytes()[0].is_ascii_alphanumeric()
}

fn parse_constraint(text: &str) -> Option<(Operator, String)> {
    let text = text.trim();
    let split = text.find(|character| !matches!(character, '<' | '>' | '='))?;
    let (operator, version) = text.split_at(split);
    let operator = match operator {
        "<<" => Operator::Earlier,
        "<=" | "<" => Operator::EarlierOrEqual,
        "=" => Operator::Equal,
        ">=" | ">" => Operator::LaterOrEqual,
        ">>" => Operator::Later,
        _ => return None,
    };
    Some((operator, version.trim().to_owned()))
}

impl fmt::Display for Operator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        self.qualifier.iter().try_for_each(|qualifier| write!(formatter, ":{qualifier}"))?;
        self.constraint
            .iter()
            .try_for_each(|(operator, version)| write!(formatter, " ({operator} {version})"))
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.0.iter().map(Relation::to_string).collect();
        formatter.write_str(&texts.join(" | "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_read_and_shown() {
        let field = "libc6 (>= 2.36), python3:any | mime-support (<< 4),  zlib1g(=1:1.2)";
        let shown: Vec<_> = parse(field).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["libc6 (>= 2.36)", "python3:any | mime-support (<< 4)", "zlib1g (= 1:1.2)"]);
        assert!(parse("").unwrap().is_empty());
        for bad in ["a b (", "lib/../x", "libc6 (~ 2)", "A"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_unversioned_provision_fulfils_no_version() {
        let relation = &parse("awk (>= 1)").unwrap()[0].0[0];
        assert!(!relation.accepts_provided(None));
        assert!(relation.accepts_provided(Some("2")));
        assert!(!relation.accepts_provided(Some("0.5")));
    }

    proptest! {
        #[test]
        fn any_field_is_read_or_refused(field in ".{0,60}") {
            let _ = parse(&field);
        }

        #[test]
        fn what_is_shown_is_read_back(name in "[a-z][a-z0-9+.-]{1,6}", version in "[0-9][a-z0-9.]{0,4}") {
            let text = format!("{name} (>= {version})");
            prop_assert_eq!(parse(&text).unwrap()[0].to_string(), text);
        }
    }
}

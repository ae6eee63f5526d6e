//! Debian control data: stanzas of fields (deb822(5)).

/// One stanza, as written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stanza<'a>(&'a str);

impl<'a> Stanza<'a> {
    /// Takes the first stanza of `text`.
    pub(super) fn first(text: &'a str) -> Option<Self> {
        stanzas(text).next()
    }

    /// The stanza's text, without the empty line that ends it.
    pub(super) fn text(self) -> &'a str {
        self.0
    }

    /// The value of a field, continuation lines included, trimmed.
    pub(super) fn field(self, name: &str) -> Option<&'a str> {
        self.fields().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The fields in their order; the values trimmed.
    pub(super) fn fields(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            loop {
                if rest.is_empty() {
                    return None;
                }
                let end = field_end(rest);
                let (field, next) = rest.split_at(end);
                rest = next;
                if let Some((name, value)) = field.split_once(':').filter(|_| !field.starts_with('#')) {
                    return Some((name.trim(), value.trim()));
                }
            }
        })
    }
}

/// The stanzas of a document.
pub(super) fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['\n', '\r']);
        if rest.is_empty() {
            return None;
        }
        let end = rest.find("\n\n").map_or(rest.len(), |end| end + 1);
        let (stanza, next) = rest.split_at(end);
        rest = next;
        Some(Stanza(stanza))
    })
}

/// Where the field that `text` begins with ends: continuation lines begin with white space.
fn field_end(text: &str) -> usize {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        if end > 0 && !line.starts_with([' ', '\t']) {
            break;
        }
        end += line.len();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_continuation_lines() {
        let text = "\nPackage: a\nDepends: b,\n c\n# note\nEmpty:\n\n\nPackage: d";
        let found: Vec<_> = stanzas(text).collect();
        assert_eq!(found.len(), 2);
        let fields: Vec<_> = found[0].fields().collect();
        assert_eq!(fields, [("Package", "a"), ("Depends", "b,\n c"), ("Empty", "")]);
        assert_eq!(found[1].field("package"), Some("d"));
        assert_eq!(found[1].field("Version"), None);
    }

    #[test]
    fn text_without_fields_has_none() {
        assert_eq!(stanzas("").count(), 0);
        assert_eq!(Stanza::first("no colon\n continued\n").unwrap().fields().count(), 0);
    }
}

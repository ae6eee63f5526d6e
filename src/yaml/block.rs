//! Reads the part of YAML that `safe_dump` writes most, in one pass and without positions.
//!
//! A list of ten thousand models is ten thousand files of this kind; the general reader, which knows every rule and every
//! place, takes most of the time of such a list. This one knows block maps and lists, one-line scalars that are plain or
//! in single quotes, and empty collections. At anything else it gives up, and the general reader decides: what it does read,
//! it reads as the general reader does.

use super::Value;
use super::plain::{self, Plain};

/// Deepest nesting read here.
const DEPTH: usize = 32;

/// Most keys of a map: they are compared with each other, because a key given twice is an error elsewhere.
const KEYS: usize = 64;

/// Reads a document, or gives up.
pub(super) fn read(source: &str) -> Option<Value> {
    if !source.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')) {
        return None;
    }
    let mut reader = Reader { lines: source.lines(), next: None };
    reader.advance()?;
    let value = reader.collection(0, DEPTH)?;
    reader.next.is_none().then_some(value)
}

/// A line without its indentation.
#[derive(Clone, Copy)]
struct Line<'a> {
    indent: usize,
    text: &'a str,
}

struct Reader<'a> {
    lines: std::str::Lines<'a>,
    next: Option<Line<'a>>,
}

impl Reader<'_> {
    /// Goes to the next line; gives up at one that is empty or ends in blanks.
    fn advance(&mut self) -> Option<()> {
        self.next = match self.lines.next() {
            None => None,
            Some(line) => {
                let text = line.trim_start_matches(' ');
                if text.is_empty() || text.ends_with(' ') {
                    return None;
                }
                Some(Line { indent: line.len() - text.len(), text })
            }
        };
        Some(())
    }

    /// The collection whose first line is the next one, at this indentation.
    fn collection(&mut self, indent: usize, depth: usize) -> Option<Value> {
        let line = self.next.filter(|line| line.indent == indent)?;
        let depth = depth.checked_sub(1)?;
        let value = if is_item(line.text) { self.list(indent, depth)? } else { self.map(indent, depth)? };
        // Deeper lines would continue what is above them.
        (self.next.is_none_or(|line| line.indent < indent || (line.indent == indent && !is_item(line.text))))
            .then_some(value)
    }

    fn map(&mut self, indent: usize, depth: usize) -> Option<Value> {
        let mut entries: Vec<(Value, Value)> = Vec::new();
        while let Some(line) = self.next.filter(|line| line.indent == indent && !is_item(line.text)) {
            let (key, rest) = entry(line.text)?;
            if entries.len() == KEYS || entries.iter().any(|(known, _)| known.as_text() == Some(key)) {
                return None;
            }
            self.advance()?;
            let value = match rest {
                Some(text) => self.scalar(text, indent)?,
                None => self.nested(indent, depth)?,
            };
            entries.push((Value::text(key), value));
        }
        Some(Value::Map(entries))
    }

    /// What stands below a key: a deeper collection, or a list at the key's own column.
    fn nested(&mut self, indent: usize, depth: usize) -> Option<Value> {
        let line = self.next?;
        match line.indent {
            deeper if deeper > indent => self.collection(deeper, depth),
            same if same == indent && is_item(line.text) => self.list(indent, depth.checked_sub(1)?),
            _ => None,
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        while let Some(line) = self.next.filter(|line| line.indent == indent && is_item(line.text)) {
            let text = line.text.strip_prefix("- ").filter(|text| !text.starts_with(' '))?;
            if is_item(text) || is_entry(text) {
                // What follows the dash stands in a collection of its own, two columns in.
                self.next = Some(Line { indent: indent + 2, text });
                items.push(self.collection(indent + 2, depth)?);
            } else {
                self.advance()?;
                items.push(self.scalar(text, indent)?);
            }
        }
        Some(Value::List(items))
    }

    /// A scalar that stands on one line: no deeper line follows.
    fn scalar(&self, text: &str, indent: usize) -> Option<Value> {
        if self.next.is_some_and(|line| line.indent > indent) {
            return None;
        }
        match text {
            "{}" => return Some(Value::Map(Vec::new())),
            "[]" => return Some(Value::List(Vec::new())),
            _ => {}
        }
        if let Some(rest) = text.strip_prefix('\'') {
            return rest.strip_suffix('\'').filter(|inner| !inner.contains('\'')).map(Value::text);
        }
        let starts_plain =
            text.starts_with(|first: char| first.is_ascii_alphanumeric() || "_./".contains(first));
        if !starts_plain || is_entry(text) || text.contains(" #") {
            return None;
        }
        match plain::resolve(text) {
            Plain::Null => Some(Value::Null),
            Plain::Bool(value) => Some(Value::Bool(value)),
            Plain::Int(value) => Some(Value::Int(value)),
            Plain::Float(value) => Some(Value::Float(value)),
            Plain::Timestamp => Some(Value::Timestamp(text.to_owned())),
            Plain::LongInt | Plain::Text => Some(Value::text(text)),
            Plain::Special => None,
        }
    }
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

fn is_entry(text: &str) -> bool {
    text.ends_with(':') || text.contains(": ")
}

/// Splits `key: value` or `key:`; only a key that is plain text and an ordinary word is read here.
fn entry(text: &str) -> Option<(&str, Option<&str>)> {
    let (key, rest) = text.split_once(':')?;
    let is_word = key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        && plain::resolve(key) == Plain::Text;
    if !is_word {
        return None;
    }
    if rest.is_empty() {
        return Some((key, None));
    }
    let value = rest.strip_prefix(' ').filter(|value| !value.starts_with(' '))?;
    Some((key, Some(value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_full(source: &str) -> Option<Value> {
        super::super::node::read(source).ok().map(super::super::Node::into_value)
    }

    /// `NaN` is not equal to itself; what is compared is how a value is written.
    fn written(value: Option<Value>) -> Option<String> {
        value.map(|value| value.to_yaml())
    }

    #[test]
    fn the_file_of_a_model_is_read_here() {
        let source = "name: iris\nversion: xvml\nmodule: bentoml.sklearn\nlabels:\n  owner: nlp\noptions: {}\nmetadata:\n  \
                      acc: 0.95\n  seen:\n  - 1\n  - two: 2\n    three: 3\n  - - 4\ncontext:\n  framework_versions:\n    \
                      scikit-learn: 1.9.1\n  python_version: 3.13.0\nsignatures:\n  predict:\n    batchable: false\n\
                      api_version: v1\ncreation_time: '2026-11-21T22:41:49.651064+00:00'\n";
        let value = read(source);
        assert!(value.is_some());
        assert_eq!(value, in_full(source));
    }

    #[test]
    fn what_needs_more_rules_is_left_to_the_general_reader() {
        let sources = [
            "",
            "a",
            "a:\n",
            "a: b\n  c\n",
            "a: \"b\"\n",
            "a: |\n  b\n",
            "a: &x b\n",
            "a: 1 # c\n",
            "a: b: c\n",
            "yes: 1\n",
            "a: 1\na: 2\n",
            "\u{feff}a: 1\n",
            "a: 'it''s'\n",
            "a:\tb\n",
            "---\na: 1\n",
            "a: 1\n...\n",
            "a: {b: 1}\n",
            "a:\n b: 1\n  c: 2\n",
            "a: é\n",
            "-\n",
            "- a\nb: 1\n",
            "a: 1\n b: 2\n",
        ];
        for source in sources {
            assert_eq!(read(source), None, "{source:?}");
        }
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z]{1,6}",
            "[ -~]{0,12}",
            "[0-9.:eE+-]{1,8}",
            Just("yes".to_owned()),
            "[a-z\u{e9}\n' ]{0,90}"
        ]
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(|number| Value::Int(number.into())),
            any::<f64>().prop_map(Value::Float),
            text().prop_map(Value::Text),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::btree_map(text(), inner, 0..4).prop_map(Value::map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_general_reader_reads_it(value in document()) {
            let source = value.to_yaml();
            if let Some(value) = read(&source) {
                prop_assert_eq!(written(Some(value)), written(in_full(&source)));
            }
        }

        #[test]
        fn any_lines_are_read_as_the_general_reader_reads_them(
            lines in prop::collection::vec("( {0,4}(- ){0,2}([a-c]|yes|1|-){0,1}(:{0,1}) {0,1}([a-c:#'{}\\[\\]~!&*.0-9 -]{0,6}))", 0..6)
        ) {
            let source = lines.join("\n");
            if let Some(value) = read(&source) {
                prop_assert_eq!(written(Some(value)), written(in_full(&source)), "{}", source);
            }
        }
    }
}

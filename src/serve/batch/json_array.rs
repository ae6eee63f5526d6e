//! Reads an array of numbers straight from a request's JSON, where it is plain that Python would read the same.
//!
//! That is the body `{"NAME": [[…], …]}`, or the nested lists alone for an API that takes the whole body. Everything else
//! (other members, ragged lists, text, numbers that NumPy would treat in a way of its own, mistakes) is left to the
//! worker, which knows all rules and words all errors; so this reader refuses whatever it is not sure of.

use bytes::Bytes;
use serde::Deserialize;

use super::array::ArrayHead;

/// Deepest nesting that is read here.
const MAX_DEPTH: usize = 16;

/// Whole numbers up to here are exact in every type of floating-point number that is read.
const EXACT_IN_F32: i64 = 1 << 24;

/// Digits of which every whole number fits into 64 bits.
const SAFE_DIGITS: usize = 18;

/// What an API takes, if that is one array and nothing else.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ArrayInput {
    /// The member that has the array; `None` when it is the whole body.
    #[serde(default)]
    pub parameter: Option<String>,
    /// The type that the API declares, as NumPy writes it.
    #[serde(default)]
    pub dtype: Option<String>,
    /// The shape that the API declares; one length may be -1, which is any.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
}

/// What the elements become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float64,
    Float32,
    Int64,
    Int32,
}

/// The elements so far: whole numbers, until there is another.
#[derive(Debug)]
enum Numbers {
    Whole(Vec<i64>),
    Float(Vec<f64>),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    numbers: Numbers,
    lengths: Vec<u64>,
    depth_of_numbers: Option<usize>,
}

impl ArrayInput {
    /// Reads a body; `None` where the worker must.
    pub fn read(&self, body: &[u8]) -> Option<(ArrayHead, Bytes)> {
        let mut reader = Reader {
            bytes: body,
            at: 0,
            numbers: Numbers::Whole(Vec::new()),
            lengths: Vec::new(),
            depth_of_numbers: None,
        };
        match &self.parameter {
            Some(name) => reader.member(name)?,
            None => reader.list(0)?,
        }
        reader.space();
        if reader.at != body.len() {
            return None;
        }
        let Reader { numbers, lengths, .. } = reader;
        if !self.has_shape(&lengths) {
            return None;
        }
        let kind = match (self.dtype.as_deref(), &numbers) {
            (None, Numbers::Whole(_)) | (Some("<i8"), _) => Kind::Int64,
            (None, Numbers::Float(_)) | (Some("<f8"), _) => Kind::Float64,
            (Some("<f4"), _) => Kind::Float32,
            (Some("<i4"), _) => Kind::Int32,
            (Some(_), _) => return None,
        };
        let elements = numbers.into_elements(kind)?;
        Some((ArrayHead { dtype: kind.name().to_owned(), shape: lengths }, elements.into()))
    }

    fn has_shape(&self, lengths: &[u64]) -> bool {
        let Some(shape) = &self.shape else { return true };
        let fits = |(wanted, length): (&i64, &u64)| *wanted == -1 || u64::try_from(*wanted) == Ok(*length);
        let unknown = shape.iter().filter(|length| **length == -1).count();
        unknown <= 1 && shape.len() == lengths.len() && shape.iter().zip(lengths).all(fits)
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Float64 => "<f8",
            Self::Float32 => "<f4",
            Self::Int64 => "<i8",
            Self::Int32 => "<i4",
        }
    }
}

impl Numbers {
    fn into_elements(self, kind: Kind) -> Option<Vec<u8>> {
        #[expect(clippy::cast_precision_loss, reason = "NumPy rounds to the nearest too")]
        let wide = |value: i64| value as f64;
        Some(match (self, kind) {
            (Self::Whole(values), Kind::Int64) => values.into_iter().flat_map(i64::to_le_bytes).collect(),
            (Self::Whole(values), Kind::Int32) => {
                let narrow: Result<Vec<i32>, _> = values.into_iter().map(i32::try_from).collect();
                narrow.ok()?.into_iter().flat_map(i32::to_le_bytes).collect()
            }
            (Self::Whole(values), Kind::Float64) => {
                values.into_iter().flat_map(|value| wide(value).to_le_bytes()).collect()
            }
            (Self::Whole(values), Kind::Float32) => {
                if values.iter().any(|value| value.unsigned_abs() > EXACT_IN_F32.unsigned_abs()) {
                    return None;
                }
                let narrow = values.into_iter().map(|value| narrow(wide(value)));
                narrow.collect::<Option<Vec<f32>>>()?.into_iter().flat_map(f32::to_le_bytes).collect()
            }
            (Self::Float(values), Kind::Float64) => values.into_iter().flat_map(f64::to_le_bytes).collect(),
            (Self::Float(values), Kind::Float32) => {
                let narrow: Option<Vec<f32>> = values.into_iter().map(narrow).collect();
                narrow?.into_iter().flat_map(f32::to_le_bytes).collect()
            }
            (Self::Float(_), Kind::Int64 | Kind::Int32) => return None,
        })
    }

    fn push_whole(&mut self, value: i64) {
        match self {
            Self::Whole(values) => values.push(value),
            #[expect(clippy::cast_precision_loss, reason = "NumPy rounds to the nearest too")]
            Self::Float(values) => values.push(value as f64),
        }
    }

    fn push_float(&mut self, value: f64) {
        if let Self::Whole(values) = self {
            #[expect(clippy::cast_precision_loss, reason = "NumPy rounds to the nearest too")]
            let floats = values.iter().map(|value| *value as f64).collect();
            *self = Self::Float(floats);
        }
        if let Self::Float(values) = self {
            values.push(value);
        }
    }
}

/// Rounds to single precision, as NumPy does; what would become infinite is its business.
fn narrow(value: f64) -> Option<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
    let narrow = value as f32;
    narrow.is_finite().then_some(narrow)
}

impl Reader<'_> {
    /// Reads an object with one member.
    fn member(&mut self, name: &str) -> Option<()> {
        self.token(b'{')?;
        self.token(b'"')?;
        // A name with an escape in it is not found here, and left to the worker.
        let rest = self.bytes.get(self.at..)?.strip_prefix(name.as_bytes())?;
        self.at = self.bytes.len() - rest.len();
        if self.bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        self.at += 1;
        self.token(b':')?;
        self.list(0)?;
        self.token(b'}')
    }

    fn list(&mut self, depth: usize) -> Option<()> {
        if depth >= MAX_DEPTH {
            return None;
        }
        self.token(b'[')?;
        let mut length = 0;
        loop {
            self.space();
            match self.bytes.get(self.at)? {
                b'[' => self.list(depth + 1)?,
                b'-' | b'0'..=b'9' => self.number(depth)?,
                _ => return None,
            }
            length += 1;
            self.space();
            self.at += 1;
            match self.bytes.get(self.at - 1)? {
                b',' => {}
                b']' => break,
                _ => return None,
            }
        }
        self.close(depth, length)
    }

    /// Takes note of a list's length, which all lists at its depth share; inner lists come before outer ones.
    fn close(&mut self, depth: usize, length: u64) -> Option<()> {
        let deepest = self.depth_of_numbers?;
        if self.lengths.is_empty() {
            self.lengths = vec![0; deepest + 1];
        }
        let known = self.lengths.get_mut(depth)?;
        if *known != 0 && *known != length {
            return None;
        }
        *known = length;
        Some(())
    }

    fn number(&mut self, depth: usize) -> Option<()> {
        if *self.depth_of_numbers.get_or_insert(depth) != depth {
            return None;
        }
        let start = self.at;
        if self.bytes[start] == b'-' {
            self.at += 1;
        }
        let whole = self.digits();
        let has_leading_zero = whole.len() > 1 && whole[0] == b'0';
        if whole.is_empty() || has_leading_zero {
            return None;
        }
        let digits = whole.len();
        let mut is_whole = true;
        if self.bytes.get(self.at) == Some(&b'.') {
            is_whole = false;
            self.at += 1;
            if self.digits().is_empty() {
                return None;
            }
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            is_whole = false;
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits().is_empty() {
                return None;
            }
        }
        let text = str::from_utf8(&self.bytes[start..self.at]).ok()?;
        if is_whole {
            if digits > SAFE_DIGITS {
                return None;
            }
            self.numbers.push_whole(text.parse().ok()?);
        } else {
            self.numbers.push_float(text.parse().ok().filter(|value: &f64| value.is_finite())?);
        }
        Some(())
    }

    fn digits(&mut self) -> &[u8] {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        &self.bytes[start..self.at]
    }

    fn token(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.bytes.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn input(dtype: Option<&str>, shape: Option<&[i64]>) -> ArrayInput {
        ArrayInput {
            parameter: Some("data".to_owned()),
            dtype: dtype.map(str::to_owned),
            shape: shape.map(<[i64]>::to_vec),
        }
    }

    fn read(input: &ArrayInput, body: &str) -> Option<(String, Vec<u64>, Vec<u8>)> {
        let (head, elements) = input.read(body.as_bytes())?;
        Some((head.dtype, head.shape, elements.to_vec()))
    }

    fn floats(values: &[f64]) -> Vec<u8> {
        values.iter().copied().flat_map(f64::to_le_bytes).collect()
    }

    fn whole(values: &[i64]) -> Vec<u8> {
        values.iter().copied().flat_map(i64::to_le_bytes).collect()
    }

    #[test]
    fn plain_arrays_are_read() {
        let any = input(None, None);
        let found = read(&any, r#"{"data": [[5.9, 3, 5.1e0, -1.8]]}"#).unwrap();
        assert_eq!(found, ("<f8".to_owned(), vec![1, 4], floats(&[5.9, 3.0, 5.1, -1.8])));
        let found = read(&any, " {\n\"data\" :[1 , -2,30]\t}\n").unwrap();
        assert_eq!(found, ("<i8".to_owned(), vec![3], whole(&[1, -2, 30])));
        let root = ArrayInput { parameter: None, dtype: None, shape: None };
        let found = read(&root, "[[[1],[2]],[[3],[4]],[[5],[6]]]").unwrap();
        assert_eq!(found, ("<i8".to_owned(), vec![3, 2, 1], whole(&[1, 2, 3, 4, 5, 6])));
    }

    #[test]
    fn declared_types_and_shapes_are_kept() {
        let found = read(&input(Some("<f4"), Some(&[-1, 2])), r#"{"data": [[1, 0.1]]}"#).unwrap();
        let expected: Vec<u8> = [1f32, 0.1].into_iter().flat_map(f32::to_le_bytes).collect();
        assert_eq!(found, ("<f4".to_owned(), vec![1, 2], expected));
        assert_eq!(read(&input(Some("<f8"), None), r#"{"data": [2]}"#).unwrap().2, floats(&[2.0]));
        assert_eq!(read(&input(Some("<i4"), None), r#"{"data": [2]}"#).unwrap().2, 2i32.to_le_bytes());
        for (dtype, shape, body) in [
            (None, Some([2, 2].as_slice()), r#"{"data": [[1, 2, 3, 4]]}"#),
            (None, Some(&[-1, -1]), r#"{"data": [[1]]}"#),
            (Some("<i8"), None, r#"{"data": [1.5]}"#),
            (Some("<i4"), None, r#"{"data": [3000000000]}"#),
            (Some("<f4"), None, r#"{"data": [1e300]}"#),
            (Some("<f4"), None, r#"{"data": [16777217]}"#),
            (Some("<U3"), None, r#"{"data": [1]}"#),
        ] {
            assert_eq!(read(&input(dtype, shape), body), None, "{body}");
        }
    }

    #[test]
    fn everything_else_is_left_to_the_worker() {
        for body in [
            "",
            "{}",
            "[1]",
            "{\"data\": 1}",
            "{\"data\": []}",
            "{\"data\": [[]]}",
            "{\"data\": [[1], 2]}",
            "{\"data\": [1, [2]]}",
            "{\"data\": [[1], [2, 3]]}",
            "{\"data\": [[[1]], [2]]}",
            "{\"data\": [null]}",
            "{\"data\": [true]}",
            "{\"data\": [\"1\"]}",
            "{\"data\": [NaN]}",
            "{\"data\": [01]}",
            "{\"data\": [1.]}",
            "{\"data\": [.5]}",
            "{\"data\": [1e]}",
            "{\"data\": [+1]}",
            "{\"data\": [-]}",
            "{\"data\": [1,]}",
            "{\"data\": [1}",
            "{\"data\": [1]",
            "{\"data\": [1]} x",
            "{\"data\": [1], \"b\": 2}",
            "{\"date\": [1]}",
            "{\"data2\": [1]}",
            "{\"data\": [9999999999999999999]}",
            "{\"data\": [1e400]}",
        ] {
            assert_eq!(read(&input(None, None), body), None, "{body}");
        }
        let deep = format!("{{\"data\": {}1{}}}", "[".repeat(40), "]".repeat(40));
        assert_eq!(read(&input(None, None), &deep), None);
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(rows in 1usize..5, columns in 1usize..5, seed in any::<Vec<f64>>()) {
            let values: Vec<f64> = (0..rows * columns)
                .map(|n| seed.get(n).copied().filter(|value| value.is_finite()).unwrap_or(0.5))
                .collect();
            let array = ArrayHead { dtype: "<f8".to_owned(), shape: vec![rows as u64, columns as u64] };
            let body = [b"{\"data\": ".as_slice(), &array.to_json(&floats(&values)).unwrap(), b"}"].concat();
            let (head, elements) = input(None, None).read(&body).unwrap();
            prop_assert_eq!((head, elements.to_vec()), (array, floats(&values)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = input(None, None).read(&body);
            let _ = ArrayInput { parameter: None, dtype: None, shape: None }.read(&body);
        }

        #[test]
        fn what_looks_like_json_is_read_or_refused(body in r#"[\[\]{},: 0-9.eE"data+\-]{0,60}"#) {
            let _ = ArrayInput { parameter: None, dtype: None, shape: None }.read(body.as_bytes());
        }
    }
}

//! Arrays as they travel: a type, a shape, and the elements one after the other, the last index changing fastest.
//!
//! Along the first dimension such arrays are merged by writing their bytes one after the other, and split by cutting
//! them: neither looks at an element. Only an answer to an HTTP client is turned into text here.

use std::io::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What is known of an array besides its elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayHead {
    /// The type of the elements, as NumPy writes it (`<f8`).
    pub dtype: String,
    /// The length of each dimension.
    pub shape: Vec<u64>,
}

impl ArrayHead {
    /// Returns the number of rows; an array without dimensions has none.
    pub fn rows(&self) -> Option<u64> {
        self.shape.first().copied()
    }

    /// Whether rows of the other could stand under rows of this one.
    pub fn is_mergeable(&self, other: &Self) -> bool {
        self.dtype == other.dtype
            && !self.shape.is_empty()
            && !other.shape.is_empty()
            && self.shape[1..] == other.shape[1..]
    }

    /// Returns an array of the same kind with another number of rows.
    #[must_use]
    pub fn with_rows(&self, rows: u64) -> Self {
        let mut head = self.clone();
        if let Some(first) = head.shape.first_mut() {
            *first = rows;
        }
        head
    }

    /// Cuts the elements into parts of so many rows each; `None` unless the parts are the whole of it.
    pub fn split(&self, elements: &Bytes, rows: &[u64]) -> Option<Vec<Bytes>> {
        let all = self.rows()?;
        let expected = rows.iter().try_fold(0u64, |sum, rows| sum.checked_add(*rows))?;
        if all != expected {
            return None;
        }
        let size = if all == 0 { 0 } else { elements.len() / usize::try_from(all).ok()? };
        let mut at = 0;
        rows.iter()
            .map(|rows| {
                let end = at + size * usize::try_from(*rows).ok()?;
                let part = (end <= elements.len()).then(|| elements.slice(at..end));
                at = end;
                part
            })
            .collect()
    }

    /// Writes the array as `json.dumps(array.tolist())` does, with null for what JSON has no number for; `None` for a
    /// type that is not among those.
    pub fn to_json(&self, elements: &[u8]) -> Option<Vec<u8>> {
        let write = writer(&self.dtype)?;
        let mut out = Vec::with_capacity(elements.len() * 2 + 2);
        let mut rest = elements;
        write_dimension(&self.shape, &mut rest, write, &mut out)?;
        rest.is_empty().then_some(out)
    }
}

/// Writes the first element of some bytes, and gives the others.
type Writer = for<'a> fn(&'a [u8], &mut Vec<u8>) -> Option<&'a [u8]>;

fn write_dimension(shape: &[u64], rest: &mut &[u8], write: Writer, out: &mut Vec<u8>) -> Option<()> {
    let Some((length, inner)) = shape.split_first() else {
        *rest = write(rest, out)?;
        return Some(());
    };
    out.push(b'[');
    for index in 0..*length {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        write_dimension(inner, rest, write, out)?;
    }
    out.push(b']');
    Some(())
}

fn writer(dtype: &str) -> Option<Writer> {
    /// Writes one element of a fixed size.
    macro_rules! element {
        ($type:ty, $write:expr) => {
            |bytes, out| {
                let (element, rest) = bytes.split_first_chunk()?;
                $write(<$type>::from_le_bytes(*element), out);
                Some(rest)
            }
        };
    }
    Some(match dtype {
        "<f8" => element!(f64, write_float),
        "<f4" => element!(f32, |value, out: &mut _| write_float(f64::from(value), out)),
        "<i8" => element!(i64, write_integer),
        "<i4" => element!(i32, write_integer),
        "<i2" => element!(i16, write_integer),
        "|i1" => element!(i8, write_integer),
        "<u8" => element!(u64, write_integer),
        "<u4" => element!(u32, write_integer),
        "<u2" => element!(u16, write_integer),
        "|u1" => element!(u8, write_integer),
        "|b1" => element!(u8, |value, out: &mut Vec<u8>| out.extend_from_slice(if value == 0 {
            b"false".as_slice()
        } else {
            b"true"
        })),
        _ => return None,
    })
}

fn write_integer(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = write!(out, "{value}");
}

/// Writes a number as Python's `repr` does: the fewest digits that give it back, with an exponent below `1e-4` and from
/// `1e16` on.
fn write_float(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-4..1e16).contains(&magnitude) {
        // Without an exponent, and with `.0` where it is whole.
        let _ = write!(out, "{value:?}");
        return;
    }
    let mut digits = [0u8; 32];
    let mut left = digits.as_mut_slice();
    let _ = write!(left, "{value:e}");
    let unused = left.len();
    let written = &digits[..digits.len() - unused];
    let at = written.iter().position(|byte| *byte == b'e').unwrap_or(written.len());
    let (mantissa, exponent) = written.split_at(at);
    out.extend_from_slice(mantissa);
    out.push(b'e');
    let exponent = exponent.get(1..).unwrap_or_default();
    let (sign, digits) = exponent.strip_prefix(b"-").map_or((b'+', exponent), |digits| (b'-', digits));
    out.push(sign);
    if digits.len() < 2 {
        out.push(b'0');
    }
    out.extend_from_slice(digits);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(dtype: &str, shape: &[u64]) -> ArrayHead {
        ArrayHead { dtype: dtype.to_owned(), shape: shape.to_vec() }
    }

    fn text(dtype: &str, shape: &[u64], elements: &[u8]) -> Option<String> {
        head(dtype, shape).to_json(elements).map(|json| String::from_utf8(json).unwrap())
    }

    fn float(value: f64) -> String {
        let mut out = Vec::new();
        write_float(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// As Python 3.11 prints them.
    #[test]
    fn numbers_are_written_as_python_writes_them() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.25e-7, "1.25e-07"),
            (5e-324, "5e-324"),
            (-1.797_693_134_862_315_7e308, "-1.7976931348623157e+308"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
        ];
        for (value, expected) in cases {
            assert_eq!(float(value), expected);
        }
        assert_eq!(text("<f4", &[1], &0.1f32.to_le_bytes()).unwrap(), "[0.10000000149011612]");
    }

    #[test]
    fn arrays_are_written_row_by_row() {
        let elements: Vec<u8> = (1..=4i64).flat_map(i64::to_le_bytes).collect();
        assert_eq!(text("<i8", &[4], &elements).unwrap(), "[1, 2, 3, 4]");
        assert_eq!(text("<i8", &[2, 2], &elements).unwrap(), "[[1, 2], [3, 4]]");
        assert_eq!(text("<i8", &[2, 2, 1], &elements).unwrap(), "[[[1], [2]], [[3], [4]]]");
        assert_eq!(text("|b1", &[2], &[1, 0]).unwrap(), "[true, false]");
        assert_eq!(text("<f8", &[0], &[]).unwrap(), "[]");
        assert_eq!(text("<f8", &[2, 0], &[]).unwrap(), "[[], []]");
        assert_eq!(text("<i8", &[5], &elements), None, "too few elements");
        assert_eq!(text("<i8", &[3], &elements), None, "too many elements");
        assert_eq!(text("|O", &[4], &elements), None);
    }

    #[test]
    fn parts_are_the_whole() {
        let elements = Bytes::from_static(b"aabbcc");
        let array = head("<i2", &[3]);
        let parts = array.split(&elements, &[1, 0, 2]).unwrap();
        assert_eq!(parts, [&b"aa"[..], b"", b"bbcc"]);
        assert_eq!(array.split(&elements, &[1, 1]), None);
        assert_eq!(array.split(&elements, &[u64::MAX, 4]), None);
        assert_eq!(head("<i2", &[0]).split(&Bytes::new(), &[0, 0]).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn a_number_is_read_back(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
            prop_assert_eq!(float(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
        }

        #[test]
        fn any_bytes_are_written_or_refused(
            shape in prop::collection::vec(0u64..4, 0..4),
            elements in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            for dtype in ["<f8", "<f4", "<i2", "|b1", "<U3"] {
                let _ = head(dtype, &shape).to_json(&elements);
            }
        }
    }
}

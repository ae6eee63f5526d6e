//! Any bytes as the body of a request that may be one array.
//!
//! What is read has as many elements as its shape says, and is read again, as the same, from what is written of it.

use ekiben::serve::batch::json_array::ArrayInput;

/// Runs the bytes through the reader and the writer.
pub(crate) fn run(bytes: &[u8]) {
    for (parameter, dtype) in [(None, None), (Some("data"), None), (None, Some("<f4")), (None, Some("<i4"))] {
        let dtype = dtype.map(str::to_owned);
        let input = ArrayInput { parameter: parameter.map(str::to_owned), dtype: dtype.clone(), shape: None };
        let Some((head, elements)) = input.read(bytes) else { continue };
        let size: usize = if head.dtype.ends_with('8') { 8 } else { 4 };
        let count: u64 = head.shape.iter().product();
        assert_eq!(elements.len() as u64, count * size as u64, "{head:?}");
        let json = head.to_json(&elements).expect("what was read can be written");
        let whole = ArrayInput { parameter: None, dtype, shape: None };
        let (again, same) = whole.read(&json).expect("what was written can be read");
        assert_eq!((again, same), (head, elements));
    }
}

//! Debian's ordering of version numbers (Debian policy §5.6.12).

use std::cmp::Ordering;

/// Compares two versions as `dpkg --compare-versions` does.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left) = split_epoch(left);
    let (right_epoch, right) = split_epoch(right);
    let (left_upstream, left_revision) = split_revision(left);
    let (right_upstream, right_revision) = split_revision(right);
    compare_numbers(left_epoch.as_bytes(), right_epoch.as_bytes())
        .then_with(|| compare_part(left_upstream.as_bytes(), right_upstream.as_bytes()))
        .then_with(|| compare_part(left_revision.as_bytes(), right_revision.as_bytes()))
}

fn split_epoch(version: &str) -> (&str, &str) {
    version.split_once(':').unwrap_or(("0", version))
}

fn split_revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, ""))
}

/// Text and numbers by turns; `~` sorts before the end, letters before everything else.
fn compare_part<'a>(mut left: &'a [u8], mut right: &'a [u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let (words, numbers);
        (words, left, right) = compare_run(left, right, |byte| !byte.is_ascii_digit(), compare_text);
        (numbers, left, right) = compare_run(left, right, u8::is_ascii_digit, compare_numbers);
        let order = words.then(numbers);
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Compares what both begin with of one kind of bytes, and gives what is left of them.
fn compare_run<'a>(
    left: &'a [u8],
    right: &'a [u8],
    is_kind: fn(&u8) -> bool,
    compare: fn(&[u8], &[u8]) -> Ordering,
) -> (Ordering, &'a [u8], &'a [u8]) {
    let (left, left_rest) = split_while(left, is_kind);
    let (right, right_rest) = split_while(right, is_kind);
    (compare(left, right), left_rest, right_rest)
}

fn split_while(bytes: &[u8], test: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|byte| !test(byte)).unwrap_or(bytes.len()))
}

fn compare_text(left: &[u8], right: &[u8]) -> Ordering {
    (0..left.len().max(right.len()))
        .map(|index| weight(left.get(index)).cmp(&weight(right.get(index))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

/// Compares numbers of any length; none at all is zero.
fn compare_numbers(left: &[u8], right: &[u8]) -> Ordering {
    let (_, left) = split_while(left, |byte| *byte == b'0');
    let (_, right) = split_while(right, |byte| *byte == b'0');
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_orders_hold() {
        for (smaller, larger) in [
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0-1"),
            ("1.0-1", "1.0-1+deb12u1"),
            ("9", "10"),
            ("2:1.0", "10:0.1"),
            ("1.0", "1:0.1"),
            ("1.0a", "1.0+"),
            ("1.0-1~deb12u2", "1.0-1"),
            ("5.2.0-1", "5.10.0-1"),
        ] {
            assert_eq!(compare(smaller, larger), Ordering::Less, "{smaller} {larger}");
            assert_eq!(compare(larger, smaller), Ordering::Greater, "{larger} {smaller}");
        }
        assert_eq!(compare("0:1.00-0", "1.0"), Ordering::Equal);
    }

    fn dpkg_says(left: &str, operator: &str, right: &str) -> bool {
        let status = std::process::Command::new("dpkg")
            .args(["--compare-versions", left, operator, right])
            .status()
            .expect("dpkg is needed to test the order of versions");
        status.success()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn the_order_is_that_of_dpkg(
            left in "([0-2]:)?[0-9][0-9a-c.+~]{0,5}(-[0-9a-c.+~]{1,3})?",
            right in "([0-2]:)?[0-9][0-9a-c.+~]{0,5}(-[0-9a-c.+~]{1,3})?",
        ) {
            let expected = match (dpkg_says(&left, "lt", &right), dpkg_says(&left, "eq", &right)) {
                (true, _) => Ordering::Less,
                (_, true) => Ordering::Equal,
                _ => Ordering::Greater,
            };
            prop_assert_eq!(compare(&left, &right), expected);
        }

        #[test]
        fn any_text_compares_without_panic(left in ".{0,12}", right in ".{0,12}") {
            prop_assert_eq!(compare(&left, &right), compare(&right, &left).reverse());
        }
    }
}

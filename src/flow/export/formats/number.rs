//! Numbers as text.

/// Appends the shortest text that reads back as this number, with a point or an exponent: `1.0`, `0.1`, `1e300`.
pub fn push_float(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(format!("{value:?}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_number_reads_back_and_never_looks_like_an_integer() {
        let values = [0.0, -0.0, 1.0, 0.1, 1e16, 1e300, f64::MAX, f64::MIN_POSITIVE, 5e-324, (1_i64 << 53) as f64];
        for value in values {
            let mut out = Vec::new();
            push_float(&mut out, value);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
            assert!(text.contains(['.', 'e']), "{text}");
        }
    }
}

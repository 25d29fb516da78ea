//! Sizes as people write them: `256MiB`, `1.5GiB`, `500MB`, `64k`, or plain bytes.

/// Reads a size of at least one byte.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let size = read(text).ok_or("expected a size such as 256MiB, 1.5GiB, 500MB, or bytes")?;
    if size == 0 { Err(String::from("it must be more than nothing")) } else { Ok(size) }
}

fn read(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        // As container tools read it: a single letter is a power of two.
        "k" | "ki" | "kib" => 1024.0,
        "m" | "mi" | "mib" => 1_048_576.0,
        "g" | "gi" | "gib" => 1_073_741_824.0,
        "t" | "ti" | "tib" => 1_099_511_627_776.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return None,
    };
    let plain =
        number.starts_with(|c: char| c.is_ascii_digit()) && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let value: f64 = plain.then(|| number.parse().ok())??;
    let bytes = value * unit;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, and not negative")]
    (bytes < 9e18).then_some(bytes.round() as u64)
}

/// In the largest unit that leaves a number of at least one: `256 MiB`, `1.5 GiB`, `12 bytes`.
pub(crate) fn show(bytes: u64) -> String {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => {
            let value = format!("{:.1}", bytes as f64 / size as f64);
            format!("{} {unit}", value.strip_suffix(".0").unwrap_or(&value))
        }
        None if bytes == 1 => String::from("1 byte"),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let table = [
            ("1", 1),
            ("4096", 4096),
            ("256MiB", 256 << 20),
            ("256m", 256 << 20),
            ("64K", 64 << 10),
            ("1.5GiB", 3 << 29),
            ("500MB", 500_000_000),
            ("1kb", 1000),
            ("2T", 2 << 40),
        ];
        for (text, bytes) in table {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "0", "0MiB", "MiB", "-1", "1 MiB", "1XB", "1..5G", "inf", "nan", "99999999999T", "1e3"] {
            assert!(parse(text).is_err(), "{text:?} was taken for {:?}", parse(text));
        }
    }

    #[test]
    fn shown_in_the_largest_unit() {
        for (bytes, text) in [(1, "1 byte"), (12, "12 bytes"), (256 << 20, "256 MiB"), (3 << 29, "1.5 GiB")] {
            assert_eq!(show(bytes), text);
        }
    }
}

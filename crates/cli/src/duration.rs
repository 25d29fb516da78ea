//! Durations as people write them: `30s`, `5m`, `1h30m`, `500ms`, `1.5s`, or plain seconds.

use std::time::Duration;

/// Reads a duration that is longer than nothing.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let duration = read(text).ok_or("expected a duration such as 30s, 5m, 1h30m, 500ms, or seconds")?;
    if duration.is_zero() { Err(String::from("it must be longer than nothing")) } else { Ok(duration) }
}

fn read(text: &str) -> Option<Duration> {
    if !text.ends_with(|last: char| last.is_ascii_alphabetic()) {
        return amount(text, 1.0);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic())?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len()));
        let seconds = match unit {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total = total.checked_add(amount(number, seconds)?)?;
        rest = tail;
    }
    Some(total)
}

/// A number of digits with at most one point, times so many seconds.
fn amount(number: &str, seconds: f64) -> Option<Duration> {
    let plain =
        number.starts_with(|c: char| c.is_ascii_digit()) && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let value: f64 = plain.then(|| number.parse().ok())??;
    Duration::try_from_secs_f64(value * seconds).ok()
}

/// The same form again: `1h30m`, `30s`, `500ms`, `1.5s`.
pub(crate) fn show(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if seconds == 0 {
        return format!("{}ms", f64::from(nanos) / 1e6);
    }
    let mut text = String::new();
    for (unit, size) in [('h', 3600), ('m', 60)] {
        let count = if unit == 'h' { seconds / size } else { seconds % 3600 / size };
        if count > 0 {
            text += &format!("{count}{unit}");
        }
    }
    let rest = Duration::new(seconds % 60, nanos);
    if !rest.is_zero() {
        text += &format!("{}s", rest.as_secs_f64());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let table = [
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("90", 90_000),
            ("0.5", 500),
            ("1.5s", 1_500),
            ("1d", 86_400_000),
            ("2min", 120_000),
            ("1m1s1ms", 61_001),
        ];
        for (text, millis) in table {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "s", "0", "0s", "-1s", "+1", "1x", "1 s", "s1", "1s2", "1..5s", "1e3s", "inf", "nan", "9e99", "1µs"]
        {
            assert!(parse(text).is_err(), "{text:?} was taken for {:?}", parse(text));
        }
        assert!(parse(&"9".repeat(400)).is_err());
    }

    #[test]
    fn shown_as_written() {
        for text in ["30s", "5m", "1h30m", "500ms", "1.5s", "25h", "1h1s", "0.5ms"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
        assert_eq!(show(Duration::from_secs(90)), "1m30s");
    }
}

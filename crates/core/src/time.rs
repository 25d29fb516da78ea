//! Times as they stand in JSON: ISO 8601 in UTC with milliseconds, and durations in milliseconds.

use serde::{Deserializer, Serializer};
use std::time::{Duration, SystemTime};

/// Formats as JavaScript's `toISOString`: `2025-08-18T10:00:00.123Z`.
#[must_use]
pub fn iso8601(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map_or_else(|_| String::from("1970-01-01T00:00:00.000Z"), |timestamp| format!("{timestamp:.3}"))
}

/// Whole milliseconds, at most `u64::MAX`; [`Duration::MAX`] ("no limit") stays the largest value.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `#[serde(with = "computesdk_core::time::iso")]` for a [`SystemTime`].
pub mod iso {
    use super::{Deserializer, Serializer, SystemTime};
    use serde::Deserialize as _;

    /// Writes the time as ISO 8601.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::iso8601(*time))
    }

    /// Reads an ISO 8601 time.
    ///
    /// # Errors
    /// If the text is not one.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<jiff::Timestamp>().and_then(SystemTime::try_from).map_err(serde::de::Error::custom)
    }
}

/// `#[serde(with = "computesdk_core::time::ms")]` for a [`Duration`] in milliseconds.
pub mod ms {
    use super::{Deserializer, Duration, Serializer};
    use serde::Deserialize as _;

    /// Writes whole milliseconds.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(super::millis(*duration))
    }

    /// Reads whole milliseconds.
    ///
    /// # Errors
    /// If the value is not a non-negative whole number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// `#[serde(with = "computesdk_core::time::seconds")]` for an optional [`Duration`] in seconds, to the microsecond.
pub mod seconds {
    use super::{Deserializer, Duration, Serializer};
    use serde::Deserialize as _;

    /// Writes seconds as a number.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&((duration.as_secs_f64() * 1e6).round() / 1e6)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads seconds.
    ///
    /// # Errors
    /// If the value is not a non-negative number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(deserializer)?;
        seconds.map(|seconds| Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_has_three_digits_of_milliseconds() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_755_511_200, 120_000_000);
        assert_eq!(iso8601(time), "2025-08-18T10:00:00.120Z");
    }
}

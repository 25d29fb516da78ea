//! How values stand in columns: times as whole microseconds, structures as JSON.
//!
//! Clients see times as seconds in a 64-bit float, which tells microseconds apart until the year 2255. What they send back
//! is therefore exactly the time that is kept, and "strictly before" means what it says.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At(pub(super) i64);

impl At {
    pub(super) fn now() -> Self {
        Self::from(SystemTime::now())
    }

    pub(super) fn time(self) -> SystemTime {
        let since = Duration::from_micros(self.0.unsigned_abs());
        let time = if self.0 < 0 { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) };
        time.unwrap_or(UNIX_EPOCH)
    }

    /// This long before it, the beginning of time at most.
    pub(super) fn earlier(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl From<SystemTime> for At {
    /// To the nearest microsecond: what came out of a float is off by a fraction of one.
    fn from(time: SystemTime) -> Self {
        let micros = |since: Duration| i64::try_from((since.as_nanos() + 500) / 1000).unwrap_or(i64::MAX);
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(since) => micros(since),
            Err(before) => -micros(before.duration()),
        })
    }
}

impl ToSql for At {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

impl FromSql for At {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

/// Seconds since 1970, as clients read times.
#[expect(clippy::cast_precision_loss, reason = "whole microseconds fit until the year 2255")]
pub(crate) fn seconds(time: SystemTime) -> f64 {
    At::from(time).0 as f64 / 1e6
}

/// The time that a client means by its seconds since 1970; none for what is no time.
pub(crate) fn from_seconds(seconds: f64) -> Option<SystemTime> {
    Duration::try_from_secs_f64(seconds).ok().and_then(|since| UNIX_EPOCH.checked_add(since))
}

/// A structure as JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text = serde_json::to_string(&self.0);
        text.map(ToSqlOutput::from).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(|error| FromSqlError::Other(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_the_way_to_a_client_and_back() {
        let first = 1_700_000_000_000_000;
        for micros in (first..first + 10_000).chain([0, 1, 999_999, 4_102_444_800_000_001]) {
            let at = At(micros);
            assert_eq!(At::from(from_seconds(seconds(at.time())).unwrap()), at);
        }
        for nonsense in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            assert_eq!(from_seconds(nonsense), None);
        }
        assert_eq!(At::from(UNIX_EPOCH - Duration::from_secs(1)).time(), UNIX_EPOCH - Duration::from_secs(1));
    }
}

//! When a call is tried again, and after which delay (section 5 of the notes).

use computesdk_modal_proto::client::{RpcRetryPolicy, RpcStatus};
use prost::Message as _;
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// The shortest time that is waited because the server asks for it.
const LEAST_THROTTLE: Duration = Duration::from_millis(100);

/// Whether the same call may succeed if it is made again.
pub(crate) fn is_transient(code: Code) -> bool {
    matches!(code, Code::DeadlineExceeded | Code::Unavailable | Code::Cancelled | Code::Internal | Code::Unknown)
}

/// How long the server asks to wait before the call is made again; most errors do not ask.
pub(crate) fn retry_after(status: &Status) -> Option<Duration> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let policy = details.iter().find(|detail| detail.type_url.ends_with("/modal.client.RPCRetryPolicy"))?;
    let seconds = RpcRetryPolicy::decode(&*policy.value).ok()?.retry_after_secs;
    Duration::try_from_secs_f32(seconds).ok().map(|delay| delay.max(LEAST_THROTTLE))
}

/// Growing delays, so many of them.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    limit: u32,
    used: u32,
}

impl Backoff {
    /// Of a call to the control plane: 0.1, 0.2, 0.4 s.
    pub(crate) const fn control() -> Self {
        Self { first: Duration::from_millis(100), most: Duration::from_secs(1), limit: 3, used: 0 }
    }

    /// Of a call to a router: ten delays, doubling from 10 ms on.
    pub(crate) const fn router() -> Self {
        Self { first: Duration::from_millis(10), most: Duration::from_secs(10), limit: 10, used: 0 }
    }

    /// The next delay; `None` once there were enough.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        if self.used == self.limit {
            return None;
        }
        let delay = self.first.saturating_mul(1 << self.used.min(20)).min(self.most);
        self.used += 1;
        Some(delay)
    }

    /// Starts again: something went well.
    pub(crate) fn reset(&mut self) {
        self.used = 0;
    }
}

/// Where one call stands.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) since: Instant,
    pub(crate) retries: u32,
    pub(crate) throttles: u32,
    backoff: Backoff,
    throttled: Duration,
}

impl Attempt {
    pub(crate) fn first(backoff: Backoff) -> Self {
        Self { since: Instant::now(), retries: 0, throttles: 0, backoff, throttled: Duration::ZERO }
    }

    /// Waits for the next attempt, or says that there is none. `most` is how long the server may hold us up in all.
    pub(crate) async fn again(&mut self, status: Status, most: Option<Duration>) -> Result<(), Status> {
        if let Some(delay) = retry_after(&status) {
            let total = self.throttled.saturating_add(delay);
            if most.is_some_and(|most| total > most) {
                return Err(status);
            }
            tracing::info!(?delay, code = ?status.code(), "the server asks to wait");
            (self.throttled, self.throttles) = (total, self.throttles + 1);
            tokio::time::sleep(delay).await;
            return Ok(());
        }
        let delay = if is_transient(status.code()) { self.backoff.next() } else { None };
        let Some(delay) = delay else { return Err(status) };
        tracing::debug!(?delay, code = ?status.code(), message = status.message(), "the call is made again");
        self.retries += 1;
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Any;

    /// A refusal that asks to wait.
    fn throttled(seconds: f32) -> Status {
        let policy = Any {
            type_url: "type.modal.com/modal.client.RPCRetryPolicy".into(),
            value: RpcRetryPolicy { retry_after_secs: seconds }.encode_to_vec(),
        };
        let details = RpcStatus { code: 8, message: "slow down".into(), details: vec![policy] };
        Status::with_details(Code::ResourceExhausted, "slow down", details.encode_to_vec().into())
    }

    #[test]
    fn the_servers_delay_is_read() {
        assert_eq!(retry_after(&throttled(1.5)), Some(Duration::from_millis(1500)));
        assert_eq!(retry_after(&throttled(0.0)), Some(LEAST_THROTTLE));
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(retry_after(&throttled(bad)), None);
        }
        assert_eq!(retry_after(&Status::resource_exhausted("quota")), None);
        let garbage = Status::with_details(Code::Unavailable, "", vec![0xff; 9].into());
        assert_eq!(retry_after(&garbage), None);
    }

    #[tokio::test(start_paused = true)]
    async fn four_attempts_with_growing_delays() {
        let start = tokio::time::Instant::now();
        let mut attempt = Attempt::first(Backoff::control());
        for _ in 0..3 {
            attempt.again(Status::unavailable("down"), None).await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::from_millis(700));
        assert_eq!(attempt.again(Status::unavailable("down"), None).await.unwrap_err().message(), "down");
        let mut attempt = Attempt::first(Backoff::control());
        assert!(attempt.again(Status::not_found(""), None).await.is_err());
        assert!(attempt.again(Status::resource_exhausted(""), None).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_server_may_hold_us_up_only_so_long() {
        let mut attempt = Attempt::first(Backoff::control());
        for _ in 0..20 {
            attempt.again(throttled(1.0), None).await.unwrap();
        }
        assert_eq!((attempt.throttles, attempt.retries), (20, 0));
        assert!(attempt.again(throttled(1.0), Some(Duration::from_secs(20))).await.is_err());
        assert!(attempt.again(throttled(1.0), Some(Duration::ZERO)).await.is_err());
    }
}

//! Whether something in a sandbox answers already: asked again and again until it does, or until its time is over.

use crate::dial::Dial;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often and how long to ask.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReadyOptions {
    /// Pause between the end of one try and the next. Default: 100 ms.
    pub interval: Duration,
    /// For all tries together. Default: 60 s.
    pub deadline: Duration,
    /// For one try; one that takes longer has failed. Default: what is left of the deadline.
    pub attempt: Option<Duration>,
}

impl Default for ReadyOptions {
    fn default() -> Self {
        Self { interval: Duration::from_millis(100), deadline: Duration::from_secs(60), attempt: None }
    }
}

impl ReadyOptions {
    /// The defaults with another deadline.
    #[must_use]
    pub fn within(deadline: Duration) -> Self {
        Self { deadline, ..Self::default() }
    }
}

/// It did not become ready in time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotReady {
    /// Tries made, the one that the deadline ended included.
    pub attempts: u64,
    /// What the last try that came to its end said.
    pub last: Option<String>,
    /// The deadline.
    pub deadline: Duration,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tries = if self.attempts == 1 { "try" } else { "tries" };
        write!(f, "not ready within {:?}, after {} {tries}; ", self.deadline, self.attempts)?;
        match &self.last {
            Some(last) => write!(f, "the last said: {last}"),
            None => f.write_str("none of them came to an end"),
        }
    }
}

impl std::error::Error for NotReady {}

/// What one try comes to: ready, or why not.
pub type Attempt = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Probes that are made here. Any function that gives a future will do.
#[derive(Debug)]
#[non_exhaustive]
pub struct Probe;

impl Probe {
    /// Ready when a connection can be made, which is closed at once.
    pub fn tcp(dial: Arc<dyn Dial>) -> impl Fn() -> Attempt + Send + Sync {
        move || {
            let dial = Arc::clone(&dial);
            Box::pin(async move { dial.dial().await.map(drop).map_err(|error| error.to_string()) })
        }
    }
}

/// Asks until the answer is yes; how long it took. The first try is made at once, and one at a time.
///
/// # Errors
/// [`NotReady`] when the deadline passed. A try that hangs is dropped then.
pub async fn wait_ready<P, F>(probe: P, options: ReadyOptions) -> Result<Duration, NotReady>
where
    P: Fn() -> F,
    F: Future<Output = Result<(), String>>,
{
    let begin = Instant::now();
    let left = || options.deadline.saturating_sub(begin.elapsed());
    let mut not_ready = NotReady { attempts: 0, last: None, deadline: options.deadline };
    loop {
        not_ready.attempts += 1;
        let whole = left();
        let bound = options.attempt.map_or(whole, |attempt| attempt.min(whole));
        match tokio::time::timeout(bound, probe()).await {
            Ok(Ok(())) => return Ok(begin.elapsed()),
            Ok(Err(why)) => not_ready.last = Some(crate::shorten(why)),
            Err(_) if bound < whole => not_ready.last = Some(format!("no answer within {bound:?}")),
            Err(_) => return Err(not_ready),
        }
        if left() <= options.interval {
            tokio::time::sleep(left()).await;
            return Err(not_ready);
        }
        tokio::time::sleep(options.interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn quick() -> ReadyOptions {
        ReadyOptions { interval: Duration::from_millis(1), deadline: Duration::from_secs(20), attempt: None }
    }

    #[tokio::test]
    async fn it_asks_until_the_answer_is_yes() {
        let asked = AtomicU32::new(0);
        let probe = || {
            let n = asked.fetch_add(1, Ordering::Relaxed);
            async move { if n < 3 { Err(format!("no {n}")) } else { Ok(()) } }
        };
        wait_ready(probe, quick()).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn the_error_tells_the_last_answer() {
        let options = ReadyOptions { deadline: Duration::from_millis(30), ..quick() };
        let error = wait_ready(|| async { Err("exit code 1".to_owned()) }, options).await.unwrap_err();
        assert!(error.attempts > 1, "{error}");
        assert!(error.to_string().ends_with("the last said: exit code 1"), "{error}");
    }

    #[tokio::test]
    async fn a_probe_that_hangs_is_bounded() {
        let options = ReadyOptions { deadline: Duration::from_millis(30), ..quick() };
        let error = wait_ready(std::future::pending, options.clone()).await.unwrap_err();
        assert_eq!((error.attempts, error.last), (1, None));
        let options = ReadyOptions { attempt: Some(Duration::from_millis(1)), ..options };
        let error = wait_ready(std::future::pending, options).await.unwrap_err();
        assert!(error.attempts > 1 && error.last.unwrap().contains("no answer within 1ms"));
    }
}

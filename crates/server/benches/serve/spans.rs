//! How long the server's own spans and calls took, as its tracing tells.

use crate::Result;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// What was heard since it was last taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spans(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Spans that ended, by name.
    spans: Vec<(&'static str, Duration)>,
    /// Calls that were answered, by the last part of their path.
    calls: Vec<(String, Duration)>,
}

/// Listens to the server from now on, in this whole process.
pub(crate) fn listen() -> Result<Spans> {
    let spans = Spans::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Ear(spans.clone())))?;
    Ok(spans)
}

impl Spans {
    /// Takes what was heard.
    pub(crate) fn take(&self) -> Heard {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Heard {
    /// How long the span of this name took; all of them, if there were several.
    pub(crate) fn span(&self, name: &str) -> Option<Duration> {
        let mut found = self.spans.iter().filter(|(known, _)| *known == name).map(|(_, time)| *time).peekable();
        found.peek()?;
        Some(found.sum())
    }

    /// How long all calls took until they were answered but those that wait for something to happen.
    pub(crate) fn calls(&self) -> Duration {
        let waits = |name: &str| name.contains("Wait") || name.contains("GetLogs");
        self.calls.iter().filter(|(name, _)| !waits(name)).map(|(_, time)| *time).sum()
    }

    /// How long the calls of this name took.
    pub(crate) fn call(&self, name: &str) -> Option<Duration> {
        let mut found = self.calls.iter().filter(|(known, _)| known == name).map(|(_, time)| *time).peekable();
        found.peek()?;
        Some(found.sum())
    }
}

struct Ear(Spans);

struct Begun(Instant);

const OURS: &str = "computesdk_server";

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ear {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Spans, and the one event that tells of a call. Nobody else pays for being listened to.
        let is_heard = metadata.target().starts_with(OURS) && (metadata.is_span() || *metadata.level() == Level::DEBUG);
        if is_heard { Interest::always() } else { Interest::never() }
    }

    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Begun(Instant::now()));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        if let Some(Begun(at)) = span.extensions().get::<Begun>() {
            self.heard(|heard| heard.spans.push((span.name(), at.elapsed())));
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut call = Call::default();
        event.record(&mut call);
        if let Call { path: Some(path), took: Some(took) } = call {
            self.heard(|heard| heard.calls.push((path, took)));
        }
    }
}

impl Ear {
    fn heard(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The fields of the event that tells of a call.
#[derive(Default)]
struct Call {
    path: Option<String>,
    took: Option<Duration>,
}

impl Visit for Call {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "path" {
            self.path = value.rsplit('/').next().map(str::to_owned);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "took" {
            self.took = duration(&format!("{value:?}"));
        }
    }
}

/// What `Duration` prints, such as `1.5ms`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let scale = match &text[digits..] {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    Some(Duration::from_secs_f64(text[..digits].parse::<f64>().ok()? * scale))
}

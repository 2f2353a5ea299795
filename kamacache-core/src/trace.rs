//! Trace context across nodes: spans of `tracing` that become one trace, by the
//! W3C's `traceparent`, however many nodes a Get touches.
//!
//! Spans are at the level DEBUG: `fetch`, `send_set` and `send_delete` (what is
//! sent to an owner), `serve` (the same at the owner), `load` (a getter call). A
//! hit makes none, nor does a write of a key that this node owns. What turns them
//! into a trace is plugged in once a process, by [`set_propagator`]; without it
//! nothing is written or read.
//!
//! Invariant: what a peer or client sends is used only if it has the form of a
//! `traceparent`.

use std::sync::OnceLock;

use tracing::Span;

use crate::{Error, ErrorKind, Result};

/// What knows the trace of a span, as an OpenTelemetry layer does.
pub trait Propagator: Send + Sync + 'static {
    /// The `traceparent` of a span; `None`: it is in no trace.
    fn traceparent(&self, span: &Span) -> Option<String>;

    /// Makes a span, which was made a moment ago and not entered yet, the child
    /// of what this `traceparent` names.
    fn set_parent(&self, span: &Span, traceparent: &str);
}

/// The spans of `tracing-opentelemetry`'s layer: the program has a subscriber
/// with that layer, which lets the DEBUG spans of `kamacache_core` through.
#[cfg(feature = "otel")]
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenTelemetry;

#[cfg(feature = "otel")]
impl Propagator for OpenTelemetry {
    fn traceparent(&self, span: &Span) -> Option<String> {
        use opentelemetry::trace::TraceContextExt;
        use tracing_opentelemetry::OpenTelemetrySpanExt;
        let context = span.context();
        let span = context.span();
        let known = span.span_context();
        known.is_valid().then(|| {
            let flags = known.trace_flags().to_u8();
            format!("00-{}-{}-{flags:02x}", known.trace_id(), known.span_id())
        })
    }

    fn set_parent(&self, span: &Span, traceparent: &str) {
        use opentelemetry::trace::{
            SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState,
        };
        use tracing_opentelemetry::OpenTelemetrySpanExt;
        let mut parts = traceparent.split('-').skip(1);
        let mut next = || parts.next().unwrap_or_default();
        let (trace, parent, flags) = (next(), next(), next());
        let (Ok(trace), Ok(parent)) = (TraceId::from_hex(trace), SpanId::from_hex(parent)) else {
            return;
        };
        let flags = TraceFlags::new(u8::from_str_radix(flags, 16).unwrap_or(0));
        let remote = SpanContext::new(trace, parent, flags, true, TraceState::default());
        let context = opentelemetry::Context::new().with_remote_span_context(remote);
        // A span that the program's subscriber does not want has no parent.
        let _ = span.set_parent(context);
    }
}

static PROPAGATOR: OnceLock<Box<dyn Propagator>> = OnceLock::new();

/// From now on traces go on from node to node.
///
/// # Errors
/// AlreadyExists: a process has one, and has it already.
pub fn set_propagator(propagator: impl Propagator) -> Result<()> {
    PROPAGATOR.set(Box::new(propagator)).map_err(|_| {
        Error::new(
            ErrorKind::AlreadyExists,
            "this process has a propagator of traces already; set it once, before the first node starts",
        )
    })
}

/// The `traceparent` of the span that this code runs in; empty without one.
pub(crate) fn current() -> String {
    let propagator = PROPAGATOR.get();
    let current = propagator.and_then(|known| known.traceparent(&Span::current()));
    current.unwrap_or_default()
}

/// The span of a request that came with this `traceparent`; a disabled one when
/// it came without, or nobody follows traces here.
pub(crate) fn served(group: &str, key: &str, traceparent: &str) -> Span {
    match PROPAGATOR.get() {
        Some(propagator) if is_traceparent(traceparent) => {
            let key = crate::error::Short(key);
            let span = tracing::debug_span!("serve", group, ?key);
            propagator.set_parent(&span, traceparent);
            span
        }
        _ => Span::none(),
    }
}

/// `00-`, 32 digits of the trace, 16 of the span, 2 of flags; neither all 0.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let lengths = parts.iter().map(|part| part.len());
    lengths.eq([2, 32, 16, 2])
        && parts[0] == "00"
        && parts.iter().all(|part| is_hex(part))
        && parts[1..3]
            .iter()
            .all(|part| part.bytes().any(|b| b != b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_form_is_used() {
        assert!(is_traceparent(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        ));
        for wrong in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
        ] {
            assert!(!is_traceparent(wrong), "{wrong}");
        }
    }
}

//! Lines on standard error, as text or JSON; and, in a build with the feature
//! `otel`, spans to an OpenTelemetry collector.
//!
//! Called once, by `serve`, before the node starts.

use tracing::Subscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{LogFormat, Settings};
use crate::exit::Outcome;

/// What is to be sent before the process ends.
#[derive(Default)]
pub(crate) struct Traces {
    #[cfg(feature = "otel")]
    provider: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

pub(crate) fn begin(settings: &Settings) -> Outcome<Traces> {
    let registry = tracing_subscriber::registry().with(lines(settings));
    #[cfg(feature = "otel")]
    if let Some(endpoint) = &settings.otlp_endpoint {
        let (layer, traces) = spans(endpoint)?;
        registry.with(layer).init();
        return Ok(traces);
    }
    registry.init();
    Ok(Traces::default())
}

fn lines<S>(settings: &Settings) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let level = LevelFilter::from_level(settings.log.unwrap_or(tracing::Level::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => lines.with_ansi(false).with_filter(level).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(level).boxed(),
    }
}

/// The spans of the core, in batches, to a collector.
#[cfg(feature = "otel")]
fn spans<S>(endpoint: &str) -> Outcome<(impl Layer<S>, Traces)>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    use kamacache_core::trace::{OpenTelemetry, set_propagator};
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_otlp::WithExportConfig;
    use tracing_subscriber::filter::Targets;

    use crate::exit::Failure;

    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| Failure::config(format!("otlp_endpoint {endpoint:?}: {error}")))?;
    let resource = opentelemetry_sdk::Resource::builder()
        .with_service_name("kamacache")
        .build();
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build();
    set_propagator(OpenTelemetry)?;
    let core = Targets::new().with_target("kamacache_core", LevelFilter::DEBUG);
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("kamacache"))
        .with_filter(core);
    Ok((
        layer,
        Traces {
            provider: Some(provider),
        },
    ))
}

impl Traces {
    /// Sends what has not been sent yet; a collector that is out holds nobody up
    /// for long.
    pub(crate) fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(provider) = self.provider
            && let Err(error) = provider.shutdown_with_timeout(std::time::Duration::from_secs(2))
        {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

//! Traces for an OpenTelemetry collector, over OTLP/HTTP. What a trace shows is what the log line of the request
//! shows: the same fields of the same span, and nothing more.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use super::TelemetryError;

/// The way to a collector; when it is dropped, what has not been sent yet is sent.
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// To the collector at `endpoint`, such as `http://127.0.0.1:4318`. One that does not answer costs nothing but
    /// its spans.
    pub(super) fn to(endpoint: &Url) -> Result<Self, TelemetryError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(traces_address(endpoint))
            .build()
            .map_err(|error| TelemetryError::Traces(error.to_string()))?;
        let resource = Resource::builder().with_service_name("grantd").build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Self(provider))
    }

    pub(super) fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer().with_tracer(self.0.tracer("grantd"))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // A collector that is away is no reason to fail at the very end.
        let _ = self.0.shutdown();
    }
}

/// OTLP/HTTP: a base address gets the path of traces, an address with a path is taken as it is.
fn traces_address(endpoint: &Url) -> String {
    match endpoint.path() {
        "" | "/" => format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')),
        _ => endpoint.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_address_gets_the_path_of_traces() {
        let of = |text: &str| traces_address(&text.parse().expect("a URL"));

        assert_eq!(of("http://127.0.0.1:4318"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(of("http://127.0.0.1:4318/"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(
            of("https://collector.example/otlp/v1/traces"),
            "https://collector.example/otlp/v1/traces"
        );
    }
}

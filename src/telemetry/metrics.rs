//! Numbers for Prometheus: one recorder per process, and the HTTP metrics. Labels come from closed sets, never from a caller's words.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Instant;

use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode};
use actix_web::{Error, HttpMessage as _, HttpRequest};
use metrics::{Counter, Histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::dispatcher::get_default;
use tracing::span;

const REQUESTS: &str = "grantd_http_requests_total";
const DURATION: &str = "grantd_http_request_duration_seconds";

/// Seconds: keys and tokens take about a millisecond, a login some tens, a queued one up to its deadline.
const DURATION_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The route of a request that matched none.
pub const UNMATCHED: &str = "(none)";

/// The status of a request whose caller hung up before the answer.
const ABORTED: &str = "aborted";

/// The process-wide recorder. Servers that share a process share their numbers.
fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), &DURATION_BUCKETS)
            .expect("the list of buckets is not empty")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is in place in this process; /metrics will stay empty");
        }
        metrics::describe_counter!(REQUESTS, "HTTP requests answered, by method, route and status.");
        metrics::describe_histogram!(
            DURATION,
            metrics::Unit::Seconds,
            "Time from a complete request head to the head of the answer."
        );
        handle
    })
}

/// Puts the recorder in place. What is counted with the `metrics` macros before this is lost; call it at startup.
pub fn install() {
    recorder();
}

/// All metrics in Prometheus' text format, for `Content-Type: text/plain; version=0.0.4`.
pub fn render() -> String {
    recorder().render()
}

/// Moves histogram samples out of their buffers. Call it every five seconds, else they grow until the next [`render`].
pub fn upkeep() {
    recorder().run_upkeep();
}

/// Counts an answered request. `route` is the pattern that matched, `status` three digits or a word from a
/// closed set, `seconds` the time it took.
pub fn http_request_finished(method: &Method, route: &str, status: &str, seconds: f64) {
    install();
    let method = known_method(method);
    KEPT.with_borrow_mut(|kept| {
        let known = |(known, _): &(String, Vec<Series>)| known == route;
        let (_, methods) = found_or(&mut kept.routes, known, || (route.to_owned(), Vec::new()));
        let series = found_or(methods, |series| series.method == method, || Series::new(method, route));
        let (_, counter) = found_or(
            &mut series.by_status,
            |(known, _)| known == status,
            || {
                let labels = [
                    ("method", method.to_owned()),
                    ("route", route.to_owned()),
                    ("status", status.to_owned()),
                ];
                (status.to_owned(), metrics::counter!(REQUESTS, &labels))
            },
        );
        counter.increment(1);
        series.duration.record(seconds);
    });
}

/// Counts one under `name`, with one label. All three are words of ours, so that there are few of them.
pub fn count(name: &'static str, label: &'static str, value: &'static str) {
    install();
    KEPT.with_borrow_mut(|kept| {
        let this = (name, label, value);
        let (_, counter) = found_or(
            &mut kept.words,
            |(known, _)| *known == this,
            || (this, metrics::counter!(name, label => value)),
        );
        counter.increment(1);
    });
}

/// What this thread counts with. Looking a series up by its labels takes longer than all that is counted by it, and
/// there are few, because no label is a caller's word.
#[derive(Default)]
struct Kept {
    // Few, and found faster one by one than by a hash.
    routes: Vec<(String, Vec<Series>)>,
    words: Vec<((&'static str, &'static str, &'static str), Counter)>,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// The series of a route and a method.
struct Series {
    method: &'static str,
    // Without the status: a set of buckets for each would be many series, and failures are counted above.
    duration: Histogram,
    by_status: Vec<(String, Counter)>,
}

impl Series {
    fn new(method: &'static str, route: &str) -> Self {
        let duration = metrics::histogram!(DURATION, "method" => method, "route" => route.to_owned());
        Self { method, duration, by_status: Vec::new() }
    }
}

/// The first of `known` that is `wanted`; made if there is none.
fn found_or<T>(known: &mut Vec<T>, wanted: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> &mut T {
    let at = known.iter().position(wanted).unwrap_or_else(|| {
        known.push(make());
        known.len() - 1
    });
    &mut known[at]
}

/// The pattern of the route that a request matches, never its path. Looked for once: it means going through all of them.
pub fn route_of(request: &HttpRequest) -> Rc<str> {
    struct Route(Rc<str>);

    if let Some(Route(known)) = request.extensions().get() {
        return Rc::clone(known);
    }
    let route: Rc<str> = request.match_pattern().as_deref().unwrap_or(UNMATCHED).into();
    request.extensions_mut().insert(Route(Rc::clone(&route)));
    route
}

/// The method, or "other": RFC 9110 §9.1 lets callers invent methods, which would make a new series each.
pub fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Middleware: counts and times every request. Call it inside the span of the request.
pub async fn http_metrics<B>(
    request: ServiceRequest,
    next: impl AsyncFnOnce(ServiceRequest) -> Result<ServiceResponse<B>, Error>,
) -> Result<ServiceResponse<B>, Error> {
    let running = Running::begin(&request);
    let outcome = next(request).await;
    let status = match &outcome {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    running.answered(status);
    outcome
}

/// A request on its way. Dropped without an answer, it says so: else a caller who hangs up would leave no trace
/// of what was done for him.
pub struct Running {
    method: Method,
    route: Rc<str>,
    start: Instant,
    /// Not a handle, which would cost what each other one costs; the request keeps its span as long as it runs.
    span: Option<span::Id>,
    answered: bool,
}

impl Running {
    /// From now on; to be called inside the span of the request, if it has one.
    pub fn begin(request: &ServiceRequest) -> Self {
        Self {
            method: request.method().clone(),
            route: route_of(request.request()),
            start: Instant::now(),
            span: get_default(|listener| listener.current_span().id().cloned()),
            answered: false,
        }
    }

    /// It has its answer.
    pub fn answered(mut self, status: StatusCode) {
        self.answered = true;
        self.count(status.as_str());
    }

    fn count(&self, status: &str) {
        http_request_finished(&self.method, &self.route, status, self.start.elapsed().as_secs_f64());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        self.count(ABORTED);
        // A panic has its own line.
        if !std::thread::panicking() {
            tracing::info!(parent: self.span.clone(), "the caller hung up before the answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::MessageBody;
    use actix_web::middleware::{Next, from_fn};
    use actix_web::test::{TestRequest, call_service, init_service, try_call_service};
    use actix_web::{App, HttpResponse, error, web};
    use futures_util::future::poll_immediate;

    use super::super::LogFormat;
    use super::super::capture::listen;
    use super::*;

    async fn measured<B: MessageBody>(
        request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<B>, Error> {
        http_metrics(request, async |request| next.call(request).await).await
    }

    // The recorder is shared by all tests of the process, so each test has routes of its own.

    fn value_of(series: &str) -> Option<f64> {
        render().lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    #[test]
    fn requests_are_counted_and_timed_with_help_and_prometheus_names() {
        http_request_finished(&Method::POST, "/metrics-test/a", "200", 0.002);
        http_request_finished(&Method::POST, "/metrics-test/a", "200", 20.0);
        upkeep();

        let labels = "method=\"POST\",route=\"/metrics-test/a\"";
        assert_eq!(value_of(&format!("{REQUESTS}{{{labels},status=\"200\"}}")), Some(2.0));
        assert_eq!(value_of(&format!("{DURATION}_bucket{{{labels},le=\"0.0025\"}}")), Some(1.0));
        assert_eq!(value_of(&format!("{DURATION}_bucket{{{labels},le=\"+Inf\"}}")), Some(2.0));
        let text = render();
        assert!(text.contains(&format!("# HELP {REQUESTS} HTTP requests answered")), "{text}");
        assert!(text.contains(&format!("# TYPE {REQUESTS} counter")), "{text}");
        assert!(text.contains(&format!("# TYPE {DURATION} histogram")), "{text}");
    }

    #[actix_web::test]
    async fn a_caller_cannot_make_a_series_per_request() {
        let app = init_service(
            App::new()
                .wrap(from_fn(measured))
                .route("/metrics-test/b/{name}", web::get().to(HttpResponse::Ok)),
        )
        .await;

        for name in ["canary-1", "canary-2", "canary-3"] {
            let uri = format!("/metrics-test/b/{name}?q={name}");
            call_service(&app, TestRequest::get().uri(&uri).to_request()).await;
            let method = Method::from_bytes(name.to_uppercase().as_bytes()).expect("a token");
            let elsewhere = TestRequest::with_uri(&format!("/{name}")).method(method);
            call_service(&app, elsewhere.to_request()).await;
        }

        let text = render();
        assert!(!text.to_lowercase().contains("canary"), "{text}");
        let matched = "{method=\"GET\",route=\"/metrics-test/b/{name}\",status=\"200\"}";
        assert_eq!(value_of(&format!("{REQUESTS}{matched}")), Some(3.0));
        let unmatched = "{method=\"other\",route=\"(none)\",status=\"404\"}";
        assert!(value_of(&format!("{REQUESTS}{unmatched}")).is_some_and(|count| count >= 3.0));
    }

    #[actix_web::test]
    async fn a_refusal_by_a_middleware_is_counted_with_its_status() {
        async fn refuse<B: MessageBody>(_: ServiceRequest, _: Next<B>) -> Result<ServiceResponse<B>, Error> {
            Err(error::ErrorServiceUnavailable("later"))
        }
        let app = init_service(
            App::new()
                .wrap(from_fn(refuse))
                .wrap(from_fn(measured))
                .route("/metrics-test/c", web::get().to(HttpResponse::Ok)),
        )
        .await;

        let error = try_call_service(&app, TestRequest::get().uri("/metrics-test/c").to_request())
            .await
            .expect_err("refused");

        assert_eq!(error.as_response_error().status_code(), StatusCode::SERVICE_UNAVAILABLE);
        let series = format!("{REQUESTS}{{method=\"GET\",route=\"/metrics-test/c\",status=\"503\"}}");
        assert_eq!(value_of(&series), Some(1.0));
    }

    #[actix_web::test]
    async fn a_caller_who_hangs_up_is_counted_and_logged() {
        let (captured, _listening) = listen(LogFormat::Json, "info");
        let app = init_service(
            App::new()
                .wrap(from_fn(measured))
                .route("/metrics-test/d", web::get().to(std::future::pending::<HttpResponse>)),
        )
        .await;

        let request = call_service(&app, TestRequest::get().uri("/metrics-test/d").to_request());
        assert!(poll_immediate(request).await.is_none(), "nothing answers there");

        let series = format!("{REQUESTS}{{method=\"GET\",route=\"/metrics-test/d\",status=\"aborted\"}}");
        assert_eq!(value_of(&series), Some(1.0));
        assert_eq!(captured.json()[0]["message"], "the caller hung up before the answer");
    }
}

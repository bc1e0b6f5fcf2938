//! What Prometheus sees of the requests.
//!
//! **Promises.** The set of label values is bounded by the code: routes are names from the code,
//! methods the known ones or `other`, statuses numbers. Nothing of a request's text is a label.

use std::collections::HashMap;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response};
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::body::Body;
use crate::pipeline::Record;

const REQUESTS: &str = "strongroom_http_requests_total";
const DURATION: &str = "strongroom_http_request_duration_seconds";
const IN_FLIGHT: &str = "strongroom_http_requests_in_flight";
const BYTES_IN: &str = "strongroom_http_request_bytes_total";
const BYTES_OUT: &str = "strongroom_http_response_bytes_total";
const PANICS: &str = "strongroom_http_panics_total";

/// From a cached answer to a large push.
const BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0];

/// How often what was measured is folded into the buckets; until then it takes memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder of the process.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Makes this the recorder of the process; fails where it has one.
    pub fn install() -> Result<Self, BuildError> {
        let handle = builder()?.install_recorder()?;
        describe();
        Ok(Self(handle))
    }

    /// Keeps the memory of the recorder bounded, for ever: to be spawned beside the server.
    pub async fn upkeep(self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.0.run_upkeep();
        }
    }

    /// The answer of `/metrics`.
    pub fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.0.render()));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), &BUCKETS)
}

fn describe() {
    describe_counter!(REQUESTS, "Requests answered; status 499 where the client left before");
    describe_histogram!(DURATION, "From a request's header to the last byte of its response");
    describe_gauge!(IN_FLIGHT, "Requests under way");
    describe_counter!(BYTES_IN, "Bytes of requests' bodies");
    describe_counter!(BYTES_OUT, "Bytes of responses' bodies");
    describe_counter!(PANICS, "Handlers that panicked");
}

pub(crate) fn panicked() {
    counter!(PANICS).increment(1);
}

/// The metrics of one server's requests. To find one by its labels costs more than to count, so
/// each is looked up once.
#[derive(Debug, Default)]
pub(crate) struct RequestMetrics {
    in_flight: OnceLock<Gauge>,
    by_labels: RwLock<HashMap<Labels, Counted>>,
}

/// Route, method and status: as many as the code has of each.
type Labels = (&'static str, &'static str, u16);

#[derive(Debug)]
struct Counted {
    requests: Counter,
    duration: Histogram,
    bytes_in: Counter,
    bytes_out: Counter,
}

impl RequestMetrics {
    fn in_flight(&self) -> &Gauge {
        self.in_flight.get_or_init(|| gauge!(IN_FLIGHT))
    }

    pub(crate) fn began(&self) {
        self.in_flight().increment(1.0);
    }

    pub(crate) fn ended(&self, record: &Record, took: Duration) {
        self.in_flight().decrement(1.0);
        let route = record.context.route();
        let labels = (route, method_label(&record.method), record.status());
        let known = self.by_labels.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counted) = known.get(&labels) {
            return counted.count(record, took);
        }
        drop(known);
        let mut known = self.by_labels.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(labels).or_insert_with(|| Counted::of(labels)).count(record, took);
    }
}

impl Counted {
    fn of((route, method, status): Labels) -> Self {
        let status = status.to_string();
        Self {
            requests: counter!(REQUESTS, "route" => route, "method" => method, "status" => status),
            duration: histogram!(DURATION, "route" => route, "method" => method),
            bytes_in: counter!(BYTES_IN, "route" => route),
            bytes_out: counter!(BYTES_OUT, "route" => route),
        }
    }

    fn count(&self, record: &Record, took: Duration) {
        self.requests.increment(1);
        self.duration.record(took);
        self.bytes_in.increment(record.context.bytes_in());
        self.bytes_out.increment(record.bytes_out);
    }
}

fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invented_method_is_no_label_of_its_own() {
        assert_eq!(method_label(&Method::PATCH), "PATCH");
        assert_eq!(method_label(&Method::from_bytes(b"EVIL").unwrap()), "other");
    }

    #[test]
    fn the_histogram_has_our_buckets() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || histogram!(DURATION).record(0.2));
        let text = handle.render();
        assert!(text.contains("duration_seconds_bucket{le=\"0.25\"} 1"), "{text}");
        assert!(text.contains("duration_seconds_bucket{le=\"0.1\"} 0"), "{text}");
    }
}

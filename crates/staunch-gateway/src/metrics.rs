//! What the gateway has to show on `/metrics`: requests by route, and servers by service.
//!
//! Labels are names of the configuration, which are few; never paths, clients or hosts.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use staunch_registry::Known;
use tokio::time::Instant;

use crate::{
    counts::{BUCKETS, ReloadNumbers, RouteNumbers},
    gateway::Control,
    plan::{Plan, RoutePlan, ServerPlan, ServicePlan},
};

/// The label of each class of status.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Collector for Control {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let plan = self.plan();
        requests(&plan, &mut encoder)?;
        failures(&plan, &mut encoder)?;
        policies(&plan, &mut encoder)?;
        durations(&plan, &mut encoder)?;
        servers(&plan, &mut encoder)?;
        datagrams(self, &mut encoder)?;
        discoveries(self, &mut encoder)?;
        reloads(self, &mut encoder)?;
        reports(self, &mut encoder)
    }
}

/// One of the numbers of a route.
type Count = fn(&RouteNumbers) -> u64;

fn requests(plan: &Plan, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut answers = encoder.encode_descriptor(
        "staunch_requests",
        "Requests answered, by route and class of status; without a name those that no route has",
        None,
        MetricType::Counter,
    )?;
    for (route, numbers) in routes(plan).chain([("", plan.unrouted.read())]) {
        for (class, count) in CLASSES.iter().zip(numbers.statuses) {
            counter(&mut answers, &[("route", route), ("status", class)], count)?;
        }
    }
    let counts: [(&str, &str, Count); 2] = [
        ("staunch_requests_cancelled", "Requests whose client left before an answer", |it| {
            it.cancelled
        }),
        ("staunch_requests_retried", "Further tries of requests", |it| it.retries),
    ];
    for (name, help, count) in counts {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (route, numbers) in routes(plan) {
            counter(&mut metric, &[("route", route)], count(&numbers))?;
        }
    }
    Ok(())
}

/// What no server has answered.
fn failures(plan: &Plan, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let routes = plan.routes.iter();
    let counts = routes.map(|it| ([("route", it.route.name.as_str())], it.counts.failures()));
    let help = "Requests that got no answer of a server, by route and reason";
    by_reason(encoder, "staunch_requests_failed", help, counts)
}

/// Of the routes that ask something of their requests.
fn policies(plan: &Plan, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let with_policy = || plan.routes.iter().filter_map(|it| Some((&**it, it.policy.as_ref()?)));
    let refused =
        with_policy().map(|(it, _)| ([("route", it.route.name.as_str())], it.counts.refusals()));
    let help = "Requests that a policy answered, by route and reason";
    by_reason(encoder, "staunch_requests_refused", help, refused)?;
    let mut deprecated = encoder.encode_descriptor(
        "staunch_requests_deprecated",
        "Requests of a version that is deprecated, by route and by the name of their key",
        None,
        MetricType::Counter,
    )?;
    for (route, policy) in with_policy() {
        let Some((version, calls)) = policy.deprecated_calls() else { continue };
        for (caller, count) in calls {
            let labels =
                [("route", route.route.name.as_str()), ("version", version), ("caller", caller)];
            counter(&mut deprecated, &labels, count)?;
        }
    }
    Ok(())
}

fn durations(plan: &Plan, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(
        "staunch_request_seconds",
        "From a request's head to that of its answer",
        None,
        MetricType::Histogram,
    )?;
    for (route, numbers) in routes(plan) {
        let bounds = BUCKETS.iter().map(|millis| *millis as f64 / 1e3).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(numbers.durations).collect();
        let count = numbers.durations.iter().sum();
        let labels = [("route", route)];
        let mut family = metric.encode_family(&labels)?;
        family.encode_histogram::<[(&str, &str); 0]>(numbers.seconds, count, &buckets, None)?;
    }
    Ok(())
}

fn servers(plan: &Plan, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let of_all: [(&str, &str, usize); 2] = [
        ("staunch_upstream_answers", "Answers of a server", 0),
        ("staunch_upstream_ejections", "How often a server was left out for a while", 1),
    ];
    for (name, help, place) in of_all {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (service, server) in all_servers(plan) {
            counter(&mut metric, &labels(service, server), server.counts.read()[place])?;
        }
    }
    let failures =
        all_servers(plan).map(|(service, it)| (labels(service, it), it.counts.failures()));
    let help = "Requests that a server did not answer, by reason";
    by_reason(encoder, "staunch_upstream_failures", help, failures)?;
    let mut metric = encoder.encode_descriptor(
        "staunch_upstream_up",
        "Whether requests go to a server",
        None,
        MetricType::Gauge,
    )?;
    let now = Instant::now();
    for (service, server) in all_servers(plan) {
        let up = ConstGauge::new(i64::from(server.health.is_well(now)));
        up.encode(metric.encode_family(&labels(service, server))?)?;
    }
    Ok(())
}

fn datagrams(control: &Control, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let receivers = control.receivers().clone();
    if receivers.is_empty() {
        return Ok(());
    }
    let help = "Datagrams of clients that were taken";
    let mut taken =
        encoder.encode_descriptor("staunch_udp_datagrams", help, None, MetricType::Counter)?;
    for it in &receivers {
        counter(&mut taken, &[("listener", &it.name)], it.read()[0])?;
    }
    let help = "Clients forgotten before their time to make room for others";
    let mut evicted =
        encoder.encode_descriptor("staunch_udp_evicted", help, None, MetricType::Counter)?;
    for it in &receivers {
        counter(&mut evicted, &[("listener", &it.name)], it.read()[1])?;
    }
    let losses = receivers.iter().map(|it| ([("listener", it.name.as_str())], it.losses()));
    let help = "Datagrams that were dropped, either way, by reason";
    by_reason(encoder, "staunch_udp_dropped", help, losses)
}

/// One of the numbers of a discovery.
type Measure = fn(&Known, Instant) -> f64;

fn discoveries(control: &Control, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let statuses = control.discoveries().statuses();
    let known = || statuses.iter().map(|(service, it)| (service.as_str(), it.source(), it.known()));
    let mut metric = encoder.encode_descriptor(
        "staunch_discovery_failures",
        "Answers of a registry that did not come, or could not be used",
        None,
        MetricType::Counter,
    )?;
    for (service, source, known) in known() {
        counter(&mut metric, &[("service", service), ("source", source)], known.failures)?;
    }
    let now = Instant::now();
    let measures: [(&str, &str, Measure); 4] = [
        ("staunch_discovery_servers", "Servers that are known of a service", |known, _| {
            known.servers as f64
        }),
        ("staunch_discovery_unchanged_seconds", "Since when it is these; -1 before the first", {
            |known, now| since(known.changed, now).unwrap_or(-1.0)
        }),
        ("staunch_discovery_answered_seconds", "Since the last answer; -1 before the first", {
            |known, now| since(known.succeeded, now).unwrap_or(-1.0)
        }),
        ("staunch_discovery_lost_seconds", "Since when there is no answer; 0 while there is", {
            |known, now| since(known.lost, now).unwrap_or(0.0)
        }),
    ];
    for (name, help, measure) in measures {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (service, source, known) in known() {
            let measured = ConstGauge::new(measure(&known, now));
            measured.encode(metric.encode_family(&[("service", service), ("source", source)])?)?;
        }
    }
    Ok(())
}

fn reloads(control: &Control, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let ReloadNumbers { taken_up, failed, is_well } = control.reloads();
    let help = "Changed configurations that were taken up";
    total(encoder, "staunch_reloads", help, taken_up)?;
    let help = "Changed configurations that could not be taken up";
    total(encoder, "staunch_reloads_failed", help, failed)?;
    let help = "Whether what runs is what the file says, as far as it was read";
    let metric = encoder.encode_descriptor("staunch_reload_ok", help, None, MetricType::Gauge)?;
    ConstGauge::new(i64::from(is_well)).encode(metric)
}

fn reports(control: &Control, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let reports = control.reports();
    if let Some((written, lost)) = reports.log.as_ref().map(|log| log.counts()) {
        let help = "Lines of the access log that were written";
        total(encoder, "staunch_access_log_lines", help, written)?;
        let help = "Lines of the access log that found no room";
        total(encoder, "staunch_access_log_lost", help, lost)?;
    }
    if let Some((sent, lost)) = reports.traces.as_ref().map(|traces| traces.counts()) {
        total(encoder, "staunch_traces_sent", "Spans that a collector has taken", sent)?;
        let help = "Spans that found no room, or that no collector has taken";
        total(encoder, "staunch_traces_lost", help, lost)?;
    }
    Ok(())
}

/// How often it was for which reason, of each thing that has these labels.
fn by_reason<'p, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counts: impl Iterator<Item = ([(&'p str, &'p str); N], impl Iterator<Item = (&'static str, u64)>)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, reasons) in counts {
        for (reason, count) in reasons {
            let labels: Vec<_> = labels.into_iter().chain([("reason", reason)]).collect();
            counter(&mut metric, &labels, count)?;
        }
    }
    Ok(())
}

/// A number without labels.
fn total(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, count: u64) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(count).encode(metric)
}

fn since(then: Option<Instant>, now: Instant) -> Option<f64> {
    then.map(|then| now.saturating_duration_since(then).as_secs_f64())
}

fn routes(plan: &Plan) -> impl Iterator<Item = (&str, RouteNumbers)> {
    let numbers = |route: &RoutePlan| route.counts.read();
    plan.routes.iter().map(move |it| (it.route.name.as_str(), numbers(it)))
}

fn all_servers(plan: &Plan) -> impl Iterator<Item = (&ServicePlan, &ServerPlan)> {
    plan.services
        .iter()
        .flat_map(|service| service.servers.iter().map(move |it| (&**service, &**it)))
}

fn labels<'p>(service: &'p ServicePlan, server: &'p ServerPlan) -> [(&'static str, &'p str); 2] {
    [("service", service.name), ("server", server.name.as_str())]
}

fn counter(metric: &mut MetricEncoder<'_>, labels: &[(&str, &str)], count: u64) -> fmt::Result {
    ConstCounter::new(count).encode(metric.encode_family(&labels)?)
}

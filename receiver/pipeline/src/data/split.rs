//! Joining and cutting export requests by items. Pure.

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    profiles::v1development::ExportProfilesServiceRequest,
};
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, ResourceMetrics, ScopeMetrics, metric::Data as Points,
};
use opentelemetry_proto::tonic::profiles::v1development::{
    Profile, ProfilesDictionary, ResourceProfiles, ScopeProfiles,
};

use super::rewrite::rewrite;
use crate::data::{Data, Dictionary};

/// `first` followed by `second`; of two signals only the second remains, so the caller keeps them apart.
pub(crate) fn merge(first: Data, second: Data) -> Data {
    match (first, second) {
        (Data::Logs(mut first), Data::Logs(second)) => {
            first.resource_logs.extend(second.resource_logs);
            Data::Logs(first)
        }
        (Data::Metrics(mut first), Data::Metrics(second)) => {
            first.resource_metrics.extend(second.resource_metrics);
            Data::Metrics(first)
        }
        (Data::Profiles(first), Data::Profiles(second)) => Data::Profiles(merge_profiles(first, second)),
        (_, second) => second,
    }
}

/// The first `count` items, and the rest. A resource, scope or metric that is cut stands in both halves.
pub(crate) fn split(data: Data, count: usize) -> (Data, Data) {
    let mut left = count;
    match data {
        Data::Logs(request) => {
            let (head, rest) = cut(request.resource_logs, &mut left, &cut_resource_logs);
            (
                Data::Logs(ExportLogsServiceRequest { resource_logs: head }),
                Data::Logs(ExportLogsServiceRequest { resource_logs: rest }),
            )
        }
        Data::Metrics(request) => {
            let (head, rest) = cut(request.resource_metrics, &mut left, &cut_resource_metrics);
            (
                Data::Metrics(ExportMetricsServiceRequest { resource_metrics: head }),
                Data::Metrics(ExportMetricsServiceRequest { resource_metrics: rest }),
            )
        }
        Data::Profiles(request) => {
            let dictionary = request.dictionary.unwrap_or_default();
            let (head, rest) = cut(request.resource_profiles, &mut left, &cut_resource_profiles);
            (Data::Profiles(with_part_of(&dictionary, head)), Data::Profiles(with_part_of(&dictionary, rest)))
        }
    }
}

/// One request has one dictionary: what the second's profiles refer to goes into the first's.
fn merge_profiles(
    mut first: ExportProfilesServiceRequest,
    mut second: ExportProfilesServiceRequest,
) -> ExportProfilesServiceRequest {
    let mut dictionary = Dictionary::from(first.dictionary.unwrap_or_default());
    let other = second.dictionary.unwrap_or_default();
    rewrite(&mut second.resource_profiles, &other, &mut dictionary);
    first.resource_profiles.extend(second.resource_profiles);
    ExportProfilesServiceRequest {
        resource_profiles: first.resource_profiles,
        dictionary: Some(dictionary.into()),
    }
}

/// A request of `resource_profiles`, with what they refer to and nothing else.
fn with_part_of(
    dictionary: &ProfilesDictionary,
    mut resource_profiles: Vec<ResourceProfiles>,
) -> ExportProfilesServiceRequest {
    let mut part = Dictionary::default();
    rewrite(&mut resource_profiles, dictionary, &mut part);
    ExportProfilesServiceRequest { resource_profiles, dictionary: Some(part.into()) }
}

/// What goes into the head, and what remains.
type Halves<T> = (Option<T>, Option<T>);

/// Moves parts into the head while items are left to take; the part on the border is cut by `cut_one`.
fn cut<T>(parts: Vec<T>, left: &mut usize, cut_one: &dyn Fn(T, &mut usize) -> Halves<T>) -> (Vec<T>, Vec<T>) {
    let (mut head, mut rest) = (Vec::new(), Vec::new());
    for part in parts {
        if *left == 0 {
            rest.push(part);
            continue;
        }
        let (taken, remaining) = cut_one(part, left);
        head.extend(taken);
        rest.extend(remaining);
    }
    (head, rest)
}

/// Items themselves: the border is a number.
fn cut_items<T>(mut items: Vec<T>, left: &mut usize) -> (Vec<T>, Vec<T>) {
    let rest = items.split_off(items.len().min(*left));
    *left -= items.len();
    (items, rest)
}

fn cut_resource_logs(logs: ResourceLogs, left: &mut usize) -> Halves<ResourceLogs> {
    let ResourceLogs { resource, scope_logs, schema_url } = logs;
    let halves = cut(scope_logs, left, &cut_scope_logs);
    both(halves, |scope_logs| ResourceLogs {
        resource: resource.clone(),
        scope_logs,
        schema_url: schema_url.clone(),
    })
}

fn cut_scope_logs(logs: ScopeLogs, left: &mut usize) -> Halves<ScopeLogs> {
    let ScopeLogs { scope, log_records, schema_url } = logs;
    let halves = cut_items(log_records, left);
    both(halves, |log_records| ScopeLogs {
        scope: scope.clone(),
        log_records,
        schema_url: schema_url.clone(),
    })
}

fn cut_resource_metrics(metrics: ResourceMetrics, left: &mut usize) -> Halves<ResourceMetrics> {
    let ResourceMetrics { resource, scope_metrics, schema_url } = metrics;
    let halves = cut(scope_metrics, left, &cut_scope_metrics);
    both(halves, |scope_metrics| ResourceMetrics {
        resource: resource.clone(),
        scope_metrics,
        schema_url: schema_url.clone(),
    })
}

fn cut_scope_metrics(metrics: ScopeMetrics, left: &mut usize) -> Halves<ScopeMetrics> {
    let ScopeMetrics { scope, metrics, schema_url } = metrics;
    let halves = cut(metrics, left, &cut_metric);
    both(halves, |metrics| ScopeMetrics { scope: scope.clone(), metrics, schema_url: schema_url.clone() })
}

/// Cuts between the data points of one metric.
fn cut_metric(mut metric: Metric, left: &mut usize) -> Halves<Metric> {
    macro_rules! cut_points {
        ($kind:ident, $points:ident) => {{
            let halves = cut_items(std::mem::take(&mut $points.data_points), left);
            both(halves, |data_points| {
                let mut points = $points.clone();
                points.data_points = data_points;
                Metric { data: Some(Points::$kind(points)), ..metric.clone() }
            })
        }};
    }
    match metric.data.take() {
        Some(Points::Gauge(mut points)) => cut_points!(Gauge, points),
        Some(Points::Sum(mut points)) => cut_points!(Sum, points),
        Some(Points::Histogram(mut points)) => cut_points!(Histogram, points),
        Some(Points::ExponentialHistogram(mut points)) => cut_points!(ExponentialHistogram, points),
        Some(Points::Summary(mut points)) => cut_points!(Summary, points),
        None => (None, None),
    }
}

fn cut_resource_profiles(profiles: ResourceProfiles, left: &mut usize) -> Halves<ResourceProfiles> {
    let ResourceProfiles { resource, scope_profiles, schema_url } = profiles;
    let halves = cut(scope_profiles, left, &cut_scope_profiles);
    both(halves, |scope_profiles| ResourceProfiles {
        resource: resource.clone(),
        scope_profiles,
        schema_url: schema_url.clone(),
    })
}

fn cut_scope_profiles(profiles: ScopeProfiles, left: &mut usize) -> Halves<ScopeProfiles> {
    let ScopeProfiles { scope, profiles, schema_url } = profiles;
    let halves = cut(profiles, left, &cut_profile);
    both(halves, |profiles| ScopeProfiles { scope: scope.clone(), profiles, schema_url: schema_url.clone() })
}

/// Cuts between the samples of one profile. Both halves are profiles of their own then: an id that they shared would
/// make one of them look like the other come twice.
fn cut_profile(mut profile: Profile, left: &mut usize) -> Halves<Profile> {
    let (head, rest) = cut_items(std::mem::take(&mut profile.samples), left);
    if !head.is_empty() && !rest.is_empty() {
        profile.profile_id.clear();
    }
    both((head, rest), |samples| Profile { samples, ..profile.clone() })
}

/// Wraps each half that holds anything.
fn both<T, W>((head, rest): (Vec<T>, Vec<T>), wrap: impl Fn(Vec<T>) -> W) -> Halves<W> {
    let some = |part: Vec<T>| (!part.is_empty()).then(|| wrap(part));
    (some(head), some(rest))
}

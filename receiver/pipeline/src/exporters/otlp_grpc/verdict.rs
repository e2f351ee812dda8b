//! What an answer means, by the OTLP specification. Pure.

use std::error::Error;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

use crate::data::Signal;
use crate::exporters::helper::{Accepted, Failure};

/// Longer texts of a server are cut. Characters.
const MAX_MESSAGE: usize = 512;

/// A partial success. A negative count is nonsense and taken for none.
pub(super) fn accepted(rejected: i64, message: String) -> Accepted {
    Accepted { rejected: u64::try_from(rejected).unwrap_or(0), message: shorten(message) }
}

/// The samples in `rejected` of the request's profiles. Which ones they are is not said: they are taken for average ones.
pub(super) fn rejected_samples(rejected: i64, request: &ExportProfilesServiceRequest) -> i64 {
    let scopes = request.resource_profiles.iter().flat_map(|resource| &resource.scope_profiles);
    let profiles = scopes.flat_map(|scope| &scope.profiles);
    let (count, samples) = profiles.fold((0_u64, 0_u64), |(count, samples), profile| {
        (count + 1, samples + profile.samples.len() as u64)
    });
    let rejected = u64::try_from(rejected).unwrap_or(0).min(count);
    i64::try_from(samples.saturating_mul(rejected).div_ceil(count.max(1))).unwrap_or(i64::MAX)
}

/// What a server needs that knows no profiles.
const PROFILES_ADVICE: &str = "the destination takes no profiles; a Collector does with --feature-gates=service.profilesSupport \
     and a profiles pipeline for its otlp receiver";

/// Whether a request of `signal` that failed with `status` should be sent again, whole or in parts. `size` is its
/// encoded length in bytes.
pub(super) fn failure(status: &Status, signal: Signal, size: usize) -> Failure {
    let reason = shorten(describe(status));
    if signal == Signal::Profiles && status.code() == Code::Unimplemented {
        return Failure::Unserved { reason: format!("{PROFILES_ADVICE} ({reason})") };
    }
    if too_large(status) {
        return Failure::TooLarge { reason: format!("{size} bytes at once: {reason}") };
    }
    let after = asked_delay(status);
    let retryable = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => after.is_some(),
        // No server said so: the connection broke.
        Code::Unknown | Code::Internal => status.source().is_some(),
        _ => false,
    };
    if retryable { Failure::Retryable { reason, after } } else { Failure::Permanent { reason } }
}

/// Whether the client itself gave the request up: tonic keeps the time of it as well, and may be the first to notice.
pub(super) fn timed_out(status: &Status) -> bool {
    std::iter::successors(status.source(), |error| (*error).source()).any(<dyn Error>::is::<TimeoutExpired>)
}

/// The delay of a `RetryInfo`, where the answer holds one. One without a delay means "retry, whenever".
fn asked_delay(status: &Status) -> Option<Duration> {
    let info = status.get_details_retry_info()?;
    Some(info.retry_delay.unwrap_or_default())
}

/// There is no code of its own for it: each implementation of gRPC has words for it, and a proxy has HTTP's status.
fn too_large(status: &Status) -> bool {
    /// gRPC for Go and C++; tonic; Java; Node.js and tonic after decompression.
    const WORDS: [&str; 5] =
        ["larger than max", "too large", "exceeds maximum size", "size larger than", "size limit"];
    let message = status.message();
    match status.code() {
        Code::ResourceExhausted | Code::OutOfRange => WORDS.iter().any(|words| message.contains(words)),
        Code::Unknown => message.ends_with("HTTP status code 413"),
        _ => false,
    }
}

fn describe(status: &Status) -> String {
    let code = status.code();
    match status.source() {
        Some(source) => format!("{code:?}: {}", chain(source)),
        None => format!("{code:?}: {}", status.message()),
    }
}

/// An error and its causes. The outer ones often say no more than "transport error".
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

//! What an answer means, by the OTLP specification. Pure.

use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::exporters::helper::{Accepted, Failure};

/// Longer texts of a server are cut. Characters.
const MAX_MESSAGE: usize = 512;

/// A partial success. A negative count is nonsense and taken for none.
pub(super) fn accepted(rejected: i64, message: String) -> Accepted {
    Accepted { rejected: u64::try_from(rejected).unwrap_or(0), message: shorten(message) }
}

/// Whether a request that failed with `status` should be sent again. `size` is its encoded length in bytes.
pub(super) fn failure(status: &Status, size: usize) -> Failure {
    let reason = shorten(describe(status));
    if too_large(status) {
        return Failure::Permanent {
            reason: format!(
                "a request of {size} bytes is too large: lower batch's send_batch_max_size ({reason})"
            ),
        };
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

/// The delay of a `RetryInfo`, where the answer holds one. One without a delay means "retry, whenever".
fn asked_delay(status: &Status) -> Option<Duration> {
    let info = status.get_details_retry_info()?;
    Some(info.retry_delay.unwrap_or_default())
}

/// gRPC for Go and tonic say it in different ways, and there is no code of its own for it.
fn too_large(status: &Status) -> bool {
    let message = status.message();
    matches!(status.code(), Code::ResourceExhausted | Code::OutOfRange)
        && (message.contains("larger than max") || message.contains("too large"))
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

//! What exporters over a network have in common: a bounded queue, retries, an account of every loss.

mod courier;
mod outage;
mod queue;
mod retry;
mod section;

use std::time::Duration;

use async_trait::async_trait;

use crate::data::Data;

pub(crate) use queue::{Exporting, QueueConfig};
pub(crate) use retry::RetryConfig;
pub(crate) use section::{optional_section, refuse};

/// One attempt to bring a request to its destination.
#[async_trait]
pub(crate) trait Sender: Send + Sync + 'static {
    /// Where to, for the log.
    fn destination(&self) -> &str;
    /// Tries once, within a time of its own.
    async fn send(&self, data: &Data) -> Result<Accepted, Failure>;
}

/// The destination took the request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Accepted {
    /// Items it threw away nevertheless.
    pub(crate) rejected: u64,
    /// What it said about it.
    pub(crate) message: String,
}

/// The destination did not take the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may take it later, and not before `after`.
    Retryable { reason: String, after: Option<Duration> },
    /// It never will.
    Permanent { reason: String },
    /// It never will take so much at once.
    TooLarge { reason: String },
    /// It takes other signals, not this one.
    Unserved { reason: String },
}

impl Failure {
    pub(crate) fn reason(&self) -> &str {
        match self {
            Failure::Retryable { reason, .. }
            | Failure::Permanent { reason }
            | Failure::TooLarge { reason }
            | Failure::Unserved { reason } => reason,
        }
    }
}

#[cfg(test)]
mod tests;

//! Where there is no Linux there is nothing to look at a target with, and no socket to ask it by.

use std::path::Path;

use super::api::Api;

const REASON: &str = "the control socket needs Linux";

/// Never runs.
pub(super) enum Server {}

impl Server {
    pub(super) fn start(_: &Path, _: &Api) -> Result<Self, String> {
        Err(REASON.to_owned())
    }

    pub(super) async fn stop(self) -> Result<(), String> {
        match self {}
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// JSON.
    pub body: String,
}

/// Asks the sidecar at a socket.
///
/// # Errors
/// Always: there is none here.
pub fn request(_: &Path, _: &str, _: &str, _: String) -> Result<Answer, String> {
    Err(REASON.to_owned())
}

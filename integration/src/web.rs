//! The little HTTP that the tests speak: plain, on this machine.

use std::time::Duration;

use anyhow::Context as _;

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().new_agent()
}

/// The body of a successful answer.
///
/// # Errors
/// No connection, or a status other than 2xx.
pub fn get(url: &str) -> anyhow::Result<String> {
    get_as(url, "*/*").map(|(_, body)| body)
}

/// The content type and body of a successful answer to a request that asks for `accept`.
///
/// # Errors
/// As [`get`].
pub fn get_as(url: &str, accept: &str) -> anyhow::Result<(String, String)> {
    let mut answer =
        agent().get(url).header("accept", accept).call().with_context(|| format!("GET {url}"))?;
    let kind = answer
        .headers()
        .get("content-type")
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    Ok((kind, answer.body_mut().read_to_string()?))
}

/// A JSON answer to a form of `key=value` pairs in the URL's query.
///
/// # Errors
/// As [`get`], and an answer that is not JSON.
pub fn query(url: &str, pairs: &[(&str, &str)]) -> anyhow::Result<serde_json::Value> {
    let mut request = agent().get(url);
    for (key, value) in pairs {
        request = request.query(*key, *value);
    }
    let text = request.call().with_context(|| format!("GET {url}"))?.body_mut().read_to_string()?;
    Ok(serde_json::from_str(&text)?)
}

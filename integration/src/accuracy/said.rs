//! What the environment says of a run.

use std::str::FromStr;

use anyhow::Context as _;

/// A variable; an empty value counts as none.
#[must_use]
pub fn said(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A number, or the default.
///
/// # Errors
/// What is said is no such number.
pub fn number<T: FromStr>(name: &str, default: T) -> anyhow::Result<T> {
    let Some(value) = said(name) else { return Ok(default) };
    value.parse().ok().with_context(|| format!("{name}={value}: expected a number"))
}

/// Words between spaces.
#[must_use]
pub fn words(name: &str) -> Vec<String> {
    said(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

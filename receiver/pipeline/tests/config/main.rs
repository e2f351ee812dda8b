//! Configuration and service graph, tried with factories that write down what happens to their parts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that meets the unexpected is to fail")]

mod fakes;

mod broken;
mod exchanging;
mod loading;
mod mutated;
mod running;

use std::env::VarError;
use std::sync::Arc;

use fakes::{Journal, SOUND, factories};
use mlh_pipeline::config::{Loaded, Problems, load_with};

/// The variables there are in these tests.
fn environment(name: &str) -> Result<String, VarError> {
    match name {
        "PASSWORD" => Ok("hunter2".to_owned()),
        "FIVE" => Ok("5".to_owned()),
        "DIGITS" => Ok("0123".to_owned()),
        "NUMBER" => Ok("12".to_owned()),
        "EMPTY" => Ok(String::new()),
        "NO_YAML" => Ok("*x: [".to_owned()),
        "INCLUDE" => Ok("{names: [a, b]}".to_owned()),
        "REFERENCE" => Ok("${env:PASSWORD}".to_owned()),
        "LARGE" => Ok("x".repeat(600_000)),
        "CONFIG" => Ok("source: {rate: 77}".to_owned()),
        "GARBLED" => Err(VarError::NotUnicode("x".into())),
        _ => Err(VarError::NotPresent),
    }
}

fn load(sources: &[&str], sets: &[&str]) -> Result<Loaded, Problems> {
    load_into(&Arc::default(), sources, sets)
}

fn load_into(journal: &Arc<Journal>, sources: &[&str], sets: &[&str]) -> Result<Loaded, Problems> {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    load_with(&owned(sources), &owned(sets), &factories(journal), SOUND, &environment)
}

/// The faults of a configuration, a line each; empty where it is sound.
fn faults(sources: &[&str], sets: &[&str]) -> String {
    load(sources, sets).err().map(|problems| problems.to_string()).unwrap_or_default()
}

/// One value in effect, as YAML; `keys` are joined by dots.
fn effective(loaded: &Loaded, keys: &str) -> String {
    let value = keys.split('.').fold(&loaded.effective, |value, key| &value[key]);
    serde_yaml::to_string(value).unwrap().trim_end().to_owned()
}

//! `validate`, `print-config`, `components`: what can be said of a configuration without running it.

use mlh_pipeline::component::Factories;
use mlh_pipeline::config::{self, Loaded, Problems};
use serde_yaml::{Mapping, Value};

use super::{BUILT_IN, Exit, Parts, print};
use crate::cli::ConfigArgs;

pub(super) fn read(args: &ConfigArgs, factories: &Factories) -> Result<Loaded, Problems> {
    config::load(&args.config, &args.set, factories, BUILT_IN)
}

pub(super) fn load(args: &ConfigArgs, factories: &Factories) -> Result<Loaded, Exit> {
    read(args, factories).map_err(|problems| {
        eprintln!("{problems}");
        Exit::Usage
    })
}

pub(super) fn validate(args: &ConfigArgs) -> Exit {
    match load(args, &Parts::new().factories) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            match args.config.as_slice() {
                [] => print("the built-in configuration is valid\n"),
                _ => print("the configuration is valid\n"),
            }
        }
        Err(exit) => exit,
    }
}

pub(super) fn print_config(args: &ConfigArgs) -> Exit {
    match load(args, &Parts::new().factories) {
        Ok(loaded) => print_yaml(&loaded.effective),
        Err(exit) => exit,
    }
}

pub(super) fn components() -> Exit {
    let mut listing = Mapping::new();
    let build = [
        ("command", env!("CARGO_PKG_NAME")),
        ("description", env!("CARGO_PKG_DESCRIPTION")),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    listing.insert(
        "buildinfo".into(),
        build.into_iter().map(|(k, v)| (k.into(), v.into())).collect::<Mapping>().into(),
    );
    if let Value::Mapping(components) = config::components(&Parts::new().factories) {
        listing.extend(components);
    }
    print_yaml(&Value::Mapping(listing))
}

fn print_yaml(value: &Value) -> Exit {
    match serde_yaml::to_string(value) {
        Ok(text) => print(&text),
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Fatal
        }
    }
}

//! `validate`, `print-config`, `components`: what can be said of a configuration without running it.

use mlh_pipeline::config::{self, Loaded};
use serde_yaml::{Mapping, Value};

use super::{BUILT_IN, Exit, factories, print};
use crate::cli::ConfigArgs;

pub(super) fn load(
    args: &ConfigArgs,
    factories: &mlh_pipeline::component::Factories,
) -> Result<Loaded, Exit> {
    config::load(&args.config, &args.set, factories, BUILT_IN).map_err(|problems| {
        eprintln!("{problems}");
        Exit::Usage
    })
}

pub(super) fn validate(args: &ConfigArgs) -> Exit {
    match load(args, &factories().1) {
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
    match load(args, &factories().1) {
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
    if let Value::Mapping(components) = config::components(&factories().1) {
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

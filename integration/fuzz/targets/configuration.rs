//! Configuration files, with references and short forms, and what `validate` says of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memory_leak_hunter::commands::factories;

fuzz_target!(|text: &str| {
    let source = format!("yaml:{text}");
    let environment =
        |name: &str| if name == "SET" { Ok("value".to_owned()) } else { Err(std::env::VarError::NotPresent) };
    let loaded = mlh_pipeline::config::load_with(&[source], &[], &factories(), "service: {}", &environment);
    if let Err(problems) = loaded {
        assert!(!problems.to_string().is_empty());
    }
});

//! The keys of `file`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::LogEncoder;
use super::format::Format;
use super::rotation::Rotation;
use crate::config::Settings;
use crate::exporters::helper::optional_section;

pub(super) struct Config {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    /// False: the file begins empty at every start.
    pub(super) append: bool,
    pub(super) flush_interval: Duration,
    pub(super) rotation: Option<Rotation>,
}

impl Config {
    /// `None` where something without a default is missing or faulty, which is noted.
    pub(super) fn read(settings: &mut Settings<'_>, encoders: &[Arc<dyn LogEncoder>]) -> Option<Self> {
        let path: Option<String> = settings.required("path", "a path, such as events.jsonl");
        if path.as_ref().is_some_and(String::is_empty) {
            settings.reject("path", "a path, such as events.jsonl");
        }
        let format = read_format(settings, encoders);
        let append = settings.get("append", true);
        let flush_interval =
            settings.get_in("flush_interval", Duration::from_secs(1), Duration::from_millis(1)..);
        let rotation = optional_section(settings, "rotation", Rotation::read);
        Some(Self { path: path?.into(), format: format?, append, flush_interval, rotation })
    }
}

fn read_format(settings: &mut Settings<'_>, encoders: &[Arc<dyn LogEncoder>]) -> Option<Format> {
    let default = encoders.first().map_or(Format::JSON, |encoder| encoder.name());
    let word = settings.get("format", default.to_owned());
    let format = if word == Format::JSON {
        Some(Format::Json)
    } else {
        encoders
            .iter()
            .find(|encoder| encoder.name() == word)
            .map(|encoder| Format::Lines(Arc::clone(encoder)))
    };
    if format.is_none() {
        let names: Vec<_> = encoders.iter().map(|encoder| encoder.name()).chain([Format::JSON]).collect();
        settings.reject("format", format!("one of {}", names.join(", ")));
    }
    format
}

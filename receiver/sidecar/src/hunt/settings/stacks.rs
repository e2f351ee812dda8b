//! How stacks are captured and named.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use mlh_pipeline::config::{Choice, Setting, Settings};
use mlh_stacks::debuginfod::Debuginfod;
use mlh_stacks::unwind::Unwind;
use serde_yaml::Value;

use crate::investigate::plan::Filters;

/// `unwind`, as it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Way(Unwind);

impl Choice for Way {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Way(Unwind::Auto)),
        ("frame_pointers", Way(Unwind::FramePointers)),
        ("dwarf", Way(Unwind::Dwarf)),
    ];
}

/// The address of a server of debug information.
#[derive(Debug, Clone, PartialEq)]
struct Server(String);

impl Setting for Server {
    fn read(value: &Value) -> Result<Self, String> {
        let server = String::read(value)?;
        let asked = Debuginfod { servers: vec![server], ..Filters::debuginfod() };
        asked.check()?;
        Ok(Self(asked.servers.concat()))
    }

    fn show(&self) -> Value {
        self.0.as_str().into()
    }
}

/// Fills in what the section `stacks` says.
pub(super) fn read(settings: &mut Settings<'_>, filters: Filters) -> Filters {
    let read = |stacks: &mut Settings<'_>| {
        let max_frames = stacks.get_in("max_frames", filters.max_frames, 1..=512);
        let Way(unwind) = stacks.get("unwind", Way(filters.unwind));
        (max_frames, unwind, stacks.section("debuginfod", debuginfod))
    };
    match settings.section("stacks", read) {
        Some((max_frames, unwind, debuginfod)) => {
            Filters { max_frames, unwind, debuginfod: debuginfod.flatten(), ..filters }
        }
        None => filters,
    }
}

/// `None`: nobody is to be asked.
fn debuginfod(settings: &mut Settings<'_>) -> Option<Debuginfod> {
    let default = Filters::debuginfod();
    let servers: Vec<Server> = settings.list("servers", Vec::new());
    let cache_dir = settings.get("cache_dir", default.cache_dir.to_string_lossy().into_owned());
    let sizes = ByteSize::mib(1)..=ByteSize::tib(1);
    let max_size = settings.get_in("max_size", ByteSize(default.max_bytes), sizes);
    let timeouts = Duration::from_secs(1)..=Duration::from_secs(3600);
    let timeout = settings.get_in("timeout", default.timeout, timeouts);
    let servers: Vec<String> = servers.into_iter().map(|Server(server)| server).collect();
    let cache_dir = PathBuf::from(cache_dir);
    (!servers.is_empty()).then_some(Debuginfod { servers, cache_dir, max_bytes: max_size.0, timeout })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(text: &str) -> Result<Filters, String> {
        let read = Settings::of_text(text, |settings| read(settings, Filters::default()));
        read.map(|(filters, _)| filters).map_err(|problems| problems.to_string())
    }

    /// Guarantees: an empty block gives the documented values; each of the others is read; what is none of them is refused
    /// with what is allowed.
    #[test]
    fn values() {
        assert_eq!(filters(""), Ok(Filters::default()));
        for (word, unwind) in
            [("auto", Unwind::Auto), ("frame_pointers", Unwind::FramePointers), ("dwarf", Unwind::Dwarf)]
        {
            let expected = Filters { max_frames: 9, unwind, ..Filters::default() };
            assert_eq!(filters(&format!("stacks: {{max_frames: 9, unwind: {word}}}")), Ok(expected));
        }
        let problems = filters("stacks: {unwind: guess, max_frames: 0}").unwrap_err();
        assert!(problems.contains("stacks::unwind") && problems.contains("frame_pointers"), "{problems}");
        assert!(problems.contains("stacks::max_frames"), "{problems}");
    }

    /// Guarantees: nobody is asked for debug information unless servers are named; what cannot be a server is refused.
    #[test]
    fn servers() {
        assert_eq!(filters("stacks: {debuginfod: {timeout: 5s}}").map(|it| it.debuginfod), Ok(None));
        let text = "stacks: {debuginfod: {servers: [\"http://a:8002\"], cache_dir: /c, max_size: 2GiB, timeout: 5s}}";
        let expected = Debuginfod {
            servers: vec!["http://a:8002".to_owned()],
            cache_dir: "/c".into(),
            max_bytes: 2 << 30,
            timeout: Duration::from_secs(5),
        };
        assert_eq!(filters(text).map(|it| it.debuginfod), Ok(Some(expected)));
        let defaults =
            filters("stacks: {debuginfod: {servers: [\"http://a\"]}}").unwrap().debuginfod.unwrap();
        assert_eq!(Debuginfod { servers: Vec::new(), ..defaults }, Filters::debuginfod());
        let problems = filters("stacks: {debuginfod: {servers: [ftp://a]}}").unwrap_err();
        assert!(
            problems.contains("stacks::debuginfod::servers") && problems.contains("http://"),
            "{problems}"
        );
    }
}

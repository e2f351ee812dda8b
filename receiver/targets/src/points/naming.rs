//! Functions that stacks cannot name, and what makes them: nothing is asked for that has been done already.

use super::{BlindSpot, Runtime};

/// The variable in which options stand, as in a command line.
const OPTIONS: &str = "NODE_OPTIONS";
/// Those of .NET are variables themselves.
const DOTNET: [&str; 2] = ["DOTNET_PerfMapEnabled", "COMPlus_PerfMapEnabled"];

/// How a process was started, as far as names depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Started {
    /// The words of its command line, and of variables with options in them.
    words: Vec<String>,
    /// `/tmp/perf-PID.map` is there.
    has_map: bool,
}

impl Started {
    /// Command line and environment with a NUL behind each part.
    pub(crate) fn new(command_line: &str, environment: &str, has_map: bool) -> Self {
        let mut words: Vec<String> = command_line.split('\0').map(str::to_owned).collect();
        for (name, value) in environment.split('\0').filter_map(|variable| variable.split_once('=')) {
            if name == OPTIONS {
                words.extend(value.split_whitespace().map(str::to_owned));
            } else if DOTNET.contains(&name) && value != "0" {
                words.push("PerfMapEnabled".to_owned());
            }
        }
        Self { words, has_map }
    }

    /// V8 takes either dash for the other.
    fn says(&self, option: &str) -> bool {
        self.words.iter().any(|word| word.replace('_', "-") == option)
    }
}

/// Whether it matters how its process was started.
pub(super) fn depends(runtime: &Runtime) -> bool {
    matches!(runtime, Runtime::Node | Runtime::Jvm | Runtime::Dotnet)
}

/// What stacks of a process with these runtimes cannot name.
pub(super) fn blind_spots(found: impl Iterator<Item = Runtime>, started: &Started) -> Vec<BlindSpot> {
    let spots = found.filter_map(|runtime| match runtime {
        Runtime::Native | Runtime::Go | Runtime::Cpython => None,
        Runtime::Node => node(started),
        Runtime::Jvm => Some(jvm(started)),
        Runtime::Dotnet => dotnet(started),
        Runtime::Ruby => Some((
            "names of Ruby methods",
            "Ruby stacks are not supported: the C functions of the interpreter and of extensions are named",
        )),
        Runtime::Php => Some((
            "names of PHP functions",
            "PHP stacks are not supported: the C functions of the interpreter and of extensions are named",
        )),
    });
    spots.map(|(what, reason)| BlindSpot { what: what.to_owned(), reason: reason.to_owned() }).collect()
}

fn node(started: &Started) -> Option<(&'static str, &'static str)> {
    const NAMES: &str = "names of JavaScript functions";
    let (writes, interpreted) =
        (started.says("--perf-basic-prof"), started.says("--interpreted-frames-native-stack"));
    Some(match (started.has_map, writes, interpreted) {
        (true, _, true) => return None,
        (true, _, false) => (
            "names of JavaScript functions that are interpreted",
            "start it with --interpreted-frames-native-stack as well",
        ),
        (false, true, _) => (
            NAMES,
            "it was started with --perf-basic-prof, but /tmp/perf-PID.map is not there: let it write to /tmp",
        ),
        (false, false, _) => (
            NAMES,
            "start it with --perf-basic-prof --interpreted-frames-native-stack, and stacks name functions, files and lines",
        ),
    })
}

fn jvm(started: &Started) -> (&'static str, &'static str) {
    if started.has_map {
        return (
            "names of Java methods that are interpreted or were compiled since /tmp/perf-PID.map was written",
            "have it written again, and those that have been compiled by then have names",
        );
    }
    (
        "names of Java methods",
        "this JVM does not say where it keeps them, as HotSpot does from version 8 on once it has begun: load perf-map-agent, and stacks name methods that are compiled",
    )
}

fn dotnet(started: &Started) -> Option<(&'static str, &'static str)> {
    const NAMES: &str = "names of .NET methods";
    match (started.has_map, started.says("PerfMapEnabled")) {
        (true, _) => None,
        (false, true) => Some((
            NAMES,
            "it was started with DOTNET_PerfMapEnabled, but /tmp/perf-PID.map is not there: let it write to /tmp",
        )),
        (false, false) => Some((NAMES, "start it with DOTNET_PerfMapEnabled=1, and stacks name methods")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(runtime: Runtime, started: &Started) -> Option<BlindSpot> {
        let spots = blind_spots(std::iter::once(runtime), started);
        assert!(spots.len() < 2, "{spots:?}");
        spots.into_iter().next()
    }

    /// Guarantees: of each runtime whose functions have names of their own it is said how stacks come to have them, or that they
    /// cannot; of those that need nothing it is not.
    #[test]
    fn names_of_functions() {
        let started = Started::default();
        for (runtime, word) in [
            (Runtime::Node, "--perf-basic-prof"),
            (Runtime::Jvm, "perf-map-agent"),
            (Runtime::Dotnet, "DOTNET_PerfMapEnabled=1"),
            (Runtime::Ruby, "not supported"),
            (Runtime::Php, "not supported"),
        ] {
            let spot = said(runtime, &started);
            assert!(spot.as_ref().is_some_and(|spot| spot.reason.contains(word)), "{spot:?}");
        }
        for runtime in [Runtime::Native, Runtime::Go, Runtime::Cpython] {
            assert_eq!(said(runtime, &started), None, "{runtime:?}");
        }
    }

    /// Guarantees: what has been done already is not asked for: options in the command line and in variables are seen, however V8's
    /// dashes are written, and so is the map; the rest still is.
    #[test]
    fn what_has_been_done() {
        let reason = |runtime, line: &str, environment: &str, has_map| {
            said(runtime, &Started::new(line, environment, has_map)).map(|spot| spot.reason)
        };
        let has = |reason: Option<String>, word: &str| reason.is_some_and(|reason| reason.contains(word));
        let both = "node\0--perf_basic_prof\0--interpreted-frames-native-stack\0app.js\0";
        assert_eq!(reason(Runtime::Node, both, "", true), None);
        let variable = "A=1\0NODE_OPTIONS=--perf-basic-prof  --interpreted-frames-native-stack\0";
        assert_eq!(reason(Runtime::Node, "node\0", variable, true), None);
        assert!(has(reason(Runtime::Node, both, "", false), "is not there"));
        let half = reason(Runtime::Node, "node\0--perf-basic-prof\0", "", true);
        assert!(half.as_ref().is_some_and(|half| !half.contains("basic")), "{half:?}");
        assert!(has(half, "--interpreted-frames-native-stack"));

        assert!(has(reason(Runtime::Jvm, "java\0", "", false), "perf-map-agent"));
        assert!(has(reason(Runtime::Jvm, "java\0", "", true), "written again"));
        assert_eq!(reason(Runtime::Dotnet, "dotnet\0", "", true), None);
        assert!(has(reason(Runtime::Dotnet, "", "DOTNET_PerfMapEnabled=1\0", false), "is not there"));
        assert!(has(reason(Runtime::Dotnet, "", "DOTNET_PerfMapEnabled=0\0", false), "=1"));
    }
}

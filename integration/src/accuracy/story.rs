//! What a program says of itself while it runs: lines of JSON, led by its truth.

use serde_json::Value;

/// One MiB, from which on a leak is one that should be found.
pub const MIB: f64 = 1_048_576.0;

/// Whether and what a program leaks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Truth {
    /// It does.
    pub leaks: bool,
    /// The functions that may be blamed.
    pub functions: Vec<String>,
    /// How fast, where known.
    pub mb_per_min: Option<f64>,
}

/// A program's words so far. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Story {
    /// What it does, once it has said so.
    pub truth: Option<Truth>,
    /// When it began.
    pub begun: Option<f64>,
    /// When one MiB had leaked.
    pub one_mib: Option<f64>,
    /// Bytes that have leaked by its last word.
    pub leaked: f64,
}

impl Story {
    /// Reads the lines; what is none of ours, or not whole yet, says nothing.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut story = Self::default();
        for line in text.lines() {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let Some(at) = line["at"].as_f64() else { continue };
            if let Some(leaks) = line["leaks"].as_bool() {
                let functions = line["functions"].as_array().into_iter().flatten();
                let functions = functions.filter_map(Value::as_str).map(str::to_owned).collect();
                story.truth = Some(Truth { leaks, functions, mb_per_min: line["mb_per_min"].as_f64() });
                story.begun = Some(at);
            }
            if let Some(bytes) = line["leaked"].as_f64() {
                story.leaked = story.leaked.max(bytes);
                if bytes >= MIB {
                    story.one_mib.get_or_insert(at);
                }
            }
        }
        story
    }

    /// Of a program that says nothing, started at `begun`: as if it had leaked evenly from the start. Its own start-up counts as
    /// part of the time, so what is found is found no faster than it is said to be.
    #[must_use]
    pub fn assumed(truth: &Truth, begun: f64, now: f64) -> Self {
        let per_second = truth.mb_per_min.filter(|_| truth.leaks).map(|rate| rate * MIB / 60.0);
        let leaked = per_second.map_or(0.0, |rate| rate * (now - begun).max(0.0));
        let one_mib = per_second.map(|rate| begun + MIB / rate).filter(|at| *at <= now);
        Self { truth: Some(truth.clone()), begun: Some(begun), one_mib, leaked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a leak's truth and the moment of its first MiB are read from among other words.
    #[test]
    fn a_story_is_read_as_far_as_it_goes() {
        let text = "warning: {}\n{\"at\":10.5,\"leaks\":true,\"functions\":[\"keep\"],\"mb_per_min\":2.0}\n\
                    {\"at\":41.0,\"leaked\":1048700}\n{\"at\":70.0,\"leaked\":2100000}\n{\"at\":90.0,\"lea";
        let story = Story::read(text);
        let truth = Truth { leaks: true, functions: vec!["keep".to_owned()], mb_per_min: Some(2.0) };
        assert_eq!(
            story,
            Story { truth: Some(truth), begun: Some(10.5), one_mib: Some(41.0), leaked: 2_100_000.0 }
        );
        assert_eq!(Story::read("{\"at\":1,\"leaks\":false}").truth, Some(Truth::default()));
    }

    /// Guarantees: a program that says nothing has leaked a MiB after as long as its rate takes, and a calm one never.
    #[test]
    fn what_is_not_said_is_reckoned() {
        let truth = Truth { leaks: true, functions: Vec::new(), mb_per_min: Some(2.0) };
        assert_eq!(Story::assumed(&truth, 100.0, 120.0).one_mib, None);
        let story = Story::assumed(&truth, 100.0, 160.0);
        assert_eq!((story.one_mib, story.leaked), (Some(130.0), 2.0 * MIB));
        let calm = Truth { leaks: false, ..truth };
        assert_eq!(Story::assumed(&calm, 100.0, 1000.0).one_mib, None);
    }
}

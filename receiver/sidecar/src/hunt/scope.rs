//! `include` and `exclude`: who is looked at at all, in every mode.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use mlh_pipeline::config::{Setting, Settings};
use regex::{Regex, RegexBuilder};
use serde_yaml::Value;

/// Patterns of one kind; each is tried for each new process.
const MOST_PATTERNS: usize = 256;
/// Bytes of one pattern.
const LONGEST_PATTERN: usize = 4096;
/// Bytes of one compiled pattern: a short text can ask for a huge automaton.
const LARGEST_PROGRAM: usize = 1 << 20;

/// What is known of a process when it is decided whether to look at it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Candidate<'a> {
    /// The path of its executable, or its base name where the path is hidden.
    pub executable: Option<&'a str>,
    /// Its name in the kernel, which stands in for an executable that is not known at all.
    pub command: &'a str,
    /// The id of the container that it runs in.
    pub container: Option<&'a str>,
    /// The path of its cgroup, as in `/proc/PID/cgroup`.
    pub cgroup: Option<&'a str>,
}

/// Who is looked at. The default is everybody.
///
/// Of `include`, each kind that has patterns must have one that matches; of `exclude`, none may.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    include: Patterns,
    exclude: Patterns,
}

impl Scope {
    /// Reads `include` and `exclude` of a receiver's block; faults are noted in `settings`.
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let include = settings.section("include", Patterns::read).unwrap_or_default();
        let exclude = settings.section("exclude", Patterns::read).unwrap_or_default();
        Self { include, exclude }
    }

    /// Nobody is left out: there is nothing to ask.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether the path of an executable makes a difference.
    #[must_use]
    pub fn asks_for_executables(&self) -> bool {
        !self.include.executables.is_empty() || !self.exclude.executables.is_empty()
    }

    /// Whether this process is looked at.
    #[must_use]
    pub fn admits(&self, candidate: &Candidate<'_>) -> bool {
        let Patterns { executables, containers, cgroups } = &self.include;
        (executables.is_empty() || executable(executables, candidate))
            && (containers.is_empty() || container(containers, candidate))
            && (cgroups.is_empty() || cgroup(cgroups, candidate))
            && !executable(&self.exclude.executables, candidate)
            && !container(&self.exclude.containers, candidate)
            && !cgroup(&self.exclude.cgroups, candidate)
    }
}

/// By its whole path or by its base name, so that `^/usr/bin/` and `^api-` both mean what they say.
fn executable(patterns: &[Expression], candidate: &Candidate<'_>) -> bool {
    let path = candidate.executable.unwrap_or(candidate.command);
    let name = path.rsplit('/').next().unwrap_or(path);
    patterns.iter().any(|pattern| pattern.0.is_match(path) || pattern.0.is_match(name))
}

fn container(patterns: &[Expression], candidate: &Candidate<'_>) -> bool {
    candidate.container.is_some_and(|id| patterns.iter().any(|pattern| pattern.0.is_match(id)))
}

/// By its own path or that of a cgroup around it: what lies below a cgroup belongs to it.
fn cgroup(patterns: &[Glob], candidate: &Candidate<'_>) -> bool {
    let matches = |path: &str| patterns.iter().any(|pattern| pattern.matcher.is_match(path));
    candidate.cgroup.is_some_and(|path| {
        let mut around = path.match_indices('/').map(|(at, _)| &path[..at]).filter(|path| !path.is_empty());
        matches(path) || around.any(matches)
    })
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Patterns {
    executables: Vec<Expression>,
    containers: Vec<Expression>,
    cgroups: Vec<Glob>,
}

impl Patterns {
    fn read(settings: &mut Settings<'_>) -> Self {
        Self {
            executables: list(settings, "executables"),
            containers: list(settings, "containers"),
            cgroups: list(settings, "cgroups"),
        }
    }

    fn is_empty(&self) -> bool {
        self.executables.is_empty() && self.containers.is_empty() && self.cgroups.is_empty()
    }
}

fn list<T: Setting>(settings: &mut Settings<'_>, key: &'static str) -> Vec<T> {
    let list = settings.list(key, Vec::new());
    if list.len() > MOST_PATTERNS {
        settings.reject(key, format!("at most {MOST_PATTERNS} patterns"));
    }
    list
}

/// A regular expression, found anywhere in a text.
#[derive(Debug, Clone)]
struct Expression(Regex);

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Setting for Expression {
    fn read(value: &Value) -> Result<Self, String> {
        let text = pattern(value, "a regular expression")?;
        let built = RegexBuilder::new(&text).size_limit(LARGEST_PROGRAM).build();
        built.map(Self).map_err(|error| format!("a regular expression ({})", reason(&error)))
    }

    fn show(&self) -> Value {
        self.0.as_str().into()
    }
}

/// A pattern of paths: `*` and `?` stay within one name, `**` does not.
#[derive(Debug, Clone)]
struct Glob {
    text: String,
    matcher: GlobMatcher,
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Setting for Glob {
    fn read(value: &Value) -> Result<Self, String> {
        const WANTED: &str = "a pattern of cgroup paths such as /system.slice/*";
        let text = pattern(value, WANTED)?;
        // what runs in a cgroup namespace sees paths that begin with `/..`
        if !text.starts_with(['/', '*']) {
            return Err(format!("{WANTED}, from the root of the tree: `/` or `**/` comes first"));
        }
        let built = GlobBuilder::new(&text).literal_separator(true).build();
        let glob = built.map_err(|error| format!("{WANTED} ({})", error.kind()))?;
        Ok(Self { matcher: glob.compile_matcher(), text })
    }

    fn show(&self) -> Value {
        self.text.as_str().into()
    }
}

fn pattern(value: &Value, wanted: &str) -> Result<String, String> {
    let text = String::read(value).map_err(|expected| format!("{wanted}: {expected}"))?;
    match text.len() {
        0 => Err(format!("{wanted}; an empty one would match everything")),
        1..=LONGEST_PATTERN => Ok(text),
        _ => Err(format!("{wanted} of at most {LONGEST_PATTERN} bytes")),
    }
}

/// The library draws the fault under the expression, on lines of their own; the last one says what it is.
fn reason(error: &dyn fmt::Display) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f1e0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";

    fn scope(text: &str) -> Result<Scope, String> {
        let read = Settings::of_text(text, Scope::read);
        read.map(|(scope, _)| scope).map_err(|problems| problems.to_string())
    }

    fn api() -> Candidate<'static> {
        Candidate {
            executable: Some("/usr/bin/api-server"),
            command: "api-server",
            container: Some(ID),
            cgroup: Some("/kubepods/pod7/4f1e"),
        }
    }

    /// Guarantees: each kind of pattern decides by itself, both ways; a path, a base name, an id and a cgroup around all
    /// count.
    #[test]
    fn each_kind_decides() {
        let everybody = scope("").unwrap();
        assert!(everybody.is_everybody() && everybody.admits(&Candidate::default()));
        for (text, admitted) in [
            ("include: {executables: ['^/usr/bin/']}", true),
            ("include: {executables: ['^api-']}", true),
            ("include: {executables: ['^server']}", false),
            ("exclude: {executables: ['^api-server$']}", false),
            ("exclude: {executables: ['^/opt/']}", true),
            ("include: {containers: ['^4f1e']}", true),
            ("include: {containers: ['^5']}", false),
            ("exclude: {containers: ['ab$']}", false),
            ("include: {cgroups: ['/kubepods/*']}", true),
            ("include: {cgroups: ['/kubepods']}", true),
            ("include: {cgroups: ['/system.slice/*']}", false),
            ("include: {cgroups: ['/kube']}", false),
            ("exclude: {cgroups: ['**/pod7']}", false),
            ("exclude: {cgroups: ['/*/4f1e']}", true),
        ] {
            assert_eq!(scope(text).unwrap().admits(&api()), admitted, "{text}");
        }
    }

    /// Guarantees: patterns of one kind are alternatives, kinds add up, and `exclude` wins over `include`.
    #[test]
    fn how_patterns_go_together() {
        for (text, admitted) in [
            ("include: {executables: [nginx, api]}", true),
            ("include: {executables: [api], containers: ['^5']}", false),
            ("include: {executables: [api], containers: ['^4']}", true),
            ("include: {executables: [api]}\nexclude: {executables: [server]}", false),
            ("exclude: {executables: [nginx], cgroups: ['/kubepods/**']}", false),
        ] {
            assert_eq!(scope(text).unwrap().admits(&api()), admitted, "{text}");
        }
    }

    /// Guarantees: of whom a thing is not known, a pattern of that thing does not match: not included, not excluded;
    /// the name in the kernel stands in for the executable.
    #[test]
    fn what_is_not_known() {
        let bare = Candidate { command: "kswapd0", ..Candidate::default() };
        for (text, admitted) in [
            ("include: {containers: ['.']}", false),
            ("exclude: {containers: ['.']}", true),
            ("include: {cgroups: ['/**']}", false),
            ("exclude: {cgroups: ['/**']}", true),
            ("include: {executables: [kswapd]}", true),
        ] {
            assert_eq!(scope(text).unwrap().admits(&bare), admitted, "{text}");
        }
    }

    /// Guarantees: a pattern that is none is refused with its place in the list and the reason, on one line; so are
    /// those that would cost too much.
    #[test]
    fn refusals() {
        for (text, said) in [
            ("include: {executables: ['ok', '(']}", "include::executables[1]: \"(\": expected a regular"),
            ("include: {executables: ['(']}", "unclosed group"),
            ("exclude: {containers: ['']}", "an empty one would match everything"),
            ("exclude: {executables: ['(\\w{1000}){1000}']}", "(Compiled regex exceeds"),
            ("include: {cgroups: ['system.slice']}", "from the root"),
            ("include: {cgroups: ['/[']}", "unclosed character class"),
            ("include: {commands: [a]}", "allowed: executables, containers, cgroups"),
            ("include: [a]", "expected a mapping"),
        ] {
            let problems = scope(text).unwrap_err();
            assert!(problems.contains(said), "{text}: {problems}");
            assert_eq!(problems.lines().count(), 1, "{text}: {problems}");
        }
        let many = format!("exclude: {{executables: [{}]}}", vec!["a"; MOST_PATTERNS + 1].join(", "));
        assert!(scope(&many).unwrap_err().contains("at most 256 patterns"));
    }
}

//! Whom to look at more closely, by the configuration: at most one, and only in a mode that looks.

use std::ops::RangeInclusive;
use std::time::Duration;

use mlh_pipeline::config::{Setting, Settings};
use serde_yaml::Value;

use crate::investigate::plan::{Mode, Target};

/// One of these at most.
const KEYS: [&str; 3] = ["target_pid", "target_cgroup_id", "target_container"];

/// The kernel's own bound (`PID_MAX_LIMIT`).
pub(crate) const LARGEST_PID: u32 = 1 << 22;

/// For how long a target may be looked at. It always ends: who looks on names the target again.
pub(crate) fn durations() -> RangeInclusive<Duration> {
    Duration::from_secs(1)..=Duration::from_secs(7 * 86_400)
}

/// A container's id or the beginning of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ContainerPrefix(pub(crate) String);

impl ContainerPrefix {
    /// # Errors
    /// What is allowed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // runtimes write 64 hex digits, ECS 32 of them and a number
        let sound = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-');
        if sound {
            Ok(Self(text.to_owned()))
        } else {
            Err("a container's id or the beginning of it, lower-case hex digits".to_owned())
        }
    }
}

impl Setting for ContainerPrefix {
    fn read(value: &Value) -> Result<Self, String> {
        Self::parse(&String::read(value)?)
    }

    fn show(&self) -> Value {
        self.0.as_str().into()
    }
}

/// Reads the target; `mode` is what the block says of it.
pub(super) fn read(settings: &mut Settings<'_>, mode: Mode) -> Option<Target> {
    let pid = settings.optional_in("target_pid", 1..=LARGEST_PID).map(Target::Pid);
    let cgroup = settings.optional_in("target_cgroup_id", 1_u64..).map(Target::CgroupId);
    let container = settings.optional::<ContainerPrefix>("target_container");
    let container = container.map(|prefix| Target::Container(prefix.0));
    let given: Vec<&str> = KEYS.into_iter().filter(|key| settings.has(key)).collect();
    match (mode, given.as_slice()) {
        (_, [_, .., last]) => {
            settings.reject(last, format!("one target, where {} are given", given.join(", ")));
        }
        (Mode::GrowthDetection, [only]) => {
            let allowed = "no target in growth_detection, which looks at everybody; set mode to targeted, debug or growth_stacks";
            settings.reject_beside(only, "mode", allowed);
        }
        (Mode::Investigating(_), []) => {
            settings.reject("mode", format!("a target beside it, one of {}", KEYS.join(", ")));
        }
        (Mode::GrowthDetection, []) | (Mode::Investigating(_), [_]) => {}
    }
    pid.or(cgroup).or(container)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::investigate::plan::Rung;

    fn target(text: &str, mode: Mode) -> Result<Option<Target>, String> {
        let read = Settings::of_text(text, |settings| {
            settings.get("mode", Mode::default());
            read(settings, mode)
        });
        read.map(|(target, _)| target).map_err(|problems| problems.to_string())
    }

    const TARGETED: Mode = Mode::Investigating(Rung::Targeted);

    /// Guarantees: a target is a pid, a cgroup's id or the beginning of a container's.
    #[test]
    fn targets() {
        assert_eq!(target("target_pid: 7", TARGETED), Ok(Some(Target::Pid(7))));
        assert_eq!(target("target_cgroup_id: 98765", TARGETED), Ok(Some(Target::CgroupId(98_765))));
        let container = Target::Container("4f1e".to_owned());
        assert_eq!(target("target_container: 4f1e", TARGETED), Ok(Some(container)));
        assert_eq!(target("", Mode::GrowthDetection), Ok(None));
    }

    /// Guarantees: two targets are refused with the names of both; a mode that needs one, and one that has no use for
    /// it, say what to do.
    #[test]
    fn refusals() {
        for (text, mode, said) in [
            (
                "target_pid: 7\ntarget_container: 4f1e",
                TARGETED,
                vec!["where target_pid, target_container are given"],
            ),
            (
                "target_pid: 7\ntarget_cgroup_id: 8",
                TARGETED,
                vec!["where target_pid, target_cgroup_id are given"],
            ),
            (
                "target_pid: 7",
                Mode::GrowthDetection,
                vec!["target_pid", "set mode to targeted, debug or growth_stacks"],
            ),
            ("", TARGETED, vec!["mode", "target_pid, target_cgroup_id, target_container"]),
            ("target_pid: 0", TARGETED, vec!["target_pid", "at least 1"]),
            ("target_pid: 4194305", TARGETED, vec!["at most 4194304"]),
            ("target_cgroup_id: 0", TARGETED, vec!["at least 1"]),
            ("target_container: my-app", TARGETED, vec!["hex digits"]),
            ("target_container: ''", TARGETED, vec!["hex digits"]),
        ] {
            let problems = target(text, mode).unwrap_err();
            assert!(said.iter().all(|part| problems.contains(part)), "{text}: {problems}");
            assert_eq!(problems.lines().count(), 1, "{text}: {problems}");
        }
    }
}

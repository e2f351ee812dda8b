//! How far a suspicion is followed up with no hand on it.

use std::time::Duration;

use mlh_detect::Rung;
use mlh_pipeline::config::{Choice, Settings};

/// Nobody climbs for more at once: each takes a thread, files and kernel memory of its own.
const MOST_TARGETS: u32 = 16;

/// The section `escalation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escalation {
    /// False: a suspicion is told, and nothing follows from it.
    pub enabled: bool,
    /// No rung above this one is climbed.
    pub max_rung: Rung,
    /// False: no process has its pages marked as not referenced, however far is climbed.
    pub coldness: bool,
    /// False: no address of a process is watched by the processor's watchpoints, however far is climbed.
    pub watchpoints: bool,
    /// Processes or containers that are climbed for at once.
    pub max_concurrent_targets: u32,
    /// So long after a climb the same process, container or program is not climbed for again, unless its case has become worse.
    pub cooldown: Duration,
}

impl Default for Escalation {
    fn default() -> Self {
        Self {
            enabled: true,
            max_rung: Rung::GrowthStacks,
            coldness: true,
            watchpoints: true,
            max_concurrent_targets: 1,
            cooldown: Duration::from_secs(1800),
        }
    }
}

impl Escalation {
    /// Something follows from a suspicion.
    #[must_use]
    pub fn climbs(&self) -> bool {
        self.enabled && self.max_rung > Rung::Trend
    }
}

/// A rung, as it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Highest(Rung);

impl Choice for Highest {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("trend", Self(Rung::Trend)),
        ("outside", Self(Rung::Outside)),
        ("coldness", Self(Rung::Coldness)),
        ("growth_stacks", Self(Rung::GrowthStacks)),
        ("gate_probes", Self(Rung::GateProbes)),
        ("full_probes", Self(Rung::FullProbes)),
    ];
}

/// Reads the section.
pub(super) fn read(settings: &mut Settings<'_>) -> Escalation {
    let default = Escalation::default();
    let read = |section: &mut Settings<'_>| {
        let enabled = section.get("enabled", default.enabled);
        let Highest(max_rung) = section.get("max_rung", Highest(default.max_rung));
        let coldness = section.get("coldness", default.coldness);
        let watchpoints = section.get("watchpoints", default.watchpoints);
        let max_concurrent_targets =
            section.get_in("max_concurrent_targets", default.max_concurrent_targets, 1..=MOST_TARGETS);
        let cooldowns = Duration::ZERO..=Duration::from_secs(7 * 86_400);
        let cooldown = section.get_in("cooldown", default.cooldown, cooldowns);
        Escalation { enabled, max_rung, coldness, watchpoints, max_concurrent_targets, cooldown }
    };
    settings.section("escalation", read).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escalation(text: &str) -> Result<Escalation, String> {
        let read = Settings::of_text(text, read);
        read.map(|(escalation, _)| escalation).map_err(|problems| problems.to_string())
    }

    /// Guarantees: an empty block gives the documented values, each key is read into its own field, and every rung has its word.
    #[test]
    fn values() {
        assert_eq!(escalation(""), Ok(Escalation::default()));
        assert!(Escalation::default().climbs());
        let text = "escalation: {enabled: false, max_rung: outside, coldness: false, watchpoints: false, max_concurrent_targets: 3, cooldown: 5m}";
        let expected = Escalation {
            enabled: false,
            max_rung: Rung::Outside,
            coldness: false,
            watchpoints: false,
            max_concurrent_targets: 3,
            cooldown: Duration::from_secs(300),
        };
        assert_eq!(escalation(text), Ok(expected));
        assert!(!expected.climbs());
        for rung in Rung::ALL {
            let read = escalation(&format!("escalation: {{max_rung: {}}}", rung.name())).unwrap();
            assert_eq!((read.max_rung, read.climbs()), (rung, rung > Rung::Trend));
        }
    }

    /// Guarantees: what makes no sense is refused, each fault with its key and what is allowed.
    #[test]
    fn refusals() {
        let text =
            "escalation: {enabled: 1, max_rung: probes, max_concurrent_targets: 0, cooldown: 8d, rung: a}";
        let problems = escalation(text).unwrap_err();
        for said in
            ["escalation::enabled", "growth_stacks", "max_concurrent_targets", "cooldown", "escalation::rung"]
        {
            assert!(problems.contains(said), "{said} in {problems}");
        }
        assert_eq!(problems.lines().count(), 5, "{problems}");
    }
}

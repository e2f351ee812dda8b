//! What is left out while a target is looked at: the allocation filters and the budget.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use mlh_pipeline::config::{Setting, Settings};
use serde_yaml::Value;

use super::stacks;
use crate::investigate::plan::{Filters, Rung};

/// `overhead_budget`: a share of the target's CPU time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Budget {
    /// The default of the mode: 0.1 % in targeted mode, none in debug mode, which costs what it costs.
    #[default]
    Auto,
    /// In either mode; 0.001 for 0.1 %.
    Share(f64),
}

impl Budget {
    /// What holds for a look of this closeness.
    #[must_use]
    pub fn of(self, rung: Rung) -> Option<f64> {
        match (self, rung) {
            (Self::Share(share), _) => Some(share),
            (Self::Auto, Rung::Targeted) => Filters::default().overhead_budget,
            (Self::Auto, Rung::Debug | Rung::GrowthStacks) => None,
        }
    }
}

impl Setting for Budget {
    fn read(value: &Value) -> Result<Self, String> {
        let allowed = "auto, or a share of the target's CPU time such as 0.1%, more than 0% and at most 100%";
        let text = value.as_str().ok_or(allowed)?;
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let percent = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
        let sound = percent.filter(|percent| *percent > 0.0 && *percent <= 100.0);
        sound.map(|percent| Self::Share(percent / 100.0)).ok_or_else(|| allowed.to_owned())
    }

    fn show(&self) -> Value {
        match self {
            Self::Auto => "auto".into(),
            // rounded where binary fractions would show
            Self::Share(share) => format!("{}%", (share * 1e11).round() / 1e9).into(),
        }
    }
}

/// What a size of allocations may be.
pub(crate) fn sizes() -> RangeInclusive<ByteSize> {
    ByteSize(0)..=ByteSize::tib(1)
}

/// Reads the filters. The budget is that of targeted mode: see [`Budget::of`].
pub(super) fn read(settings: &mut Settings<'_>) -> (Filters, Budget) {
    let default = Filters::default();
    let size = sizes();
    let age = Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);
    let min = settings.get_in("min_allocation_size", ByteSize(default.min_allocation_size), size.clone());
    let min_unfreed_age = settings.get_in("min_unfreed_age", default.min_unfreed_age, age.clone());
    let sampling_rate = settings.get_in("sampling_rate", default.sampling_rate, 1..=1_000_000);
    // who raises the one alone does not mean to be told of the other
    let large = ByteSize(default.large_allocation_size).max(min);
    let large = settings.get_in("large_allocation_size", large, size);
    if large < min {
        let allowed = format!("at least min_allocation_size ({})", shown(min));
        settings.reject_beside("large_allocation_size", "min_allocation_size", allowed);
    }
    let emit_allocations = settings.get("emit_allocations", default.emit_allocations);
    let stack_dedup_window = settings.get_in("stack_dedup_window", default.stack_dedup_window, age);
    let max_tracked_allocations =
        settings.get_in("max_tracked_allocations", default.max_tracked_allocations, 1..=1_000_000);
    let budget = settings.get("overhead_budget", Budget::default());
    let filters = Filters {
        min_allocation_size: min.0,
        large_allocation_size: large.0,
        sampling_rate,
        min_unfreed_age,
        stack_dedup_window,
        max_tracked_allocations,
        emit_allocations,
        overhead_budget: budget.of(Rung::Targeted),
        // what is not the allocations' alone is filled in by who reads the whole block
        ..default
    };
    (stacks::read(settings, filters), budget)
}

fn shown(size: ByteSize) -> String {
    match size.show() {
        Value::String(text) => text,
        _ => size.0.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(text: &str) -> Result<Filters, String> {
        let read = Settings::of_text(text, |settings| read(settings).0);
        read.map(|(filters, _)| filters).map_err(|problems| problems.to_string())
    }

    /// Guarantees: an empty block gives the documented filters; sizes come as numbers and with units.
    #[test]
    fn values() {
        assert_eq!(filters(""), Ok(Filters::default()));
        let text = "min_allocation_size: 10KiB\nlarge_allocation_size: 2MiB\nsampling_rate: 1\nmin_unfreed_age: 1m\n\
                    emit_allocations: true\nstack_dedup_window: 10s\nmax_tracked_allocations: 7\n\
                    overhead_budget: 2.5%\nstacks: {max_frames: 9, unwind: dwarf}\n";
        let expected = Filters {
            min_allocation_size: 10_240,
            large_allocation_size: 2 << 20,
            sampling_rate: 1,
            min_unfreed_age: Duration::from_secs(60),
            emit_allocations: true,
            stack_dedup_window: Duration::from_secs(10),
            max_tracked_allocations: 7,
            overhead_budget: Some(0.025),
            max_frames: 9,
            unwind: mlh_stacks::unwind::Unwind::Dwarf,
            ..Filters::default()
        };
        assert_eq!(filters(text), Ok(expected));
        assert_eq!(filters("min_allocation_size: 1024").map(|f| f.min_allocation_size), Ok(1024));
    }

    /// Guarantees: `large_allocation_size` is never below `min_allocation_size`: one left out follows, one written is
    /// refused, with the other's value.
    #[test]
    fn large_is_not_below_min() {
        assert_eq!(filters("min_allocation_size: 4MiB").map(|f| f.large_allocation_size), Ok(4 << 20));
        let problems = filters("min_allocation_size: 4MiB\nlarge_allocation_size: 1MiB").unwrap_err();
        assert!(
            problems.contains("large_allocation_size") && problems.contains("min_allocation_size (4MiB)"),
            "{problems}"
        );
    }

    /// Guarantees: a budget is a share with its percent sign, above nothing and up to everything; debug mode has none
    /// unless it is written down; what is shown reads back as the same.
    #[test]
    fn budgets() {
        for (text, expected) in [
            ("auto", Some(Budget::Auto)),
            ("0.1%", Some(Budget::Share(0.001))),
            ("100 %", Some(Budget::Share(1.0))),
            ("0%", None),
            ("-1%", None),
            ("101%", None),
            ("NaN%", None),
            ("inf%", None),
            ("0.1", None),
            ("%", None),
        ] {
            let read = Budget::read(&text.into());
            assert_eq!(read.clone().ok(), expected, "{text}");
            if let Ok(budget) = read {
                assert_eq!(Budget::read(&budget.show()), Ok(budget), "{text}");
            }
        }
        assert_eq!(Budget::Share(0.001).show(), "0.1%");
        assert!(Budget::read(&Value::from(0.001)).is_err());
        assert_eq!(Budget::Auto.of(Rung::Targeted), Some(0.001));
        assert_eq!(Budget::Auto.of(Rung::Debug), None);
        assert_eq!(Budget::Share(0.2).of(Rung::Debug), Some(0.2));
    }
}

//! What benchmarks print in the end.

use std::fmt;

use crate::statistics::Ratio;

/// What a measurement with its interval says of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is on the right side.
    Met,
    /// The goal lies within the interval.
    Unclear,
    /// The whole interval is on the wrong side.
    Missed,
}

impl Verdict {
    /// Of something that may be so large.
    #[must_use]
    pub fn at_most(limit: f64, measured: &Ratio) -> Self {
        if measured.high <= limit {
            Self::Met
        } else if measured.low <= limit {
            Self::Unclear
        } else {
            Self::Missed
        }
    }

    /// Of something that is to be so large.
    #[must_use]
    pub fn at_least(limit: f64, measured: &Ratio) -> Self {
        if measured.low >= limit {
            Self::Met
        } else if measured.high >= limit {
            Self::Unclear
        } else {
            Self::Missed
        }
    }
}

/// Rows of what was measured, the goal, the result, and whether it was met.
#[derive(Default)]
pub struct Table {
    rows: Vec<[String; 4]>,
    missed: bool,
}

impl Table {
    /// A result with a goal.
    pub fn goal(&mut self, what: impl Into<String>, goal: &str, result: impl Into<String>, met: bool) {
        self.judged(what, goal, result, if met { Verdict::Met } else { Verdict::Missed });
    }

    /// A result with a goal, judged by its interval.
    pub fn judged(
        &mut self,
        what: impl Into<String>,
        goal: impl Into<String>,
        result: impl Into<String>,
        verdict: Verdict,
    ) {
        self.missed |= verdict == Verdict::Missed;
        let met = match verdict {
            Verdict::Met => "yes",
            Verdict::Unclear => "unclear",
            Verdict::Missed => "NO",
        };
        self.rows.push([what.into(), goal.into(), result.into(), met.to_owned()]);
    }

    /// A result to compare with.
    pub fn beside(&mut self, what: impl Into<String>, result: impl Into<String>) {
        self.rows.push([what.into(), String::new(), result.into(), String::new()]);
    }

    /// A goal has been missed, by more than can be noise.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        self.missed
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "goal", "result", "met"].map(str::to_owned);
        let rule = ["---", "---", "---", "---"].map(str::to_owned);
        let rows: Vec<_> = [&head, &rule].into_iter().chain(&self.rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        for row in &rows {
            let cell = |column: usize| format!("{:width$}", row[column], width = width(column));
            writeln!(f, "| {} | {} | {} | {} |", cell(0), cell(1), cell(2), cell(3))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(low: f64, high: f64) -> Ratio {
        Ratio { mean: f64::midpoint(low, high), low, high }
    }

    /// Guarantees: only an interval that lies on one side of the goal as a whole has shown anything, and only one on the
    /// wrong side counts as missed.
    #[test]
    fn intervals_decide() {
        assert_eq!(Verdict::at_most(1.05, &measured(0.9, 1.04)), Verdict::Met);
        assert_eq!(Verdict::at_most(1.05, &measured(1.04, 1.06)), Verdict::Unclear);
        assert_eq!(Verdict::at_most(1.05, &measured(1.06, 1.07)), Verdict::Missed);
        assert_eq!(Verdict::at_least(500.0, &measured(501.0, 600.0)), Verdict::Met);
        assert_eq!(Verdict::at_least(500.0, &measured(400.0, 600.0)), Verdict::Unclear);
        assert_eq!(Verdict::at_least(500.0, &measured(400.0, 499.0)), Verdict::Missed);

        let mut table = Table::default();
        table.judged("cost", "<= 2", "2.1 (1.9 to 2.2)", Verdict::Unclear);
        assert!(!table.is_missed());
        table.goal("loss", "none", "one", false);
        assert!(table.is_missed());
        assert!(table.to_string().contains("| cost | <= 2 | 2.1 (1.9 to 2.2) | unclear |"));
    }
}

//! The table at the end.

use std::fmt;

/// Rows of what was measured, the goal, the result, and whether it was met.
#[derive(Default)]
pub(crate) struct Table(Vec<[String; 4]>);

impl Table {
    /// A result with a goal.
    pub(crate) fn goal(&mut self, what: impl Into<String>, goal: &str, result: impl Into<String>, met: bool) {
        let met = if met { "yes" } else { "NO" };
        self.0.push([what.into(), goal.to_owned(), result.into(), met.to_owned()]);
    }

    /// A result to compare with.
    pub(crate) fn beside(&mut self, what: impl Into<String>, result: impl Into<String>) {
        self.0.push([what.into(), String::new(), result.into(), String::new()]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "goal", "result", "met"].map(str::to_owned);
        let rule = ["---", "---", "---", "---"].map(str::to_owned);
        let rows: Vec<_> = [&head, &rule].into_iter().chain(&self.0).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        for row in &rows {
            let cell = |column: usize| format!("{:width$}", row[column], width = width(column));
            writeln!(f, "| {} | {} | {} | {} |", cell(0), cell(1), cell(2), cell(3))?;
        }
        Ok(())
    }
}

//! The newest few of many figures.

use std::collections::VecDeque;

/// So many are kept.
const MOST: usize = 16;

/// The newest figures, the oldest first. What is not finite or below zero is none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recent(VecDeque<f64>);

impl Recent {
    /// One more, at the expense of the oldest.
    pub fn push(&mut self, figure: f64) {
        if !figure.is_finite() || figure < 0.0 {
            return;
        }
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(figure);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = f64> {
        self.0.iter().copied()
    }

    /// The median; `None` of nothing.
    #[must_use]
    pub fn typical(&self) -> Option<f64> {
        let mut sorted: Vec<f64> = self.iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
        Some(low + (high - low) / 2.0)
    }
}

impl FromIterator<f64> for Recent {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        let mut recent = Self::default();
        figures.into_iter().for_each(|figure| recent.push(figure));
        recent
    }
}

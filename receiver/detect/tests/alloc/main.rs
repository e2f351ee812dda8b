//! What a close look at one target is judged by.

mod mappings;
mod model;
mod ledger;
mod disorder;
mod estimates;
mod tally;
mod unfreed;
mod governor;
mod cohorts;

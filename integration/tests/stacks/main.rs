//! What stacks are worth, in figures: programs by many compilers, of many kinds, each of which leaks in one known function beside
//! requests that give back what they take. Of what the sidecar says that they keep, how much is blamed on that function?
//!
//! The sources lie in `targets/stacks/`. Each row of the tables in [`native`] and [`managed`] is a test of its own, and prints one
//! line of the table that `docs/stacks.md` shows: `make matrix`.

#![forbid(unsafe_code)]

mod row;
mod program;
mod look;
mod judge;
mod rivals;
mod native;
mod managed;

//! From the command line to a checked configuration.

use std::sync::Arc;

use serde_yaml::Value;

use super::check::check;
use super::expand::{self, Environment, Expander};
use super::plan::{LogSettings, Plan};
use super::problem::{Place, Problem, Problems};
use super::source;
use super::tree::{Block, Body, Node, nest};
use crate::component::Factories;

/// A sound configuration, ready to be built.
pub struct Loaded {
    /// What works and should be changed, such as deprecated names, each with its place.
    pub warnings: Vec<Problem>,
    /// The complete configuration with its defaults, secrets masked; itself a configuration that can be loaded.
    pub effective: Value,
    /// The program's own log.
    pub logs: LogSettings,
    pub(crate) plan: Plan,
    kept: Kept,
}

impl Loaded {
    /// What this was read from.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.kept.clone()
    }
}

/// The text of a sound configuration, references replaced. It can be loaded again when its files have changed or
/// are gone.
#[derive(Clone)]
pub struct Kept {
    root: Arc<Block>,
    whole: Place,
}

impl Kept {
    /// The configuration as it was.
    ///
    /// # Errors
    /// Faults that it has by now: what it names, such as a certificate, may have gone.
    pub fn load(&self, factories: &Factories) -> Result<Loaded, Problems> {
        let (loaded, faults) = self.check(factories);
        faults.unless(loaded)
    }

    fn check(&self, factories: &Factories) -> (Loaded, Problems) {
        let (plan, effective, notes) = check(&self.root, self.whole.clone(), factories);
        let (warnings, effective) = (notes.warnings, expand::protect(effective));
        (Loaded { warnings, effective, logs: plan.logs, plan, kept: self.clone() }, notes.problems)
    }
}

/// Loads a configuration, with references such as `${env:NAME}` taken from this process.
///
/// `sources` are what `--config` named: paths, `file:PATH`, `env:NAME`, `yaml:TEXT`; mappings of later ones are
/// joined into earlier ones, lists and other values replace them. `sets` are the `key=value` of `--set` and come
/// last. Without sources `builtin`, a whole configuration, is used by itself. A source whose only top-level key
/// is the type of a receiver holds that receiver's block; where all sources are of this kind they are laid over
/// `builtin`.
///
/// # Errors
/// Every fault of every source.
pub fn load(
    sources: &[String],
    sets: &[String],
    factories: &Factories,
    builtin: &str,
) -> Result<Loaded, Problems> {
    load_with(sources, sets, factories, builtin, &|name| std::env::var(name))
}

/// [`load`] with an environment of the caller's own.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    sources: &[String],
    sets: &[String],
    factories: &Factories,
    builtin: &str,
    environment: Environment<'_>,
) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let trees: Vec<_> = sources.iter().map(|name| source::read(name, environment, &mut problems)).collect();
    let sets: Vec<_> = sets.iter().map(|assignment| source::set(assignment, &mut problems)).collect();
    // What lies in a source that cannot be read is unknown: to go on would only yield faults that are none.
    let (Some(trees), Some(sets)) =
        (trees.into_iter().collect::<Option<Vec<_>>>(), sets.into_iter().collect::<Option<Vec<_>>>())
    else {
        return Err(problems);
    };

    let short = trees.iter().all(|tree| receiver_alone(tree, factories).is_some());
    let mut layers = Vec::new();
    if short {
        layers.extend(source::mapping("built-in configuration", builtin, &mut problems));
    }
    layers.extend(trees.into_iter().chain(sets).map(|tree| lengthen(tree, factories)));
    let order: Vec<Arc<str>> = layers.iter().map(|layer| Arc::clone(&layer.at.source)).collect();
    let Some(mut root) = layers.into_iter().reduce(|mut below, above| {
        below.overlay(above);
        below
    }) else {
        return Err(problems);
    };

    let mut expander = Expander::new(environment, &mut problems);
    expander.expand(&mut root, "");
    let unresolved = expander.unresolved;
    let whole = Place::whole(order.iter().rfind(|source| &***source != "--set").unwrap_or(&root.at.source));
    let Body::Block(root) = root.body else { return Err(problems) };
    let (loaded, faults) = Kept { root: Arc::new(root), whole }.check(factories);
    // A reference that could not be replaced has had its fault; that its key lacks a value is not another.
    problems.append(faults.without(&unresolved));
    problems.sort(&order);
    problems.unless(loaded)
}

/// The receiver type that is the only top-level key.
fn receiver_alone(tree: &Node, factories: &Factories) -> Option<&'static str> {
    let Body::Block(block) = &tree.body else { return None };
    let kinds = factories.receivers.iter().map(|factory| factory.describe().kind);
    kinds.into_iter().find(|kind| block.len() == 1 && block.contains_key(*kind))
}

/// A source in short form as the same in long form.
fn lengthen(tree: Node, factories: &Factories) -> Node {
    if receiver_alone(&tree, factories).is_some() { nest(&["receivers"], tree) } else { tree }
}

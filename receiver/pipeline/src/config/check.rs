//! A whole configuration against the factories: which components there are and how pipelines join them.

use std::sync::Arc;

use indexmap::map::Entry;
use indexmap::{IndexMap, IndexSet};
use serde_yaml::Value;

use super::plan::{LogSettings, Pipeline, Plan};
use super::problem::Place;
use super::setting::Setting;
use super::settings::{Notes, Settings};
use super::tree::Block;
use super::wording::{undeclared, unknown};
use crate::component::{
    ComponentId, Description, ExporterBlueprint, ExporterFactory, ExtensionFactory, Factories,
    ProcessorFactory, ReceiverBlueprint, ReceiverFactory,
};
use crate::data::Signal;

/// Reads everything. `whole` is the place of what is missing altogether.
pub(crate) fn check(root: &Block, whole: Place, factories: &Factories) -> (Plan, Value, Notes) {
    let stray = factories.receivers.iter().map(|factory| factory.describe().kind);
    let stray: Vec<_> = stray.filter(|kind| root.contains_key(*kind)).collect();
    let mut root = Settings::new(Some(root), whole, String::new());
    for kind in stray {
        root.reject(kind, "this block under `receivers`; at the top it can only stand alone");
    }
    let mut parts = Parts {
        receivers: declare(
            &mut root,
            "receivers",
            &factories.receivers,
            ReceiverFactory::describe,
            ReceiverFactory::configure,
        ),
        processors: declare(
            &mut root,
            "processors",
            &factories.processors,
            ProcessorFactory::describe,
            ProcessorFactory::configure,
        ),
        exporters: declare(
            &mut root,
            "exporters",
            &factories.exporters,
            ExporterFactory::describe,
            ExporterFactory::configure,
        ),
        extensions: declare(
            &mut root,
            "extensions",
            &factories.extensions,
            ExtensionFactory::describe,
            ExtensionFactory::configure,
        ),
    };
    let before = root.faults();
    let service = root.section("service", |service| read_service(service, &mut parts)).unwrap_or_default();
    if root.faults() == before {
        // With faults there, what looks unused may just be misspelt.
        refuse_unused(&mut root, &parts.receivers, "service::pipelines");
        refuse_unused(&mut root, &parts.processors, "service::pipelines");
        refuse_unused(&mut root, &parts.exporters, "service::pipelines");
        refuse_unused(&mut root, &parts.extensions, "service::extensions");
    }

    let pipelines = running(&mut root, &parts.receivers, service.pipelines);
    let mut extensions = blueprints(parts.extensions);
    let plan = Plan {
        logs: service.logs,
        receivers: blueprints(parts.receivers),
        processors: blueprints(parts.processors),
        exporters: blueprints(parts.exporters),
        // They start in the order in which the service names them.
        extensions: service
            .extensions
            .into_iter()
            .filter_map(|id| extensions.shift_remove_entry(&id))
            .collect(),
        pipelines,
    };
    let (effective, notes) = root.finish();
    (plan, effective, notes)
}

/// The components of one section.
type Declared<B> = IndexMap<ComponentId, Component<B>>;

struct Component<B> {
    at: Place,
    path: String,
    /// Absent where no factory makes this type.
    made: Option<(Description, B)>,
    used: bool,
}

struct Parts<R, P, E, X> {
    receivers: Declared<R>,
    processors: Declared<P>,
    exporters: Declared<E>,
    extensions: Declared<X>,
}

#[derive(Default)]
struct Service {
    logs: LogSettings,
    extensions: Vec<ComponentId>,
    pipelines: Vec<Pipeline>,
}

fn declare<F: ?Sized, B>(
    root: &mut Settings<'_>,
    section: &'static str,
    factories: &[Arc<F>],
    describe: impl Fn(&F) -> Description,
    configure: impl Fn(&F, &mut Settings<'_>) -> B,
) -> Declared<B> {
    let mut declared = Declared::new();
    root.named_sections(section, |name, settings| {
        let id = match ComponentId::parse(name) {
            Ok(id) => id,
            Err(expected) => return settings.reject_block(format!("expected {expected}")),
        };
        let found = factories.iter().find(|factory| {
            let description = describe(factory);
            description.kind == id.kind || description.aliases.contains(&id.kind.as_str())
        });
        let made = found.map(|factory| (describe(factory), configure(factory, settings)));
        match &made {
            Some((description, _)) if description.kind != id.kind => {
                settings.warn_block(format!("deprecated name; write `{}`", description.kind));
            }
            Some(_) => {}
            None => {
                let kinds: Vec<_> = factories.iter().map(|factory| describe(factory).kind).collect();
                settings.reject_block(unknown("type", &id.kind, &kinds));
            }
        }
        match declared.entry(id) {
            Entry::Occupied(first) => {
                let (id, line) = (first.key(), first.get().at.line);
                settings.reject_block(format!("a second component of the id `{id}`; first on line {line}"));
            }
            Entry::Vacant(free) => {
                let (at, path) = (settings.place().clone(), settings.path().to_owned());
                // One of unknown type has had its fault; not being used is not another.
                let used = made.is_none();
                free.insert(Component { at, path, made, used });
            }
        }
    });
    declared
}

fn read_service<R, P, E, X>(service: &mut Settings<'_>, parts: &mut Parts<R, P, E, X>) -> Service
where
    E: AsRef<dyn ExporterBlueprint>,
{
    let extensions = resolve(service, "extensions", None, &mut parts.extensions, |_, _| None);
    let logs = service.section("telemetry", |telemetry| telemetry.section("logs", LogSettings::read));
    let mut pipelines = Vec::new();
    let mut named = 0;
    service.named_sections("pipelines", |name, pipeline| {
        named += 1;
        pipelines.extend(read_pipeline(name, pipeline, parts));
    });
    if named == 0 {
        service.reject("pipelines", "at least one pipeline, such as `logs`");
    }
    Service { logs: logs.flatten().unwrap_or_default(), extensions, pipelines }
}

fn read_pipeline<R, P, E, X>(
    name: &str,
    pipeline: &mut Settings<'_>,
    parts: &mut Parts<R, P, E, X>,
) -> Option<Pipeline>
where
    E: AsRef<dyn ExporterBlueprint>,
{
    let id = ComponentId::parse(name).map_err(|_| "expected `signal` or `signal/name`".to_owned());
    let signal = id.and_then(|id| {
        let found = Signal::ALL.into_iter().find(|signal| signal.name() == id.kind);
        found.ok_or_else(|| unknown("signal", &id.kind, &Signal::ALL.map(Signal::name)))
    });
    let signal = match signal {
        Ok(signal) => Some(signal),
        Err(reason) => {
            pipeline.reject_block(reason);
            None
        }
    };
    let receivers = resolve_some(pipeline, "receivers", signal, &mut parts.receivers, |_, _| None);
    let processors = resolve(pipeline, "processors", signal, &mut parts.processors, |_, _| None);
    let refuses = |exporter: &E, signal| exporter.as_ref().refuses(signal);
    let exporters = resolve_some(pipeline, "exporters", signal, &mut parts.exporters, refuses);
    if processors.iter().position(|id| id.kind == "memory_limiter").is_some_and(|position| position > 0) {
        let note = "memory_limiter should come first, so that data is refused before memory is spent on it";
        pipeline.warn("processors", note);
    }
    Some(Pipeline { name: name.to_owned(), signal: signal?, receivers, processors, exporters })
}

fn resolve_some<B>(
    settings: &mut Settings<'_>,
    key: &'static str,
    signal: Option<Signal>,
    declared: &mut Declared<B>,
    refuses: impl Fn(&B, Signal) -> Option<String>,
) -> Vec<ComponentId> {
    let before = settings.faults();
    let ids = resolve(settings, key, signal, declared, refuses);
    if ids.is_empty() && settings.faults() == before && signal.is_some() {
        settings.reject(key, format!("at least one {}", key.trim_end_matches('s')));
    }
    ids
}

/// Reads a list of component ids. Each must be declared under the section called like the list, support the
/// signal, and stand there once.
fn resolve<B>(
    settings: &mut Settings<'_>,
    key: &'static str,
    signal: Option<Signal>,
    declared: &mut Declared<B>,
    refuses: impl Fn(&B, Signal) -> Option<String>,
) -> Vec<ComponentId> {
    let mut ids = IndexSet::new();
    for (id, item) in settings.placed_list::<ComponentId>(key).unwrap_or_default() {
        let Some(component) = declared.get_mut(&id) else {
            settings.reject_item(&item, undeclared(key, &id, declared.keys()));
            continue;
        };
        component.used = true;
        if let (Some(signal), Some((description, made))) = (signal, &component.made) {
            let reason = unsupported(description, signal).or_else(|| refuses(made, signal));
            if let Some(reason) = reason {
                settings.reject_item(&item, reason);
            }
        }
        if !ids.insert(id) {
            settings.reject_item(&item, "named twice in one list");
        }
    }
    settings.record(key, Value::Sequence(ids.iter().map(Setting::show).collect()));
    ids.into_iter().collect()
}

fn unsupported(description: &Description, signal: Signal) -> Option<String> {
    let names: Vec<_> = description.signals.iter().map(|(signal, _)| signal.name()).collect();
    let reason =
        || format!("{} does not support {signal}; it supports: {}", description.kind, names.join(", "));
    description.stability(signal).is_none().then(reason)
}

fn refuse_unused<B>(root: &mut Settings<'_>, declared: &Declared<B>, user: &str) {
    for component in declared.values().filter(|component| !component.used) {
        let reason = format!("not used; expected to be named in `{user}`, or removed");
        root.reject_at(&component.at, &component.path, reason);
    }
}

/// The pipelines with a receiver that is enabled; the others are warned of.
fn running(
    root: &mut Settings<'_>,
    receivers: &Declared<Box<dyn ReceiverBlueprint>>,
    pipelines: Vec<Pipeline>,
) -> Vec<Pipeline> {
    let enabled = |id: &ComponentId| {
        receivers
            .get(id)
            .and_then(|component| component.made.as_ref())
            .is_some_and(|(_, made)| made.enabled())
    };
    let (running, idle): (Vec<_>, Vec<_>) =
        pipelines.into_iter().partition(|pipeline| pipeline.receivers.iter().any(enabled));
    for pipeline in &idle {
        let key = format!("service::pipelines::{}", pipeline.name);
        root.warn(&key, "does not run: every receiver of it is disabled");
    }
    if running.is_empty() && !idle.is_empty() {
        root.warn("service::pipelines", "nothing runs: every receiver is disabled");
    }
    running
}

fn blueprints<B>(declared: Declared<B>) -> IndexMap<ComponentId, B> {
    declared.into_iter().filter_map(|(id, component)| component.made.map(|(_, made)| (id, made))).collect()
}

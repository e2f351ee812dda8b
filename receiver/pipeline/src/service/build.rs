//! From the plan to the parts, from the exporters up: each part is built with what it sends to.

use std::collections::HashMap;
use std::sync::Arc;

use super::board::{Board, Seat};
use super::{Part, Service, Stage, fanout};
use crate::component::{
    BuildContext, Component, ComponentError, ComponentId, Consumer, Host, Outputs, Telemetry,
};
use crate::config::{Loaded, Pipeline, Plan};
use crate::data::Signal;

impl Loaded {
    /// Builds every part that a running pipeline or the service names. Nothing is started.
    ///
    /// # Errors
    /// The first part that cannot exist on this host.
    pub fn build(self, telemetry: Arc<dyn Telemetry>) -> Result<Service, ComponentError> {
        let mut builder = Builder { board: Board::new(), telemetry, seats: 0 };
        let mut plan = self.plan;
        let extensions = builder.extensions(&mut plan)?;
        let (exporters, takers) = builder.exporters(&mut plan)?;
        let (processors, entries) = builder.processors(&plan, &takers)?;
        let receivers = builder.receivers(&mut plan, &entries)?;
        let stages = vec![
            Stage { lanes: receivers, share: 0.25 },
            Stage { lanes: processors, share: 0.5 },
            Stage { lanes: exporters, share: 0.95 },
            Stage { lanes: extensions, share: 1.0 },
        ];
        Ok(Service { stages, board: builder.board, telemetry: builder.telemetry })
    }
}

type Lanes = Vec<Vec<Part>>;
type Takers = HashMap<ComponentId, Arc<dyn Consumer>>;

struct Builder {
    board: Arc<Board>,
    telemetry: Arc<dyn Telemetry>,
    seats: usize,
}

impl Builder {
    fn seat(&mut self, id: &ComponentId) -> (Seat, BuildContext) {
        self.seats += 1;
        let seat = Seat::new(&self.board, id, self.seats);
        let host: Arc<dyn Host> = Arc::new(seat.clone());
        (seat, BuildContext { id: id.clone(), telemetry: Arc::clone(&self.telemetry), host })
    }

    fn extensions(&mut self, plan: &mut Plan) -> Result<Lanes, ComponentError> {
        let mut lanes = Lanes::new();
        for (id, blueprint) in plan.extensions.drain(..) {
            let (seat, context) = self.seat(&id);
            lanes.push(lane(seat, blueprint.build(context)?));
        }
        Ok(lanes)
    }

    fn exporters(&mut self, plan: &mut Plan) -> Result<(Lanes, Takers), ComponentError> {
        let (mut lanes, mut takers) = (Lanes::new(), Takers::new());
        for (id, blueprint) in plan.exporters.drain(..) {
            if plan.pipelines.iter().any(|pipeline| pipeline.exporters.contains(&id)) {
                let (seat, context) = self.seat(&id);
                let built = blueprint.build(context)?;
                lanes.push(lane(seat, built.component));
                takers.insert(id, built.consumer);
            }
        }
        Ok((lanes, takers))
    }

    /// The consumers returned are the entries of the pipelines, in the plan's order.
    fn processors(
        &mut self,
        plan: &Plan,
        takers: &Takers,
    ) -> Result<(Lanes, Vec<Arc<dyn Consumer>>), ComponentError> {
        let (mut lanes, mut entries) = (Lanes::new(), Vec::new());
        for pipeline in &plan.pipelines {
            let mut next = end(pipeline, takers)?;
            let mut lane = Vec::new();
            for id in pipeline.processors.iter().rev() {
                let blueprint = plan.processors.get(id).ok_or_else(|| missing(id))?;
                let (seat, context) = self.seat(id);
                let built = blueprint.build(context, next)?;
                next = built.consumer;
                lane.push(Part { seat, component: built.component });
            }
            lane.reverse();
            lanes.push(lane);
            entries.push(next);
        }
        Ok((lanes, entries))
    }

    fn receivers(&mut self, plan: &mut Plan, entries: &[Arc<dyn Consumer>]) -> Result<Lanes, ComponentError> {
        let mut lanes = Lanes::new();
        for (id, blueprint) in plan.receivers.drain(..).filter(|(_, blueprint)| blueprint.enabled()) {
            let output = |signal: Signal| {
                let named =
                    plan.pipelines.iter().zip(entries).filter(|(pipeline, _)| {
                        pipeline.signal == signal && pipeline.receivers.contains(&id)
                    });
                fanout::join(named.map(|(_, entry)| Arc::clone(entry)).collect())
            };
            let next = Outputs {
                logs: output(Signal::Logs),
                metrics: output(Signal::Metrics),
                profiles: output(Signal::Profiles),
            };
            let (seat, context) = self.seat(&id);
            lanes.push(lane(seat, blueprint.build(context, next)?));
        }
        Ok(lanes)
    }
}

fn lane(seat: Seat, component: Box<dyn Component>) -> Vec<Part> {
    vec![Part { seat, component }]
}

/// Where a pipeline's data leaves it.
fn end(pipeline: &Pipeline, takers: &Takers) -> Result<Arc<dyn Consumer>, ComponentError> {
    let mut ends = Vec::new();
    for id in &pipeline.exporters {
        ends.push(Arc::clone(takers.get(id).ok_or_else(|| missing(id))?));
    }
    fanout::join(ends).ok_or_else(|| ComponentError {
        component: ComponentId { kind: pipeline.signal.name().to_owned(), name: String::new() },
        reason: "a pipeline without exporters".to_owned(),
    })
}

/// The check of the configuration rules this out.
fn missing(id: &ComponentId) -> ComponentError {
    ComponentError { component: id.clone(), reason: "named by a pipeline and not declared".to_owned() }
}

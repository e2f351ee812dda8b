//! What is wanted of targets.

use std::time::Duration;

use crate::hunt::scope::Scope;
use crate::hunt::settings::{Budget, HuntSettings};
use crate::investigate::desk::Order;
use crate::investigate::plan::{Filters, Plan};

/// What a configuration says of targets.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::hunt) struct Wanted {
    pub(super) filters: Filters,
    pub(super) budget: Budget,
    pub(super) duration: Duration,
    pub(super) plan: Option<Plan>,
    pub(super) scope: Scope,
}

impl Wanted {
    pub(in crate::hunt) fn of(settings: &HuntSettings) -> Self {
        Self {
            filters: settings.filters.clone(),
            budget: settings.budget,
            duration: settings.target_duration,
            plan: settings.investigate.clone(),
            scope: settings.scope.clone(),
        }
    }

    /// An order, with what it leaves open.
    pub(super) fn plan(&self, order: Order) -> Plan {
        let configured = self.plan.as_ref().map(|plan| plan.rung);
        let rung = order.rung.or(configured).unwrap_or_default();
        let mut filters = Filters { overhead_budget: self.budget.of(rung), ..self.filters.clone() };
        if let Some(size) = order.min_allocation_size {
            filters.min_allocation_size = size;
            filters.large_allocation_size = filters.large_allocation_size.max(size);
        }
        let duration = Some(order.duration.unwrap_or(self.duration));
        Plan { target: order.target, rung, duration, filters, origin: order.origin }
    }
}

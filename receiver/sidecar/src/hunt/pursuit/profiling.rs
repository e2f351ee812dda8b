//! What is told of all stacks while a look goes on: to verdicts the largest ones, and to a pipeline that takes them
//! profiles, once a minute and at the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mlh_pipeline::component::{Loss, Telemetry};
use mlh_pipeline::data::{Data, Signal};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::{Pursuer, TOP, clock};
use crate::investigate::report::Report;
use crate::ladder::{Board, Docket, KnownStacks};
use crate::metrics::stage;
use crate::records::{EventIds, KnownSubjects};

/// So long after the one before. Profiles are cumulative: what is told more often tells little more.
const MINUTE: Duration = Duration::from_secs(60);
/// So often verdicts learn anew who holds the most: a verdict takes two minutes at least.
const NOTED: Duration = Duration::from_secs(10);
/// The stacks in a profile: those that hold the most. With 64 frames each and long names these are some tens of MiB.
const STACKS: usize = 1024;

impl Pursuer {
    /// Has profiles sent there, and the stacks that hold the most noted there.
    pub(in crate::hunt) fn profiling(
        self,
        profiles: Option<Sender<ExportProfilesServiceRequest>>,
        known: Arc<KnownStacks>,
    ) -> Self {
        Self { profiles, known, ..self }
    }

    /// Has it written there who is looked at, tells there what is seen of suspects, and takes event ids from where the ladder does.
    pub(in crate::hunt) fn beside(
        mut self,
        board: Arc<Board>,
        docket: Option<Arc<Docket>>,
        ids: EventIds,
    ) -> Self {
        self.pursuit.encoder.share_ids(ids);
        Self { board, docket, ..self }
    }

    /// As many stacks as the last report of a look is to have for its profiles: none, where nobody takes them.
    pub(super) fn profiled_stacks(&self) -> usize {
        self.profiles.as_ref().map_or(0, |_| STACKS)
    }

    /// Notes and sends the look as it stands, where it is time.
    pub(super) fn profile(&mut self) {
        let Some(current) = &mut self.pursuit.current else { return };
        let is_due = self.profiles.is_some() && current.profiled.elapsed() >= MINUTE;
        if !is_due && current.noted.elapsed() < NOTED {
            return;
        }
        let top = if is_due { STACKS } else { TOP };
        let Some(now) = self.now() else { return };
        let Some(current) = &mut self.pursuit.current else { return };
        current.noted = Instant::now();
        let report = current.report(now, top);
        let noted = current.noted;
        // the verdict that a testimony leads to has to find who is to blame
        self.known.set(&report);
        self.testify(now, &report);
        if is_due {
            let Some(current) = &mut self.pursuit.current else { return };
            current.profiled = noted;
            let subjects = current.investigation.subjects();
            self.send_profiles(&report, &subjects);
        }
    }

    /// Sends a report as profiles. A full channel loses them.
    pub(super) fn send_profiles(&self, report: &Report, subjects: &KnownSubjects) {
        let Some(profiles) = &self.profiles else { return };
        let Some(clock) = clock() else { return };
        let request = self.pursuit.encoder.profiles(report, subjects, &clock);
        if request.resource_profiles.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(request)) = profiles.try_send(request) {
            let count = Data::Profiles(request).items() as u64;
            self.metrics.lost(Signal::Profiles, Loss { stage: stage::CHANNEL, count });
        }
    }
}

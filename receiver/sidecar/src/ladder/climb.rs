//! One climb, from the suspicion to its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mlh_detect::{About, Rung, Says, Testimony};
use mlh_stacks::modules::Modules;
use mlh_targets::container::ContainerId;
use mlh_targets::groups::Group;
use mlh_targets::points::{Finder, Runtime, Wish};

use super::board::{Board, Climbing};
use super::case::Case;
use super::climber::Wanted;
use super::coldness::Coldness;
use super::docket::{Closed, Docket};
use super::growth_stacks::GrowthStacks;
use super::knowledge::Knowledge;
use super::known::KnownStacks;
use super::outside::Outside;
use super::probes::Probes;
use super::rung::{Look, Paid};
use crate::hunt::scope::{Candidate, Scope};
use crate::investigate::bell::Bell;
use crate::investigate::plan::{End, Mode, Rung as LookRung, Target};
use crate::investigate::report::{Cost, GrowthStack, Report};
use crate::records::{Subject, culprit};

/// Stock is taken this often: a verdict that waits for it waits no longer.
const STOCK: Duration = Duration::from_secs(5);
/// A rung has so long to find who is to blame before the next one is tried.
const HIGHER: Duration = Duration::from_secs(60);
/// Before that no cost is judged: the first second tells nothing of a minute.
const SETTLED: Duration = Duration::from_secs(10);
/// Sentences on what was not seen.
const MAX_NOTES: usize = 16;
/// Culprits on the board.
const SHOWN: usize = 3;

/// What a climb and the rest of the sidecar have in common.
#[derive(Clone, Copy)]
pub(super) struct Doors<'a> {
    pub(super) docket: &'a Docket,
    pub(super) known: &'a KnownStacks,
    pub(super) board: &'a Board,
}

pub(super) struct Climb {
    pub(super) case: Case,
    /// Cases that this climb covers as well.
    joined: Vec<Case>,
    pub(super) target: Target,
    /// Of a container its cgroups.
    group: Option<Group>,
    pub(super) began: Duration,
    looks: Vec<Box<dyn Look>>,
    /// The highest rung that was tried.
    highest: Rung,
    /// Rungs that cannot be climbed here, or were left, and why.
    refused: BTreeSet<String>,
    stocked: Duration,
    /// When the last rung was begun.
    risen: Duration,
    /// Why the last rung was left.
    left: Option<End>,
    /// What rungs had cost that were left.
    paid: Paid,
    /// What is known by now.
    pub(super) knowledge: Option<Arc<Knowledge>>,
    /// Memory was seen to be kept.
    kept: bool,
}

impl Climb {
    /// Begins with every rung that may be climbed.
    ///
    /// # Errors
    /// None can: why, in sentences.
    pub(super) fn begin(
        case: Case,
        target: Target,
        wanted: &Wanted,
        docket: &Docket,
        now: Duration,
    ) -> Result<Self, String> {
        let group = match &target {
            Target::Pid(_) => None,
            Target::CgroupId(id) => Some(Group::by_id(*id)),
            Target::Cgroup(path) => Some(Group::by_path(path)),
            Target::Container(id) => Some(Group::by_container(id)),
        };
        let mut new = Self::with(case, target, now, Vec::new());
        new.group = group.transpose().map_err(|error| error.to_string())?;
        let pids = new.pids(&wanted.scope).ok_or("it has ended")?;
        let leader = new.case.leader.map_or(new.case.subject.reading.pid, |leader| leader.pid);
        let leader = if pids.contains(&leader) { leader } else { pids.first().copied().unwrap_or(leader) };
        if wanted.escalation.max_rung >= Rung::Outside {
            match Outside::begin(leader, now) {
                Ok(look) => new.looks.push(Box::new(look)),
                Err(reason) => new.refuse(Rung::Outside, &reason),
            }
        }
        let runtime = runtime(leader);
        if wanted.escalation.max_rung >= Rung::Coldness && wanted.escalation.coldness {
            let others = !new.looks.is_empty();
            match Coldness::begin(leader, runtime, wanted.budget, now, others) {
                Ok(look) => new.looks.push(Box::new(look)),
                Err(reason) => new.refuse(Rung::Coldness, &reason),
            }
        }
        if wanted.escalation.max_rung >= Rung::GrowthStacks {
            match GrowthStacks::begin(&new.target, &wanted.filters, &pids, runtime, now) {
                Ok(look) => new.looks.push(Box::new(look)),
                Err(reason) => new.refuse(Rung::GrowthStacks, &reason),
            }
        }
        if new.looks.is_empty() {
            new.rise(now, wanted, &docket.bell());
        }
        if new.looks.is_empty() {
            return Err(new.refused.into_iter().collect::<Vec<_>>().join("; "));
        }
        Ok(new)
    }

    fn with(case: Case, target: Target, now: Duration, looks: Vec<Box<dyn Look>>) -> Self {
        Self {
            case,
            joined: Vec::new(),
            target,
            group: None,
            began: now,
            looks,
            highest: Rung::GrowthStacks,
            refused: BTreeSet::new(),
            stocked: now,
            risen: now,
            left: None,
            paid: Paid::default(),
            knowledge: None,
            kept: false,
        }
    }

    fn refuse(&mut self, rung: Rung, reason: &str) {
        if self.refused.len() < MAX_NOTES {
            self.refused.insert(format!("{}: {reason}", rung.name()));
        }
    }

    /// It is for this case as well, which it covers.
    pub(super) fn join(&mut self, case: Case) {
        self.joined.push(case);
    }

    /// Every case that it is for.
    pub(super) fn cases(&self) -> impl Iterator<Item = &Case> {
        std::iter::once(&self.case).chain(&self.joined)
    }

    /// Who is to be looked at now. `None`: nobody is left.
    pub(super) fn pids(&self, scope: &Scope) -> Option<Vec<u32>> {
        let Some(group) = &self.group else {
            let reading = &self.case.subject.reading;
            return reading.is_at_its_pid().then(|| vec![reading.pid]);
        };
        let own = std::process::id();
        let mut pids = group.pids()?;
        pids.retain(|pid| *pid != own && is_admitted(scope, *pid, group));
        (!pids.is_empty()).then_some(pids)
    }

    /// Goes on. Once a second, and when something was told. Why it has ended, where it has.
    pub(super) fn step(&mut self, now: Duration, wanted: &Wanted, doors: &Doors<'_>) -> Option<End> {
        let Doors { docket, known, board } = *doors;
        match docket.closed(&self.case.about) {
            Some(Closed::Verdict) => return Some(End::Verdict),
            Some(Closed::Cleared(how)) => return Some(End::Cleared(how)),
            None => {}
        }
        let Some(pids) = self.pids(&wanted.scope) else { return Some(End::TargetGone) };
        // whoever is asked for by name comes first
        if board.is_ordered(&pids) {
            return Some(End::Replaced);
        }
        let quiet = self.looks.iter().any(|look| look.wants_quiet());
        for look in &mut self.looks {
            look.hush(quiet);
            look.step(now, &pids);
        }
        self.leave_over();
        self.leave_dear(now, wanted.budget);
        if self.looks.is_empty() {
            return Some(self.left.take().unwrap_or(End::Elapsed));
        }
        if now.saturating_sub(self.stocked) >= STOCK {
            self.stocked = now;
            self.take_stock(now);
            // the verdict that a testimony leads to has to find them
            self.note(known);
            self.testify(docket);
        }
        if !self.blames() && now.saturating_sub(self.risen) >= HIGHER {
            self.rise(now, wanted, &docket.bell());
        }
        let is_told = docket.stage(&self.case.about) == Some(mlh_detect::Stage::Leaking);
        if is_told && self.blames() {
            return Some(End::Verdict);
        }
        (now.saturating_sub(self.began) >= wanted.duration).then_some(End::Elapsed)
    }

    /// Memory is kept, and it is known who is to blame.
    fn blames(&self) -> bool {
        self.kept && self.knowledge.as_ref().is_some_and(|known| !known.leads.is_empty())
    }

    /// Climbs to the next rung that places probes, where it may. It takes the place of the one before: probes hide callers from whoever
    /// else looks at stacks meanwhile.
    fn rise(&mut self, now: Duration, wanted: &Wanted, bell: &Arc<Bell>) {
        let Some(next) = Rung::ALL.into_iter().find(|rung| *rung > self.highest) else { return };
        if next > wanted.escalation.max_rung {
            return;
        }
        (self.risen, self.highest) = (now, next);
        match Probes::begin(next, &self.target, &self.case, wanted, Arc::clone(bell)) {
            Ok(look) => {
                let (left, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.looks)
                    .into_iter()
                    .partition(|look| look.rung() >= Rung::GrowthStacks);
                self.paid.target += left.iter().map(|look| look.paid().target).sum::<Duration>();
                self.looks = stay;
                self.looks.push(Box::new(look));
            }
            Err(reason) => self.refuse(next, &reason),
        }
    }

    /// Leaves the rungs that have ended by themselves.
    fn leave_over(&mut self) {
        let (over, looks): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.looks).into_iter().partition(|look| look.over().is_some());
        self.looks = looks;
        for look in over {
            self.paid.target += look.paid().target;
            self.left = look.over().cloned();
        }
    }

    /// When a step is due before the second is over.
    pub(super) fn until_due(&self) -> Option<Duration> {
        self.looks.iter().filter_map(|look| look.until_due()).min()
    }

    /// Leaves the rungs that cost more than the budget.
    fn leave_dear(&mut self, now: Duration, budget: Option<f64>) {
        let lasted = now.saturating_sub(self.began);
        let Some(budget) = budget.filter(|_| lasted >= SETTLED) else { return };
        let allowed = lasted.mul_f64(budget);
        let (dear, looks): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.looks).into_iter().partition(|look| look.paid().target > allowed);
        self.looks = looks;
        for look in dear {
            self.paid.target += look.paid().target;
            self.refuse(look.rung(), "it cost the target more than overhead_budget allows");
            self.left = Some(End::OverBudget);
        }
    }

    fn take_stock(&mut self, now: Duration) {
        self.looks.iter_mut().for_each(|look| look.see(now));
        let part = self.part(&self.case);
        self.kept |= self.looks.iter().flat_map(|look| look.says(part)).any(|said| is_kept(&said));
        self.knowledge = self.known(&self.case).or(self.knowledge.take());
    }

    /// Notes who is to blame in each of its cases.
    pub(super) fn note(&self, known: &KnownStacks) {
        for case in self.cases() {
            if let Some(found) = self.known(case) {
                known.note(case.about, found);
            }
        }
    }

    /// Has the judge told what was seen of every case.
    fn testify(&self, docket: &Docket) {
        for case in self.cases() {
            for testimony in self.looks.iter().flat_map(|look| look.says(self.part(case))) {
                docket.testify(case.about, testimony);
            }
        }
    }

    /// Which part of what is looked at a case is about: `None` for all of it.
    fn part(&self, case: &Case) -> Option<u32> {
        match case.about {
            About::Process(key) if self.group.is_some() => Some(key.pid),
            _ => None,
        }
    }

    /// Who is to blame: as the dearest rung tells it, which sees the most.
    fn known(&self, case: &Case) -> Option<Arc<Knowledge>> {
        let part = self.part(case);
        let dearest_first = self.looks.iter().rev();
        let mut leads = dearest_first.map(|look| (look.leads(part), look.source()));
        let (leads, source) = leads.find(|(leads, _)| !leads.is_empty()).unwrap_or_default();
        let kinds: Vec<_> = self.looks.iter().flat_map(|look| look.kinds()).collect();
        let is_known = !leads.is_empty() || !kinds.is_empty();
        is_known.then(|| Arc::new(Knowledge { leads, kinds, source, not_seen: self.not_seen() }))
    }

    /// What the sidecar does for it beyond growth detection: reading from outside, and having the kernel note references, is none of its modes.
    pub(super) fn mode(&self) -> Option<Mode> {
        let mode = |rung| match rung {
            Rung::Trend | Rung::Outside | Rung::Coldness => None,
            Rung::GrowthStacks => Some(Mode::Investigating(LookRung::GrowthStacks)),
            Rung::GateProbes | Rung::FullProbes => Some(Mode::Investigating(LookRung::Targeted)),
        };
        self.looks.iter().rev().find_map(|look| mode(look.rung()))
    }

    /// What was not seen, in sentences.
    fn not_seen(&self) -> Vec<String> {
        let seen = self.looks.iter().flat_map(|look| look.not_seen().iter().cloned());
        self.refused.iter().cloned().chain(seen).take(MAX_NOTES).collect()
    }

    /// What it has cost by now.
    pub(super) fn paid(&self) -> Paid {
        self.looks.iter().map(|look| look.paid()).fold(self.paid, |sum, paid| Paid {
            target: sum.target.saturating_add(paid.target),
            kernel_bytes: sum.kernel_bytes.saturating_add(paid.kernel_bytes),
        })
    }

    /// The same, as a share of one CPU's time.
    pub(super) fn cost(&self, now: Duration) -> Cost {
        let (paid, lasted) = (self.paid(), now.saturating_sub(self.began).as_secs_f64());
        let share = if lasted > 0.0 { paid.target.as_secs_f64() / lasted } else { 0.0 };
        Cost {
            target_cpu_share: share,
            kernel_bytes: paid.kernel_bytes,
            watched_share: self.looks.iter().map(|look| look.watched_share()).fold(1.0, f64::min),
            ..Cost::default()
        }
    }

    pub(super) fn subject(&self) -> Arc<Subject> {
        Arc::clone(&self.case.subject)
    }

    /// As the board shows it.
    pub(super) fn shown(&self, now: Duration) -> Climbing {
        let leads = self.knowledge.iter().flat_map(|knowledge| &knowledge.leads);
        Climbing {
            target: self.target.to_string(),
            rungs: self.looks.iter().map(|look| look.rung()).collect(),
            stage: self.case.stage,
            lasted: now.saturating_sub(self.began),
            culprits: leads.take(SHOWN).map(culprit).collect(),
        }
    }

    /// As profiles take it.
    pub(super) fn report(&self, now: Duration) -> Report {
        let growth: Vec<GrowthStack> = self.looks.iter().flat_map(|look| look.growth()).cloned().collect();
        Report {
            rung: LookRung::GrowthStacks,
            started: self.began,
            lasted: now.saturating_sub(self.began),
            growth,
            cost: self.cost(now),
            ..Report::default()
        }
    }
}

/// What runs there; where that cannot be read, nothing that collects.
fn runtime(pid: u32) -> Runtime {
    let Ok(modules) = Modules::read(pid) else { return Runtime::Native };
    Finder::new().find(pid, &modules, &Wish { min_allocation_size: u64::MAX }).runtime
}

fn is_kept(testimony: &Testimony) -> bool {
    matches!(testimony.says, Says::Kept { .. })
}

/// Whether `include` and `exclude` let a process of a group be looked at.
fn is_admitted(scope: &Scope, pid: u32, group: &Group) -> bool {
    if scope.is_everybody() {
        return true;
    }
    let executable = mlh_targets::executable::path(pid).map(|path| path.display().to_string());
    let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    scope.admits(&Candidate {
        executable: executable.as_deref(),
        command: command.trim_end(),
        container: group.container_id.as_ref().map(ContainerId::as_str),
        cgroup: Some(&group.path),
    })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
pub(super) mod tests;

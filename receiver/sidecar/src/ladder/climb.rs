//! One climb, from the suspicion to its end.

mod blaming;
mod turning;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mlh_detect::{About, Rung, Says, Testimonies, Testimony};
use mlh_targets::container::ContainerId;
use mlh_targets::groups::Group;

use super::board::{Board, Climbing};
use super::case::Case;
use super::climber::Wanted;
use super::coldness::Coldness;
use super::copies::Copies;
use super::docket::{Closed, Docket};
use super::knowledge::{Knowledge, Lead};
use super::known::KnownStacks;
use super::outside::Outside;
use super::rung::{Look, Paid, runtime};
use crate::hunt::scope::{Candidate, Scope};
use crate::investigate::plan::{End, Mode, Rung as LookRung, Target};
use crate::investigate::report::{Cost, GrowthStack, Report};
use crate::records::{Subject, culprit};

/// Stock is taken this often: a verdict that waits for it waits no longer.
const STOCK: Duration = Duration::from_secs(5);
/// A rung has so long to find who is to blame before the next one is tried.
const HIGHER: Duration = Duration::from_secs(60);
/// The same where it has found somebody, with a doubt: the first verdicts fall little more than a minute after a suspicion, and probes are
/// to have been at work by then.
const HIGHER_IN_DOUBT: Duration = Duration::from_secs(35);
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
    /// So many climbs there are, this one among them.
    pub(super) beside: u32,
    /// Others wait until there is room for them.
    pub(super) crowded: bool,
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
    /// Since when it has its turn, where it has: else what takes turns rests.
    turn: Option<Duration>,
    /// When its last turn was over.
    rested: Option<Duration>,
    /// How long the turns before this one have been.
    turned: Duration,
    /// How long its turns had been when the last rung was begun.
    risen: Duration,
    /// Why the last rung was left.
    left: Option<End>,
    /// Whom the rung below had found when the next one took its place, and by what: better than nobody.
    below: (Vec<Lead>, &'static str),
    /// What rungs had cost the target that were left: of those that take turns,
    paid_in_turns: Duration,
    /// and of the others.
    paid_beside: Duration,
    /// Its turns are over for good.
    spent: bool,
    /// What is known by now.
    pub(super) knowledge: Option<Arc<Knowledge>>,
    /// Memory was seen to be kept.
    kept: bool,
}

impl Climb {
    /// Begins with what bounds its own cost and is asked of all; what takes turns waits for its [`turn`](Self::take_turn).
    ///
    /// # Errors
    /// Nobody can be looked at: why, in a sentence.
    pub(super) fn begin(case: Case, target: Target, wanted: &Wanted, now: Duration) -> Result<Self, String> {
        let group = match &target {
            Target::Pid(_) => None,
            Target::CgroupId(id) => Some(Group::by_id(*id)),
            Target::Cgroup(path) => Some(Group::by_path(path)),
            Target::Container(id) => Some(Group::by_container(id)),
        };
        let mut new = Self::with(case, target, now, Vec::new());
        new.group = group.transpose().map_err(|error| error.to_string())?;
        let pids = new.pids(&wanted.scope).ok_or("it has ended")?;
        if wanted.escalation.max_rung >= Rung::Outside {
            match Outside::begin(new.leader(&pids), now) {
                Ok(look) => new.looks.push(Box::new(look)),
                Err(reason) => new.refuse(Rung::Outside, &reason),
            }
            let copies = new.group.as_ref().and_then(|_| Copies::begin(&pids, now));
            new.looks.extend(copies.map(|copies| Box::new(copies) as Box<dyn Look>));
        }
        if wanted.escalation.max_rung >= Rung::Coldness && wanted.escalation.coldness {
            let (leader, others) = (new.leader(&pids), !new.looks.is_empty());
            match Coldness::begin(leader, runtime(leader), wanted.budget, now, others) {
                Ok(look) => new.looks.push(Box::new(look)),
                Err(reason) => new.refuse(Rung::Coldness, &reason),
            }
        }
        Ok(new)
    }

    /// Of these the one that grew most.
    fn leader(&self, pids: &[u32]) -> u32 {
        let leader = self.case.leader.map_or(self.case.subject.reading.pid, |leader| leader.pid);
        if pids.contains(&leader) { leader } else { pids.first().copied().unwrap_or(leader) }
    }

    fn with(case: Case, target: Target, now: Duration, looks: Vec<Box<dyn Look>>) -> Self {
        let highest = looks.iter().map(|look| look.rung()).fold(Rung::Coldness, Rung::max);
        Self {
            case,
            joined: Vec::new(),
            target,
            group: None,
            began: now,
            looks,
            highest,
            refused: BTreeSet::new(),
            stocked: now,
            turn: None,
            rested: None,
            turned: Duration::ZERO,
            risen: Duration::ZERO,
            left: None,
            below: (Vec::new(), ""),
            paid_in_turns: Duration::ZERO,
            paid_beside: Duration::ZERO,
            spent: false,
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
        let Doors { docket, known, board, beside, crowded } = *doors;
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
        for look in &mut self.looks {
            look.share(beside);
            look.step(now, &pids);
        }
        // from the very moment on at which one of them begins to note references
        let quiet = self.looks.iter().any(|look| look.wants_quiet());
        self.looks.iter_mut().for_each(|look| look.hush(quiet));
        self.leave_over();
        self.leave_dear(now, wanted.budget);
        if self.looks.is_empty() && !self.wants_turn(wanted) {
            let refused = || self.refused.iter().cloned().collect::<Vec<_>>().join("; ");
            return Some(self.left.take().unwrap_or_else(|| End::Failed(refused())));
        }
        if now.saturating_sub(self.stocked) >= STOCK {
            self.stocked = now;
            self.take_stock(now);
            // the verdict that a testimony leads to has to find them
            self.note(known);
            self.testify(docket);
        }
        let at_work = self.at_work(now);
        if self.turn.is_some() && !self.blames() && at_work.saturating_sub(self.risen) >= self.patience() {
            self.rise(now, wanted, &docket.bell());
        }
        let awaits = self.awaits_culprit(now, wanted);
        self.cases().for_each(|case| docket.set_awaits(&case.about, awaits));
        let is_told = docket.stage(&self.case.about) == Some(mlh_detect::Stage::Leaking);
        if is_told && self.is_settled(now, wanted) {
            return Some(End::Verdict);
        }
        // who waits for a turn keeps nobody out, as long as there is room
        let lasted =
            if self.wants_turn(wanted) && !crowded { at_work } else { now.saturating_sub(self.began) };
        if lasted < wanted.duration {
            return None;
        }
        if crowded || !self.is_spared() {
            return Some(End::Elapsed);
        }
        // that costs next to nothing, and what it holds back would be told as soon as it is not said any more
        self.leave_what_takes_turns(now);
        None
    }

    /// How long the rung at work has to find who is to blame.
    fn patience(&self) -> Duration {
        let has_found = self.has_leads() || self.looks.iter().any(|look| !look.growth().is_empty());
        if has_found { HIGHER_IN_DOUBT } else { HIGHER }
    }

    /// It is seen without a turn that nothing is kept, or that it is in use.
    fn is_spared(&self) -> bool {
        let part = self.part(&self.case);
        let free = self.looks.iter().filter(|look| !takes_turns(look.rung()));
        free.flat_map(|look| look.says(part)).any(|said| matches!(said.says, Says::Spare(_)))
    }

    /// Leaves the rungs that have ended by themselves.
    fn leave_over(&mut self) {
        for look in self.leave(|look| look.over().is_some()) {
            self.left = look.over().cloned();
        }
    }

    /// Leaves some of the rungs; what they have cost is kept.
    fn leave(&mut self, is_left: impl Fn(&dyn Look) -> bool) -> Vec<Box<dyn Look>> {
        let (left, stay): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.looks).into_iter().partition(|look| is_left(look.as_ref()));
        self.looks = stay;
        for look in &left {
            self.pay(look.rung(), look.paid().target);
        }
        left
    }

    fn pay(&mut self, rung: Rung, target: Duration) {
        let sum = if takes_turns(rung) { &mut self.paid_in_turns } else { &mut self.paid_beside };
        *sum = sum.saturating_add(target);
    }

    /// When a step is due before the second is over.
    pub(super) fn until_due(&self) -> Option<Duration> {
        self.looks.iter().filter_map(|look| look.until_due()).min()
    }

    /// Leaves the rungs that cost more than the budget.
    fn leave_dear(&mut self, now: Duration, budget: Option<f64>) {
        let Some(budget) = budget else { return };
        let time_of = self.times(now);
        let dear = self.leave(|look| {
            let time = time_of(look.rung());
            time >= SETTLED && look.paid().target > time.mul_f64(budget)
        });
        for look in dear {
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
        let awaits = self.looks.iter().any(|look| look.is_awaited());
        for case in self.cases() {
            let said = self.looks.iter().flat_map(|look| look.says(self.part(case)));
            for testimony in said.filter(|said| !awaits || !is_kept(said)) {
                docket.testify(case.about, testimony);
            }
        }
    }

    /// What all of them say of its first case.
    pub(super) fn evidence(&self) -> Testimonies {
        let part = self.part(&self.case);
        self.looks.iter().flat_map(|look| look.says(part)).collect()
    }

    /// Which part of what is looked at a case is about: `None` for all of it.
    fn part(&self, case: &Case) -> Option<u32> {
        match case.about {
            About::Process(key) if self.group.is_some() => Some(key.pid),
            _ => None,
        }
    }

    /// What the sidecar does for it beyond growth detection: reading from outside, and having the kernel note references, is none of
    /// its modes.
    pub(super) fn mode(&self) -> Option<Mode> {
        let mode = |rung| match rung {
            Rung::Trend | Rung::Outside | Rung::Coldness => None,
            Rung::GrowthStacks => Some(Mode::Investigating(LookRung::GrowthStacks)),
            Rung::GateProbes | Rung::FullProbes => Some(Mode::Investigating(LookRung::Targeted)),
        };
        self.turn.and_then(|_| self.looks.iter().rev().find_map(|look| mode(look.rung())))
    }

    /// The time that a rung is charged for: what takes turns works in these alone.
    fn times(&self, now: Duration) -> impl Fn(Rung) -> Duration + use<> {
        let (at_work, lasted) = (self.at_work(now), now.saturating_sub(self.began));
        move |rung| if takes_turns(rung) { at_work } else { lasted }
    }

    fn works_on(&self, rung: Rung) -> bool {
        !takes_turns(rung) || self.turn.is_some()
    }

    /// What was not seen, in sentences.
    fn not_seen(&self) -> Vec<String> {
        // records tell the first of them: what the dearest rung could not see matters the most
        let seen = self.looks.iter().rev().flat_map(|look| look.not_seen().iter().cloned());
        self.refused.iter().cloned().chain(seen).take(MAX_NOTES).collect()
    }

    /// What it has cost by now.
    pub(super) fn paid(&self) -> Paid {
        let left = Paid { target: self.paid_in_turns.saturating_add(self.paid_beside), kernel_bytes: 0 };
        self.looks.iter().map(|look| look.paid()).fold(left, |sum, paid| Paid {
            target: sum.target.saturating_add(paid.target),
            kernel_bytes: sum.kernel_bytes.saturating_add(paid.kernel_bytes),
        })
    }

    /// The same, as a share of one CPU's time.
    pub(super) fn cost(&self, now: Duration) -> Cost {
        let share = |part: Duration, all: Duration| {
            if all.is_zero() { 0.0 } else { part.as_secs_f64() / all.as_secs_f64() }
        };
        let (at_work, lasted, time_of) = (self.at_work(now), now.saturating_sub(self.began), self.times(now));
        let looks = self.looks.iter().map(|look| share(look.paid().target, time_of(look.rung())));
        let paid = looks.sum::<f64>() + share(self.paid_in_turns, at_work) + share(self.paid_beside, lasted);
        let watched = self.looks.iter().map(|look| look.watched_share()).fold(1.0, f64::min);
        Cost {
            target_cpu_share: paid,
            kernel_bytes: self.paid().kernel_bytes,
            watched_share: watched * share(at_work, lasted).min(1.0),
            ..Cost::default()
        }
    }

    pub(super) fn subject(&self) -> Arc<Subject> {
        Arc::clone(&self.case.subject)
    }

    /// As the board shows it.
    pub(super) fn shown(&self, now: Duration) -> Climbing {
        let leads = self.knowledge.iter().flat_map(|knowledge| &knowledge.leads);
        let mut rungs: Vec<Rung> =
            self.looks.iter().map(|look| look.rung()).filter(|rung| self.works_on(*rung)).collect();
        // a container has two looks from outside
        rungs.dedup();
        Climbing {
            target: self.target.to_string(),
            rungs,
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

/// Whether a rung costs so much, or hides so much from others, that only some are at work at once.
fn takes_turns(rung: Rung) -> bool {
    rung > Rung::Coldness
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

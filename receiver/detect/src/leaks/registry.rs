//! How verdicts become leaks, and leaks become old.

use std::collections::HashMap;
use std::time::Duration;

use super::identity::LeakId;
use super::leak::{End, Leak, Member, Recognised, Sighting};
use crate::sample::About;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Leaks. Beyond it the one that was seen last longest ago goes, those that nobody has now first.
    pub leaks: usize,
    /// Members of one leak. Beyond it the oldest is not known as one any more.
    pub members: usize,
    /// Bytes of a name.
    pub name: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { leaks: 1024, members: 256, name: 512 }
    }
}

/// All leaks that are known.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    bounds: Bounds,
    leaks: HashMap<LeakId, Leak>,
    /// Which leak each member has.
    members: HashMap<About, LeakId>,
    /// Counts what has changed.
    revision: u64,
}

impl Registry {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Takes a verdict, and says what is known of its leak.
    pub fn sighted(&mut self, sighting: &Sighting<'_>) -> Recognised {
        self.revision += 1;
        let id = self.which(sighting);
        let mut leak = self.leaks.remove(&id).unwrap_or_else(|| self.new_leak(id, sighting));
        // told again, or told better: what was said of it under another id was said of this leak
        if let Some(other) = self.members.get(&sighting.about).copied().filter(|other| *other != id) {
            self.withdraw(other, &sighting.about, &mut leak);
        }
        let before = self.take_same(&mut leak, sighting);
        let is_new = before.is_none();
        if is_new {
            leak.occurrences = leak.occurrences.saturating_add(1);
            leak.velocities.push(sighting.velocity);
        }
        if leak.members.len() >= self.bounds.members.max(1) {
            let oldest = leak.members.remove(0);
            self.members.remove(&oldest.about);
        }
        let member = self.member(sighting, before);
        self.members.insert(member.about, id);
        leak.members.push(member);
        leak.last_seen = leak.last_seen.max(sighting.at);
        let recognised = Recognised { returned: is_new && leak.occurrences > 1, ..leak.recognised() };
        self.leaks.insert(id, leak);
        self.shed();
        recognised
    }

    /// It is over for a member, and this is known of its leak by now. `None`: nobody is known to leak there.
    pub fn ended(&mut self, about: &About, at: Duration, end: End) -> Option<Recognised> {
        let id = self.members.remove(about)?;
        self.revision += 1;
        let leak = self.leaks.get_mut(&id)?;
        let index = leak.members.iter().position(|member| member.about == *about)?;
        let mut member = leak.members.remove(index);
        let lived = member.started.take().map(|started| at.saturating_sub(started).as_secs_f64());
        if let (Some(lived), true) = (lived, end != End::Stopped) {
            leak.lives.push(lived);
        }
        if end == End::Killed {
            leak.kills = leak.kills.saturating_add(1);
            // who was killed is a process, and its container goes on
            if matches!(about, About::Container(_)) {
                self.members.insert(*about, id);
                leak.members.push(member);
            }
        }
        Some(leak.recognised())
    }

    /// The leak that a member has.
    #[must_use]
    pub fn of(&self, about: &About) -> Option<Recognised> {
        Some(self.leaks.get(self.members.get(about)?)?.recognised())
    }

    /// Forgets members that are not there any more, and whose end nobody saw.
    pub fn retain(&mut self, mut is_there: impl FnMut(&Member) -> bool) {
        let Self { leaks, members, revision, .. } = self;
        for member in leaks.values_mut().flat_map(|leak| {
            let (there, gone): (Vec<_>, Vec<_>) =
                std::mem::take(&mut leak.members).into_iter().partition(&mut is_there);
            leak.members = there;
            gone
        }) {
            members.remove(&member.about);
            *revision += 1;
        }
    }

    /// Takes in what was known before, as far as it is not known better. Names beyond the bounds are cut.
    pub fn restore(&mut self, leaks: impl IntoIterator<Item = Leak>) {
        for mut leak in leaks {
            if self.leaks.contains_key(&leak.id) {
                continue;
            }
            leak.executable = self.short(&leak.executable);
            leak.place = leak.place.map(|place| self.short(&place));
            leak.members.truncate(self.bounds.members);
            leak.members.retain(|member| !self.members.contains_key(&member.about));
            self.members.extend(leak.members.iter().map(|member| (member.about, leak.id)));
            self.leaks.insert(leak.id, leak);
            self.shed();
        }
    }

    /// All of them: those that somebody has now first, then the one that was seen last.
    #[must_use]
    pub fn leaks(&self) -> Vec<&Leak> {
        let mut all: Vec<&Leak> = self.leaks.values().collect();
        all.sort_by_key(|leak| std::cmp::Reverse((!leak.members.is_empty(), leak.last_seen, leak.id)));
        all
    }

    /// Grows with every change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The leak that a verdict speaks of. Where it does not say what is to blame and only one leak of the program is known,
    /// it is that one: it was looked at more closely then.
    fn which(&self, sighting: &Sighting<'_>) -> LeakId {
        let id = LeakId::of(&sighting.program, sighting.place.as_ref());
        if sighting.place.is_some() {
            return id;
        }
        let mut placed = self.leaks.values().filter(|leak| leak.program == id && leak.id != id);
        match (placed.next(), placed.next()) {
            (Some(only), None) => only.id,
            _ => id,
        }
    }

    /// Takes a member out of a leak that was not its own; one that nobody else has had becomes `better`.
    fn withdraw(&mut self, id: LeakId, about: &About, better: &mut Leak) {
        self.members.remove(about);
        let Some(leak) = self.leaks.get_mut(&id) else { return };
        leak.members.retain(|member| member.about != *about);
        leak.occurrences = leak.occurrences.saturating_sub(1);
        if leak.occurrences == 0 {
            better.first_seen = better.first_seen.min(leak.first_seen);
            self.leaks.remove(&id);
        }
    }

    fn new_leak(&self, id: LeakId, sighting: &Sighting<'_>) -> Leak {
        Leak {
            id,
            program: LeakId::of(&sighting.program, None),
            executable: self.short(sighting.program.executable),
            place: sighting.place.map(|place| self.short(&place.to_string())),
            first_seen: sighting.at,
            last_seen: sighting.at,
            occurrences: 0,
            kills: 0,
            velocities: super::Recent::default(),
            lives: super::Recent::default(),
            members: Vec::new(),
        }
    }

    /// Takes out who is a member already and of whom the verdict speaks: the same one, or the container that a process is
    /// in, or processes of the container.
    fn take_same(&mut self, leak: &mut Leak, sighting: &Sighting<'_>) -> Option<Member> {
        let (mut same, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut leak.members).into_iter().partition(|member| is_same(member, sighting));
        leak.members = others;
        for member in &same {
            self.members.remove(&member.about);
        }
        same.sort_by_key(|member| (!is_container(&member.about), member.since));
        same.into_iter().next()
    }

    /// The member that a verdict speaks of, who may have been known `before`: a container stands for its processes.
    fn member(&self, sighting: &Sighting<'_>, before: Option<Member>) -> Member {
        let whole = before.as_ref().map(|member| member.about).filter(is_container);
        Member {
            about: whole.unwrap_or(sighting.about),
            process: sighting.process,
            container: sighting.container.map(|container| self.short(container)),
            started: before.as_ref().and_then(|member| member.started).or(sighting.started),
            since: before.map_or(sighting.at, |member| member.since),
            velocity: sighting.velocity,
            bytes: sighting.bytes,
        }
    }

    /// Keeps to the bounds.
    fn shed(&mut self) {
        while self.leaks.len() > self.bounds.leaks.max(1) {
            if !self.forget_oldest() {
                return;
            }
        }
    }

    /// Forgets the leak that was seen last longest ago, of those that nobody has now if there are any. False: there is none.
    pub fn forget_oldest(&mut self) -> bool {
        let age = |leak: &&Leak| (!leak.members.is_empty(), leak.last_seen, leak.id);
        let Some(id) = self.leaks.values().min_by_key(age).map(|leak| leak.id) else { return false };
        self.revision += 1;
        for member in self.leaks.remove(&id).into_iter().flat_map(|leak| leak.members) {
            self.members.remove(&member.about);
        }
        true
    }

    /// At most so many bytes of a name, in whole characters.
    fn short(&self, name: &str) -> String {
        let end = (0..=name.len().min(self.bounds.name)).rev().find(|at| name.is_char_boundary(*at));
        name.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
    }
}

fn is_same(member: &Member, sighting: &Sighting<'_>) -> bool {
    let kinds_differ = is_container(&member.about) != is_container(&sighting.about);
    let together = member.container.is_some() && member.container.as_deref() == sighting.container;
    member.about == sighting.about || (kinds_differ && together)
}

fn is_container(about: &About) -> bool {
    matches!(about, About::Container(_))
}

//! Who makes the objects that stay, on a heap whose collector moves them.
//!
//! Where the next objects will lie is known, and who writes there first makes one. It is followed through the collections; whoever made it has
//! a vote as long as it is there, once it has been for a while: the longer, the less of it is garbage that nobody has collected yet. What is
//! sampled is a share of all bytes that are made: who makes most of what stays has most of the votes.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mlh_detect::growth_stacks::Blocks;
use mlh_stacks::modules::Modules;
use mlh_targets::outside::OutsideError;
use mlh_targets::outside::moving::{Birth, Fate, Object, Objects, Place};

use super::book::Key;
use super::watcher::Watcher;

/// Objects are watched being made so often at most: some hundred a minute are of a leak, where one byte in ten is.
const PACE: Duration = Duration::from_millis(50);
/// It is looked so often what has become of them: what a collection leaves behind is soon overwritten.
pub(super) const LOOKING: Duration = Duration::from_millis(20);
/// What has not been made by then is not waited for; nor, by then, who made what has been.
const PATIENCE: Duration = Duration::from_secs(20);
const TELLING: Duration = Duration::from_secs(2);
/// So old objects are of which it is said that they stay: the first of these that enough are. What is needed for a while is old as well until
/// all that there is has been collected, and what lies there then takes its place.
const AGES: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(30), Duration::from_secs(10)];
/// So many are enough.
const ENOUGH: usize = 12;
/// It is looked so often whether old ones are there.
const COUNTING: Duration = Duration::from_secs(1);
/// And so long it may be young.
const YOUTH: Duration = Duration::from_secs(150);
/// Objects that are followed.
const MAX_FOLLOWED: usize = 1024;
/// Of those so many young ones: each of them is looked at again and again.
const MAX_YOUNG: usize = 768;
/// Stacks of which it is counted how many of their objects died.
const MAX_KEYS: usize = 1024;
/// Its watches have numbers from here on.
const FIRST: u64 = 1 << 63;
/// So often the heap is looked for, once a second: a program that has just begun may have none.
const TRIES: u32 = 10;
const TRYING: Duration = Duration::from_secs(1);

/// An object whose place is watched, or of which its maker is to be told yet.
struct Awaited {
    number: u64,
    place: Place,
    since: Duration,
    object: Option<Object>,
    by: Option<Key>,
}

/// An object whose maker is known.
#[derive(Clone, Copy)]
struct Followed {
    object: Object,
    by: Key,
    /// Bytes that it stands for.
    bytes: u64,
    born: Duration,
    /// Collections that it has survived among young ones.
    survived: u32,
    /// Nothing moves it as a rule.
    is_old: bool,
    /// It is an old one, or was found alive by a collection when it had lived for long.
    stays: bool,
}

/// What stays of what a stack has made.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    objects: u64,
    /// That these stand for.
    bytes: u64,
}

/// How much of what is made was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Made {
    /// Places that were watched.
    pub(super) watched: u64,
    /// Objects there that stay.
    pub(super) stay: u64,
    /// Of which it is not known who made them, or what has become of them.
    pub(super) lost: u64,
}

/// See the module.
pub(super) struct Nursery {
    pid: u32,
    objects: Option<Objects>,
    tries: u32,
    due: Duration,
    number: u64,
    awaited: Vec<Awaited>,
    followed: Vec<Followed>,
    /// When those that stay were counted.
    counted: Duration,
    kept: HashMap<Key, Kept>,
    dead: HashMap<Key, u64>,
    told: u64,
    lost: u64,
}

impl Nursery {
    pub(super) fn of(pid: u32) -> Self {
        Self {
            pid,
            objects: None,
            tries: 0,
            due: Duration::ZERO,
            number: FIRST,
            awaited: Vec::new(),
            followed: Vec::new(),
            counted: Duration::ZERO,
            kept: HashMap::new(),
            dead: HashMap::new(),
            told: 0,
            lost: 0,
        }
    }

    /// Nothing that is watched now will tell anything.
    pub(super) fn give_up(&mut self, watcher: Option<&mut Box<dyn Watcher>>) {
        if let Some(watcher) = watcher {
            self.awaited.iter().for_each(|awaited| watcher.release(awaited.number));
        }
        self.lose_awaited();
    }

    fn lose_awaited(&mut self) {
        self.lost += self.awaited.len() as u64;
        self.awaited.clear();
    }

    /// Nobody looks often for a while: what is young would be lost.
    pub(super) fn rest(&mut self) {
        self.lose_awaited();
        let before = self.followed.len();
        self.followed.retain(|it| it.is_old);
        self.lost += (before - self.followed.len()) as u64;
    }

    /// The address is in the heap that objects are moved about in.
    pub(super) fn has(&self, address: u64) -> bool {
        self.objects.as_ref().is_some_and(|objects| objects.has(address))
    }

    /// The heap has been found.
    pub(super) fn is_found(&self) -> bool {
        self.objects.is_some()
    }

    /// Some place is watched now.
    pub(super) fn is_watching(&self) -> bool {
        self.awaited.iter().any(|it| it.object.is_none())
    }

    /// Where this watch is, if it is to tell something.
    pub(super) fn address(&self, number: u64) -> Option<u64> {
        self.awaited.iter().find(|it| it.number == number).map(|it| it.place.address)
    }

    /// Somebody has written there. `None`: it is nobody to blame for what it wrote.
    pub(super) fn written(&mut self, number: u64, by: Option<Key>) {
        let Some(awaited) = self.awaited.iter_mut().find(|it| it.number == number) else { return };
        awaited.by = awaited.by.or(by);
    }

    /// Sees what has become of the objects. Costs the process nothing.
    ///
    /// # Errors
    /// Nothing will come of it: a sentence.
    pub(super) fn follow(&mut self, now: Duration) -> Result<(), String> {
        let Some(objects) = &mut self.objects else { return self.find(now) };
        let is_due = now.saturating_sub(self.counted) >= COUNTING;
        if is_due && !objects.is_there() {
            // another program runs there, or will
            *self = Self { number: self.number, told: self.told, lost: self.told, ..Self::of(self.pid) };
            return Ok(());
        }
        objects.look();
        let (dead, lost) = (&mut self.dead, &mut self.lost);
        self.followed.retain_mut(|it| {
            if it.is_old && !is_due {
                return true;
            }
            let age = now.saturating_sub(it.born);
            match objects.fate(&mut it.object) {
                Fate::Young(survived) => {
                    it.stays |= survived > it.survived && AGES.last().is_some_and(|least| age >= *least);
                    it.survived = survived;
                    let goes_on = it.stays || age < YOUTH;
                    *lost += u64::from(!goes_on);
                    goes_on
                }
                Fate::Old => {
                    (it.is_old, it.stays) = (true, true);
                    true
                }
                Fate::Dead => {
                    if dead.len() < MAX_KEYS || dead.contains_key(&it.by) {
                        *dead.entry(it.by).or_default() += 1;
                    }
                    false
                }
                Fate::Lost => {
                    *lost += 1;
                    false
                }
            }
        });
        if is_due {
            self.counted = now;
            self.count(now);
        }
        Ok(())
    }

    fn count(&mut self, now: Duration) {
        let is = |it: &&Followed, age: Duration| it.stays && now.saturating_sub(it.born) >= age;
        let enough = |age: &Duration| self.followed.iter().filter(|it| is(it, *age)).count() >= ENOUGH;
        let age = AGES.into_iter().find(enough).or(AGES.last().copied()).unwrap_or_default();
        self.kept.clear();
        for it in self.followed.iter().filter(|it| is(it, age)) {
            let kept = self.kept.entry(it.by).or_default();
            kept.objects += 1;
            kept.bytes = kept.bytes.saturating_add(it.bytes);
        }
    }

    fn find(&mut self, now: Duration) -> Result<(), String> {
        if now < self.due {
            return Ok(());
        }
        let modules = Modules::read(self.pid).map_err(|error| OutsideError::Refused(error.to_string()));
        match modules.and_then(|modules| Objects::find(self.pid, &modules)) {
            Ok(objects) => self.objects = Some(objects),
            Err(OutsideError::Unknown(_)) if self.tries < TRIES => {
                self.tries += 1;
                self.due = now + TRYING;
            }
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }

    /// Takes note of what has been made, and watches other places, no more than `most` at once.
    ///
    /// # Errors
    /// The kernel refuses to watch: why.
    pub(super) fn watch(
        &mut self,
        now: Duration,
        watcher: &mut dyn Watcher,
        most: usize,
    ) -> Result<(), String> {
        let Some(objects) = &mut self.objects else { return Ok(()) };
        let (followed, lost) = (&mut self.followed, &mut self.lost);
        self.awaited.retain_mut(|it| {
            let patience = if it.object.is_none() { PATIENCE } else { TELLING };
            let is_late = now.saturating_sub(it.since) >= patience;
            match &mut it.object {
                None => match objects.birth(&it.place) {
                    Birth::Awaited if !is_late => return true,
                    Birth::Object(object) => {
                        it.object = Some(object);
                        it.since = now;
                        watcher.release(it.number);
                    }
                    Birth::Awaited | Birth::Missed => {
                        watcher.release(it.number);
                        *lost += 1;
                        return false;
                    }
                },
                Some(object) => match objects.fate(object) {
                    Fate::Lost => {
                        *lost += 1;
                        return false;
                    }
                    Fate::Young(_) | Fate::Old | Fate::Dead => {}
                },
            }
            let (Some(object), Some(by)) = (it.object, it.by) else {
                *lost += u64::from(is_late);
                return !is_late;
            };
            if followed.len() >= MAX_FOLLOWED {
                followed.swap_remove(fastrand::usize(..MAX_FOLLOWED));
                *lost += 1;
            }
            let bytes = it.place.bytes.max(1);
            followed.push(Followed {
                object,
                by,
                bytes,
                born: now,
                survived: 0,
                is_old: false,
                stays: false,
            });
            false
        });
        let armed = self.awaited.iter().filter(|it| it.object.is_none());
        let young = followed.iter().filter(|it| !it.is_old).count();
        if armed.clone().count() >= most || young >= MAX_YOUNG || now < self.due {
            return Ok(());
        }
        let areas: Vec<u64> = armed.map(|it| it.place.area).collect();
        let Some(place) = objects.place(fastrand::u64(..), &areas) else { return Ok(()) };
        self.due = now + PACE;
        self.number += 1;
        watcher.watch_once(self.number, place.address, place.thread)?;
        self.told += 1;
        self.awaited.push(Awaited { number: self.number, place, since: now, object: None, by: None });
        Ok(())
    }

    /// So far.
    pub(super) fn tally(&self) -> Made {
        let stay = self.kept.values().map(|kept| kept.objects).sum();
        Made { watched: self.told, stay, lost: self.lost }
    }

    /// Bytes that the objects of this stack stand for that stay.
    pub(super) fn bytes(&self, key: &Key) -> u64 {
        self.kept.get(key).copied().unwrap_or_default().bytes
    }

    /// What has become of this stack's objects.
    pub(super) fn blocks(&self, key: &Key) -> Blocks {
        let given_back = self.dead.get(key).copied().unwrap_or_default();
        let kept = self.kept.get(key).copied().unwrap_or_default().objects;
        Blocks { kept, given_back, ..Blocks::default() }
    }

    /// The stacks of which anything is known.
    pub(super) fn known(&self) -> HashSet<Key> {
        self.kept.keys().chain(self.dead.keys()).copied().collect()
    }

    /// The stacks that are still needed.
    pub(super) fn keys(&self) -> HashSet<Key> {
        let mut keys = self.known();
        keys.extend(self.followed.iter().map(|it| it.by));
        keys.extend(self.awaited.iter().filter_map(|it| it.by));
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: those stay that are old for as long as enough of them are, or else for a while, each for what it stands for; who is young
    /// has no vote, and what stays is counted anew each time.
    #[test]
    fn what_stays() {
        let [keeper, cache, other] = [1, 2, 3].map(|identity| Key::new(1, identity));
        let mut nursery = Nursery::of(1);
        let mut follow = |by, born, stays, count: usize| {
            let born = Duration::from_secs(born);
            let followed = || Followed {
                object: Object::default(),
                by,
                bytes: 100,
                born,
                survived: 0,
                is_old: stays,
                stays,
            };
            nursery.followed.extend((0..count).map(|_| followed()));
        };
        follow(keeper, 0, true, 7);
        follow(cache, 20, true, 5);
        follow(other, 0, false, 50);
        let mut kept = |at| {
            nursery.count(Duration::from_secs(at));
            [keeper, cache, other].map(|key| (nursery.blocks(&key).kept, nursery.bytes(&key)))
        };
        assert_eq!(kept(9), [(0, 0); 3], "too young");
        assert_eq!(kept(31), [(7, 700), (5, 500), (0, 0)], "too few for longer");
        assert_eq!(kept(65), [(7, 700), (5, 500), (0, 0)]);
        let mut more = |born| {
            let it = Followed {
                object: Object::default(),
                by: keeper,
                bytes: 1,
                born: Duration::from_secs(born),
                survived: 0,
                is_old: true,
                stays: true,
            };
            nursery.followed.extend(std::iter::repeat_n(it, 5));
            nursery.count(Duration::from_secs(65));
            nursery.blocks(&cache).kept
        };
        assert_eq!(more(1), 0, "enough are older");
        nursery.rest();
        assert_eq!(nursery.tally(), Made { watched: 0, stay: 12, lost: 50 }, "young ones are lost in a rest");
    }

    /// Guarantees: of a process that has no such heap it is said after a while, and until then it is tried again.
    #[test]
    fn none_is_there() {
        let mut nursery = Nursery::of(std::process::id());
        let said: Vec<_> = (0..=u64::from(TRIES)).map(|at| nursery.follow(TRYING * at as u32)).collect();
        assert!(
            said[..TRIES as usize].iter().all(Result::is_ok) && said[TRIES as usize].is_err(),
            "{said:?}"
        );
        assert!(!nursery.has(0x1000) && !nursery.is_watching());
    }
}

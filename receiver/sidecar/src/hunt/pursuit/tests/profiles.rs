//! What is told of all stacks of a look.

use mlh_bpf::alloc::heard::Slot;
use mlh_detect::{About, ProcessKey};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;

use super::*;
use crate::investigate::testing::SITE;

/// A pursuer whose profiles have room for so many requests.
fn working(kernel: &Kernel, room: usize) -> (Working, Receiver<ExportProfilesServiceRequest>) {
    let (sender, profiles) = channel(room);
    let pursuit = Pursuit::new(wanted(None), Arc::default());
    let working = Working::with(pursuit, kernel, move |pursuer| pursuer.profiles = Some(sender));
    (working, profiles)
}

/// The process that was admitted last holds three blocks.
fn hold(kernel: &Kernel) {
    let slot = kernel.with(|fake| Slot(u32::try_from(fake.admitted.len()).unwrap() << 8));
    kernel.holds(slot, 3, 1000, Duration::ZERO);
}

/// Guarantees: at the end of a look all that was found of each stack goes out as profiles; where their channel is full
/// they are a counted loss, in samples, and nothing waits for it.
#[test]
fn profiles_at_the_end() {
    let (process, kernel) = (Waiting::start(), Kernel::default());
    let (working, mut profiles) = working(&kernel, 1);
    for _ in 0..2 {
        working.orders(process.pid(), 600).unwrap();
        hold(&kernel);
        kernel.with(|fake| fake.sink = None);
        working.desk.release(Origin::Command).unwrap();
    }
    let request = profiles.blocking_recv().unwrap();
    let dictionary = request.dictionary.unwrap();
    let told: Vec<(String, i64)> = request.resource_profiles[0].scope_profiles[0]
        .profiles
        .iter()
        .map(|profile| {
            let index = usize::try_from(profile.sample_type.unwrap().type_strindex).unwrap();
            (dictionary.string_table[index].clone(), profile.samples[0].values[0])
        })
        .collect();
    let expected = [("inuse_space", 3000), ("inuse_objects", 3), ("alloc_space", 3000), ("alloc_objects", 3)];
    assert_eq!(told, expected.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!(
        dictionary.location_table[1].address, SITE,
        "a stack that nobody has named is known by its place"
    );
    let lost = working.metrics.losses();
    assert_eq!(lost.get(&(stage::CHANNEL, "profiles")), Some(&4));
    working.stop();
}

/// Guarantees: while a look goes on profiles go out once a minute and verdicts are told the largest stack of each
/// process; after it they know none.
#[test]
fn profiles_and_known_stacks_meanwhile() {
    let (process, kernel) = (Waiting::start(), Kernel::default());
    let pursuit = Pursuit::new(wanted(None), Arc::default());
    let (out, _records) = channel(ROOM);
    let (sender, mut profiles) = channel(4);
    let known = Arc::<KnownStacks>::default();
    let metrics = Arc::new(Metrics::new(&HostIdentity::default()));
    let mut pursuer = Pursuer::new(pursuit, metrics, out).profiling(Some(sender), Arc::clone(&known));
    let fake = kernel.clone();
    pursuer.open = Box::new(move |plan, scope, bell| open_ringing(plan, scope, bell, &fake));
    pursuer.begin(plan(process.pid(), Rung::Targeted)).unwrap();
    let about = About::Process(ProcessKey { pid: process.pid(), start_ns: 0 });
    let held = |known: &KnownStacks| known.of(&about, None).map(|known| known.leads[0].bytes);
    hold(&kernel);
    pursuer.profile();
    assert!(profiles.try_recv().is_err() && held(&known).is_none(), "not yet");
    let back = |since: Duration| Instant::now().checked_sub(since).unwrap();
    pursuer.pursuit.current.as_mut().unwrap().noted = back(Duration::from_secs(10));
    pursuer.profile();
    assert!(profiles.try_recv().is_err());
    assert_eq!(held(&known), Some(3000));
    pursuer.pursuit.current.as_mut().unwrap().profiled = back(Duration::from_secs(60));
    pursuer.profile();
    pursuer.profile();
    assert!(profiles.try_recv().is_ok());
    assert!(profiles.try_recv().is_err(), "once a minute");
    kernel.with(|fake| fake.sink = None);
    pursuer.end(End::Shutdown);
    assert!(profiles.try_recv().is_ok() && held(&known).is_none());
}

/// Guarantees: what a look has seen of a process that is suspected reaches the judge, and what it knew of it stays known after it for
/// the verdict; of a process that nobody suspects neither does.
#[test]
fn suspects_are_testified_of() {
    let kernel = Kernel::default();
    for suspected in [true, false] {
        let process = Waiting::start();
        let (out, _records) = channel(ROOM);
        let (known, docket) = (Arc::<KnownStacks>::default(), Arc::<crate::ladder::Docket>::default());
        let metrics = Arc::new(Metrics::new(&HostIdentity::default()));
        let mut pursuer = Pursuer::new(Pursuit::new(wanted(None), Arc::default()), metrics, out)
            .profiling(None, Arc::clone(&known))
            .beside(Arc::default(), Some(Arc::clone(&docket)), crate::records::EventIds::default());
        let fake = kernel.clone();
        pursuer.open = Box::new(move |plan, scope, bell| open_ringing(plan, scope, bell, &fake));
        pursuer.begin(plan(process.pid(), Rung::Targeted)).unwrap();
        hold(&kernel);
        let current = pursuer.pursuit.current.as_mut().unwrap();
        let subject = current.investigation.subjects().remove(0).1;
        let about = About::Process(ProcessKey { pid: process.pid(), start_ns: subject.reading.start_ns });
        let case = crate::ladder::Case {
            about,
            container: None,
            leader: None,
            subject,
            stage: mlh_detect::Stage::Suspected,
            velocity: 1.0,
            exhaustion: None,
        };
        if suspected {
            assert!(docket.offer(case));
        }
        current.noted = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        pursuer.profile();
        let heard: Vec<_> =
            docket.testimonies().into_iter().map(|(of, said)| (of, said.rung, said.source)).collect();
        let expected = (about, mlh_detect::Rung::GateProbes, "survival");
        assert_eq!(heard, suspected.then_some(expected).into_iter().collect::<Vec<_>>());
        kernel.with(|fake| fake.sink = None);
        pursuer.end(End::Shutdown);
        assert_eq!(known.of(&about, None).is_some(), suspected);
    }
}

//! The numbers the judgement rests on, each with its reason.

use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What a user may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A process that grew by this many bytes since its last record gets another one.
    pub growth_threshold: u64,
    /// The most processes whose memory is followed. Beyond it newcomers are counted and left alone.
    pub max_processes: usize,
    /// The most processes that are swept more often than the rest.
    pub max_watched: usize,
    /// The most containers that are followed.
    pub max_containers: usize,
    /// The most containers that are swept more often than the rest.
    pub max_watched_containers: usize,
    /// A limit that will be reached sooner than this is a risk to tell of.
    pub oom_horizon: Duration,
    /// No verdict that the trend gives alone rests on less: a cache that fills does the same for minutes. What a rung of the
    /// ladder sees being kept need not wait for it. At least [`Rules::CONVICT_WINDOW`] counts.
    pub trend_alone: Duration,
    /// No verdict falls sooner after the growth began, whoever sees memory being kept, for a cache that fills keeps all of it as
    /// well. Only growth that nobody references again need not wait for it.
    pub patience: Duration,
}

impl Rules {
    /// No suspicion rests on less.
    pub const SUSPECT_WINDOW: Duration = Duration::from_secs(36);
    /// No younger program is suspected.
    pub const SUSPECT_AGE: Duration = SUSPECT_AGE;
    /// No verdict rests on less.
    pub const CONVICT_WINDOW: Duration = CONVICT_WINDOW;
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            growth_threshold: MIB,
            max_processes: 65_536,
            max_watched: 256,
            max_containers: 8192,
            max_watched_containers: 64,
            oom_horizon: Duration::from_secs(3600),
            trend_alone: Duration::from_secs(768),
            // of what fills and is done, most is done by then, and a verdict on it comes within five minutes
            patience: Duration::from_secs(240),
        }
    }
}

/// What a stretch of memory history must show to count as sustained growth.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Criteria {
    /// The stretch is cut into this many equal segments, and the lowest value of each is looked at: what a
    /// sawtooth gives back does not count.
    pub(crate) segments: usize,
    /// Steps from segment to segment that must go up.
    pub(crate) min_rises: usize,
    /// The largest step's share of all growth: a one-off step is one large share.
    pub(crate) max_share: f64,
    /// What was given back between segments, as a share of the growth.
    pub(crate) max_given_back: f64,
    /// Speed of the later half over speed of the earlier half: a warm-up or a cache that fills slows down.
    pub(crate) min_hold: f64,
    /// Speed of the last step over the mean speed: what fills up has stopped by now.
    pub(crate) min_newest: f64,
    /// Kendall's tau of the steps' speeds against time, unless they hold at [`STEADY`]: what slows down step by step
    /// comes to an end.
    pub(crate) min_pace: f64,
    /// Bytes.
    pub(crate) min_grown: u64,
}

/// A later half at this share of the earlier half's speed is not slowing down.
pub(crate) const STEADY: f64 = 0.95;

/// Suspicion on a stretch of less than [`PATIENT`]: little was seen, so it must be regular.
pub(crate) const SUSPECT_QUICK: Criteria = Criteria {
    segments: 6,
    min_rises: 5,
    max_share: 0.4,
    max_given_back: 0.0,
    min_hold: 0.6,
    min_newest: 0.5,
    min_pace: -1.0,
    min_grown: 768 * KIB,
};

/// Suspicion on a longer stretch: collected heaps grow in steps and give a little back. A heap under churn creeps by some
/// hundred KiB before it has found its size.
pub(crate) const SUSPECT: Criteria = Criteria {
    segments: 6,
    min_rises: 4,
    max_share: 0.5,
    max_given_back: 0.15,
    min_hold: 0.45,
    min_newest: 0.1,
    min_pace: -1.0,
    min_grown: 768 * KIB,
};

/// Suspicion of a staircase: events are rare, but nothing is ever given back.
pub(crate) const SUSPECT_STAIRS: Criteria = Criteria {
    segments: 6,
    min_rises: 3,
    max_share: 0.5,
    max_given_back: 0.02,
    min_hold: 0.3,
    min_newest: 0.0,
    min_pace: -1.0,
    min_grown: MIB,
};

/// The verdict, below [`SETTLED`].
pub(crate) const CONVICT: Criteria = Criteria {
    segments: 8,
    min_rises: 6,
    max_share: 0.35,
    max_given_back: 0.1,
    min_hold: 0.8,
    min_newest: 0.3,
    min_pace: -0.7,
    min_grown: MIB,
};

/// The verdict on a stretch so long that an uneven load is likelier than a warm-up.
pub(crate) const CONVICT_SETTLED: Criteria = Criteria {
    segments: 8,
    min_rises: 6,
    max_share: 0.35,
    max_given_back: 0.15,
    min_hold: 0.8,
    min_newest: 0.1,
    min_pace: -0.7,
    min_grown: MIB,
};

/// The verdict on the troughs of a sawtooth that rise from tooth to tooth.
pub(crate) const CONVICT_FLOOR: Criteria = Criteria {
    segments: 5,
    min_rises: 4,
    max_share: 0.5,
    max_given_back: 0.0,
    min_hold: 0.5,
    min_newest: 0.1,
    min_pace: -1.0,
    min_grown: MIB,
};

/// Growth that once met a verdict's criteria still goes on when its newest minute holds this share of its velocity: a load may ebb ...
pub(crate) const GOES_ON_SHARE: f64 = 0.25;
/// ... in so many of three steps: a heap that finds its size makes one.
pub(crate) const GOES_ON_RISES: usize = 2;
/// The minute is cut into so many segments.
pub(crate) const GOES_ON_SEGMENTS: usize = 4;

/// So much that is never referenced again is enough for a verdict whose growth since the onset is a mebibyte, bytes, at the speed at which it
/// came and over all the time that was watched: less may be what a program sets up and needs no more.
pub(crate) const COLD_GROWN: f64 = (512 * KIB) as f64;

/// The lower end of the velocity's interval over the velocity: what may well be standing still is no leak yet.
pub(crate) const MIN_CERTAINTY: f64 = 0.4;
/// Speed over a verdict's stretch against the speed over the stretch of the same length before it: the tail of a
/// long warm-up looks steady by itself.
pub(crate) const MIN_HOLD_BEFORE: f64 = 0.8;

/// From here on [`SUSPECT`] applies.
pub(crate) const PATIENT: Duration = Duration::from_secs(90);
/// From here on [`CONVICT_SETTLED`] applies.
pub(crate) const SETTLED: Duration = Duration::from_secs(600);
/// From here on [`SUSPECT_STAIRS`] applies as well.
pub(crate) const STAIRS: Duration = Duration::from_secs(192);
/// No suspicion rests on less.
pub(crate) const SUSPECT_WINDOW: Duration = Duration::from_secs(36);
/// No program is suspected sooner after its start: what it loads, and the first tooth of a short sawtooth, is over
/// by then, and a minute after a leak began there is still time to speak.
pub(crate) const SUSPECT_AGE: Duration = Duration::from_secs(48);
/// No verdict rests on less.
pub(crate) const CONVICT_WINDOW: Duration = Duration::from_secs(128);
/// Each suspicion that came to nothing doubles the stretch the next one of that process must rest on, at most
/// this many times.
pub(crate) const MAX_DOUBT: u8 = 4;

/// A fall from the peak by this share of what was grown, and by [`MIN_FALL`], ends a tooth.
pub(crate) const FALL_SHARE: f64 = 0.25;
/// Bytes.
pub(crate) const MIN_FALL: u64 = 256 * KIB;
/// What is given back and taken again within this says nothing of what is kept: a collector that is done gives back what it had set aside, and
/// needs it soon.
pub(crate) const BRIEF: Duration = Duration::from_secs(24);

/// Where falls are brief the lowest value of the later half must have risen by this share of what is usual: a leak that makes it rise by half of
/// that may meet a fall in the later half alone.
pub(crate) const FLOORS_RISE: f64 = 0.1;

/// A tooth's peak is believed to come back for this many of the longest teeth.
pub(crate) const TEETH_REMEMBERED: u32 = 3;

/// Growth between two sweeps that makes a process worth a closer look, bytes.
pub(crate) const NOTICED: u64 = 64 * KIB;
/// How long a closer look lasts, when nothing comes of it.
pub(crate) const LOOK: Duration = Duration::from_secs(110);
/// A look whose lowest value has risen by so much in its second half goes on for as long again, bytes: a slow leak needs minutes to
/// show ...
pub(crate) const CREEPS: u64 = 128 * KIB;
/// ... at most so many times.
pub(crate) const LOOKS_ON: u8 = 3;
/// How long a new process is looked at before it has shown any growth.
pub(crate) const GLANCE: Duration = Duration::from_secs(12);
/// Younger processes are looked at at once: they may have begun to leak since the last sweep.
pub(crate) const YOUNG: Duration = Duration::from_secs(60);
/// The wait after a look that came to nothing; doubles each time up to [`MAX_DOUBT`] times.
pub(crate) const REST: Duration = Duration::from_secs(60);

/// How often those under a closer look are swept.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often suspects are swept once [`PATIENT`] has passed since the suspicion.
pub(crate) const SUSPECT_EVERY: Duration = Duration::from_secs(4);
/// How often processes with a verdict are swept.
pub(crate) const LEAK_EVERY: Duration = Duration::from_secs(30);

/// A suspicion is dropped when growth has slowed to this share of its velocity ...
pub(crate) const STOPPED_SHARE: f64 = 0.15;
/// ... over this long, or twice the stretch the suspicion rested on.
pub(crate) const SUSPECT_STOPPED: Duration = Duration::from_secs(60);
/// The same for a verdict: bursts and nights without load are longer than a suspicion's patience.
pub(crate) const LEAK_STOPPED: Duration = Duration::from_secs(300);
/// No stop is waited for longer than this.
pub(crate) const MAX_STOPPED: Duration = Duration::from_secs(3600);
/// Who has lived for so long has started: what it loads and what it makes ready is there.
pub(crate) const STARTED: Duration = Duration::from_secs(240);

/// What was not seen in so many slots of a history one after the other is no peak of a case: what a request needs comes and goes.
pub(crate) const HELD_SLOTS: usize = 8;
/// A suspicion or verdict is dropped when less than this share of the growth is still held.
pub(crate) const HELD_SHARE: f64 = 0.2;

/// A suspicion is told as a risk only when the limit will be reached before a verdict could be given, so long after what
/// that must rest on.
pub(crate) const URGENT: Duration = Duration::from_secs(60);
/// A risk is told again each time the time left has come down to this share of what was told.
pub(crate) const TOLD_AGAIN: f64 = 0.5;
/// Less time than this is not worth another record.
pub(crate) const LAST_CALL: Duration = Duration::from_secs(10);
/// No prediction is surer than this share of the time left, either way: load is never quite even, and near its limit
/// a container holds more or less of what can be taken back.
pub(crate) const MIN_DOUBT: f64 = 0.12;
/// Nor than this: what was read may be two seconds old, as the kernel sums its counters up.
pub(crate) const READING_AGE: Duration = Duration::from_secs(2);

/// Shared memory from this share of the growth on might explain it: then the container around must have grown too,
/// for whoever maps pages that others hold already takes no memory.
pub(crate) const SHARED_SHARE: f64 = 0.25;
/// By this share of the process's growth.
pub(crate) const GROWN_AROUND: f64 = 0.5;

/// A testimony speaks of the present for so long.
pub(crate) const FRESH: Duration = Duration::from_secs(300);
/// One that the memory is in use for so long: a cache goes on filling when nobody looks any more, and the same one is not looked at
/// again before.
pub(crate) const FRESH_IN_USE: Duration = Duration::from_secs(1800);
/// Where it was watched for less than this it is believed no longer than anything else: two windows may show a load that ebbs.
pub(crate) const IN_USE_CONFIRMED: Duration = Duration::from_secs(60);
/// What is kept explains the growth from this share of it on.
pub(crate) const EXPLAINS: f64 = 0.5;
/// Where nothing is kept, growth that has slowed to this share of its velocity clears a case.
pub(crate) const SPARE_STOPPED_SHARE: f64 = 0.5;
/// Growth that goes on for this long is a leak although nothing is seen to be kept: fragmentation, or a rung that errs.
pub(crate) const SPARED_FOR: Duration = Duration::from_secs(3600);

/// CPU time a second that has risen by this share is a load that rises.
pub(crate) const LOAD_RISES: f64 = 0.1;
/// It explains growth of the memory by up to so many times the share it rose by.
pub(crate) const LOAD_EXPLAINS: f64 = 2.0;
/// And by so much for each CPU that it takes more, bytes: many thousand connections that mostly wait need no more. What has leaked may work as
/// well, by a timer each or as a list that is gone through, and that is little for what it holds.
pub(crate) const LOAD_HOLDS: f64 = 4096.0 * MIB as f64;
/// So many more threads are a pool that grows.
pub(crate) const THREADS_ADDED: f64 = 2.0;
/// No pool of threads has more than so many added evenly: the usual limit is 200.
pub(crate) const POOL_ENDS: f64 = 200.0;
/// A pool of threads has found its size by then: who still adds threads leaks them.
pub(crate) const POOL_GROWS: Duration = Duration::from_secs(1500);
/// Or by then, where a rung has seen that memory is kept.
pub(crate) const POOL_GROWS_SEEN: Duration = Duration::from_secs(240);

/// Of verdicts by the trend alone this time over the stretch they rest on are wrong, as counted on traces of which half leak:
/// 17 % at two minutes, 5 % at eight, 3 % at thirteen.
pub(crate) const FILLS: Duration = Duration::from_secs(22);

/// Who has lived for so long ...
pub(crate) const GROWN_UP: Duration = Duration::from_secs(1800);
/// ... and has not grown by more than [`NOTICED`] over so much of it, has settled.
pub(crate) const STANDS_STILL: Duration = Duration::from_secs(900);

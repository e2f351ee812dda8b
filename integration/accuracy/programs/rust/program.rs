//! A Rust service: program SHAPE [--rate MB_PER_MIN] [--size MIB] --seed N

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Read;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

const MIB: f64 = 1_048_576.0;
/// Who asks a cache for something: what is in it has been asked for, or it would not be there, and will be again.
const READS_A_WRITE: u32 = 20;
const BEAT: Duration = Duration::from_millis(50);

struct Dice(u64);

impl Dice {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (high - low) * (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The place of what is asked for next among so many, the newest at 0: three readers in five ask for the newest fifth.
    fn asked_for(&mut self, count: usize) -> u64 {
        let chosen = self.between(0.0, 1.0);
        (count as f64 * chosen.powi(3)) as u64
    }

    fn size(&mut self, low: f64, high: f64) -> usize {
        self.between(low, high) as usize
    }
}

struct Service {
    dice: Dice,
    begin: Instant,
    /// Bytes a second.
    rate: f64,
    /// Bytes.
    size: f64,
}

fn say(what: &str) {
    let at = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
    println!("{{\"at\":{at:.3},{what}}}");
}

#[inline(never)]
fn remember_session(sessions: &mut HashMap<usize, Vec<u8>>, dice: &mut Dice) -> f64 {
    let state = vec![1u8; dice.size(200.0, 1200.0)];
    let kept = state.len() as f64 + 16.0 + 40.0;
    sessions.insert(sessions.len(), state);
    kept
}

struct Node {
    _payload: [u8; 700],
    peer: RefCell<Option<Rc<Node>>>,
}

#[inline(never)]
fn link_nodes() -> f64 {
    let one = Rc::new(Node { _payload: [1; 700], peer: RefCell::new(None) });
    let other = Rc::new(Node { _payload: [2; 700], peer: RefCell::new(Some(one.clone())) });
    *one.peer.borrow_mut() = Some(other);
    2.0 * 752.0
}

#[inline(never)]
fn leak_buffer(dice: &mut Dice) -> f64 {
    let buffer: &'static mut [u8] = Box::leak(vec![1u8; dice.size(4000.0, 40_000.0)].into_boxed_slice());
    buffer.len() as f64
}

#[inline(never)]
fn send_job(jobs: &mpsc::Sender<Vec<u8>>, dice: &mut Dice) -> f64 {
    let job = vec![1u8; dice.size(300.0, 900.0)];
    let kept = job.len() as f64 + 48.0;
    // the receiver lives as long as the sender, and never receives
    let _ = jobs.send(job);
    kept
}

impl Service {
    fn leak(mut self, function: &str, load: bool, mut keep: impl FnMut(&mut Dice) -> f64) {
        let per_minute = self.rate * 60.0 / MIB;
        say(&format!("\"leaks\":true,\"functions\":[\"{function}\"],\"mb_per_min\":{per_minute:.3}"));
        let (mut owed, mut sum, mut told, mut last) = (0.0, 0.0, 0.0, 0.0);
        loop {
            let now = self.begin.elapsed().as_secs_f64();
            let share = if load { 1.0 + 0.8 * (now * std::f64::consts::TAU / 240.0).sin() } else { 1.0 };
            owed += self.rate * share * (now - last);
            last = now;
            while owed > 0.0 {
                let kept = keep(&mut self.dice);
                owed -= kept;
                sum += kept;
                if sum >= told + MIB {
                    told = sum;
                    say(&format!("\"leaked\":{sum:.0}"));
                }
            }
            let _requests: Vec<_> = (0..50).map(|_| vec![1u8; self.dice.size(50.0, 5000.0)]).collect();
            std::thread::sleep(BEAT);
        }
    }

    fn every(mut self, mut step: impl FnMut(&mut Self)) {
        say("\"leaks\":false");
        loop {
            step(&mut self);
            std::thread::sleep(BEAT);
        }
    }

    fn run(self, shape: &str) {
        match shape {
            "leak-sessions" | "leak-sessions-under-load" => {
                let mut sessions = HashMap::new();
                let load = shape.ends_with("load");
                self.leak("remember_session", load, |dice| remember_session(&mut sessions, dice));
            }
            "leak-cycles" => self.leak("link_nodes", false, |_| link_nodes()),
            "leak-buffers" => self.leak("leak_buffer", false, leak_buffer),
            "leak-channel" => {
                let (jobs, _receiver) = mpsc::channel();
                self.leak("send_job", false, |dice| send_job(&jobs, dice));
            }
            // full after two minutes
            "lru" => {
                let (mut entries, mut next, room) = (BTreeMap::new(), 0u64, (self.size / 1100.0) as u64);
                self.every(|service| {
                    for _ in 0..room / 120 / 20 + 1 {
                        entries.insert(next, vec![1u8; service.dice.size(500.0, 1500.0)]);
                        entries.remove(&next.wrapping_sub(room));
                        next += 1;
                        for _ in 0..READS_A_WRITE {
                            let asked_for = next - 1 - service.dice.asked_for(entries.len());
                            std::hint::black_box(entries.get(&asked_for).and_then(|entry| entry.first().copied()));
                        }
                    }
                });
            }
            // rows are kept until the report is done
            "batch" => {
                let (mut rows, room) = (Vec::new(), (self.size / 1000.0) as usize);
                self.every(|service| {
                    rows.extend((0..room / 40 / 20 + 1).map(|_| vec![1u8; service.dice.size(500.0, 1500.0)]));
                    if rows.len() > room {
                        rows.clear();
                    }
                });
            }
            // as long as the load of the last minutes makes it
            "backlog" => {
                let mut waiting = VecDeque::new();
                self.every(|service| {
                    let load = (service.begin.elapsed().as_secs_f64() * std::f64::consts::TAU / 300.0).sin();
                    let wanted = (service.size / 1000.0 * (0.5 + 0.45 * load)) as usize;
                    while waiting.len() < wanted {
                        waiting.push_back(vec![1u8; service.dice.size(500.0, 1500.0)]);
                    }
                    waiting.truncate(wanted);
                });
            }
            _ => eprintln!("SHAPE is unknown"),
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, fallback: f64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(fallback)
    };
    std::thread::spawn(|| {
        let mut input = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut input);
        std::process::exit(0)
    });
    let mut dice = Dice((number("--seed", 1.0) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    for _ in 0..8 {
        dice.between(0.0, 1.0);
    }
    let factor = dice.between(0.75, 1.33);
    let service = Service {
        dice,
        begin: Instant::now(),
        rate: number("--rate", 3.0) * factor * MIB / 60.0,
        size: number("--size", 12.0) * factor * MIB,
    };
    service.run(arguments.get(1).map_or("", String::as_str));
}

//! A service that remembers the last answers in an LRU cache, keyed by the request's path.
//!
//! The pinned lru release drops the value of an entry that `pop` takes out, but not its key: the path's text stays.
use lru::LruCache;
use std::time::{Duration, Instant};

fn arg(name: &str, default: f64) -> f64 {
    let args: Vec<String> = std::env::args().collect();
    args.iter()
        .position(|a| a == name)
        .and_then(|i| args.get(i + 1))
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

#[inline(never)]
fn request_path(number: u64) -> String {
    format!("/api/v1/items/{number}?fields={}", "name,price,stock,".repeat(10))
}

#[inline(never)]
fn answer(cache: &mut LruCache<String, u64>, number: u64) -> u64 {
    let path = request_path(number);
    match cache.get(&path) {
        Some(found) => *found,
        None => {
            cache.put(path, number * 3);
            number * 3
        }
    }
}

fn main() {
    let rate = arg("--rate", 400.0);
    let duration = Duration::from_secs_f64(arg("--duration", 120.0));
    let mut cache = LruCache::new(500);
    let start = Instant::now();
    let mut done = 0u64;
    while start.elapsed() < duration {
        answer(&mut cache, done);
        if done >= 100 {
            // an item that has changed since
            cache.pop(&request_path(done - 100));
        }
        done += 1;
        let due = Duration::from_secs_f64(done as f64 / rate);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
    println!("done {done}");
}

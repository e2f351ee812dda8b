//! A TLS front end that keeps the number of the current request with the connection's `Ssl` object.
//!
//! The pinned openssl release overwrites the boxed value that was set under the same index before, without freeing it.
use openssl::ssl::{Ssl, SslContext, SslMethod};
use std::time::{Duration, Instant};

struct Request {
    _number: u64,
    _path: String,
}

fn arg(name: &str, default: f64) -> f64 {
    let args: Vec<String> = std::env::args().collect();
    args.iter()
        .position(|a| a == name)
        .and_then(|i| args.get(i + 1))
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

#[inline(never)]
fn request(number: u64) -> Request {
    Request {
        _number: number,
        _path: format!("/api/v1/items/{number}?fields={}", "name,price,stock,".repeat(20)),
    }
}

fn main() {
    let rate = arg("--rate", 200.0);
    let duration = Duration::from_secs_f64(arg("--duration", 120.0));
    let index = Ssl::new_ex_index::<Request>().expect("an index");
    let context = SslContext::builder(SslMethod::tls()).expect("a context").build();
    let mut connections: Vec<Ssl> = (0..8).map(|_| Ssl::new(&context).expect("a connection")).collect();
    let start = Instant::now();
    let mut done = 0u64;
    while start.elapsed() < duration {
        let connection = &mut connections[(done % 8) as usize];
        connection.set_ex_data(index, request(done));
        done += 1;
        let due = Duration::from_secs_f64(done as f64 / rate);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
    println!("done {done}");
}

//! Debug information fetched from servers, by build id, on a thread of its own: nobody waits for it. Whoever asks learns what
//! has come so far, and asks again with the next name.
//!
//! Servers are not believed: a file must be the one that was asked for, no larger than allowed, and there in time.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::object::Object;
use super::open;
use super::shelf::{hex, lock};
use crate::debuginfod::Debuginfod;

/// Files that are waited for.
const MAX_WAITING: usize = 64;
/// Files whose state is known.
const MAX_KNOWN: usize = 4096;
/// What could not be had is not asked for again for so long.
const REST: Duration = Duration::from_secs(600);
/// Shortest and longest build id, in bytes: shorter ones say too little.
const BUILD_ID: std::ops::RangeInclusive<usize> = 8..=64;
const ENDING: &str = ".debug";
/// What is being fetched.
const UNFINISHED: [&str; 2] = ["mlh-", ".part"];
/// Bytes that are fetched between two looks at how full the folder is.
const PIECE: u64 = 8 * 1024 * 1024;

/// Asks the servers. Clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    known: Arc<Mutex<HashMap<Vec<u8>, State>>>,
    orders: SyncSender<Vec<u8>>,
}

#[derive(Debug)]
enum State {
    Asked,
    Here(PathBuf),
    Failed(Instant),
}

impl Client {
    /// Starts the thread. `None` if there is nobody to ask, or no thread to be had.
    pub(crate) fn start(servers: Debuginfod) -> Option<Self> {
        if servers.servers.is_empty() {
            return None;
        }
        let (orders, asked) = sync_channel(MAX_WAITING);
        let known = Arc::new(Mutex::new(HashMap::new()));
        let states = Arc::clone(&known);
        let work = move || serve(&servers, &asked, &states);
        std::thread::Builder::new().name("mlh-debuginfod".to_owned()).spawn(work).ok()?;
        Some(Self { known, orders })
    }

    /// The file of a build id, if it has come; it is asked for if it has not been yet. Does not wait.
    pub(crate) fn get(&self, build_id: &[u8]) -> Option<Object> {
        let mut known = lock(&self.known);
        match known.get(build_id) {
            Some(State::Asked) => return None,
            Some(State::Failed(when)) if when.elapsed() < REST => return None,
            Some(State::Here(path)) => {
                if let Some(object) = kept(path, build_id) {
                    return Some(object);
                }
            }
            Some(State::Failed(_)) | None => {}
        }
        if known.len() >= MAX_KNOWN {
            known.retain(|_, state| matches!(state, State::Asked));
        }
        if BUILD_ID.contains(&build_id.len()) && self.orders.try_send(build_id.to_vec()).is_ok() {
            known.insert(build_id.to_vec(), State::Asked);
        }
        None
    }
}

/// Ends when nobody can ask any more.
fn serve(servers: &Debuginfod, asked: &Receiver<Vec<u8>>, known: &Mutex<HashMap<Vec<u8>, State>>) {
    sweep(&servers.cache_dir);
    let agent = agent(servers.timeout);
    while let Ok(build_id) = asked.recv() {
        let path = servers.cache_dir.join(format!("{}{ENDING}", hex(&build_id)));
        let is_here = kept(&path, &build_id).is_some()
            || servers
                .servers
                .iter()
                .any(|server| fetch(&agent, server, servers, &build_id, &path).is_some());
        let state = if is_here { State::Here(path) } else { State::Failed(Instant::now()) };
        lock(known).insert(build_id, state);
    }
}

/// A file that was fetched, which is now used once more.
fn kept(path: &Path, build_id: &[u8]) -> Option<Object> {
    let file = open::regular(path)?;
    // Where that cannot be noted it is removed sooner.
    let _ = file.set_modified(SystemTime::now());
    right(file, build_id)
}

fn right(file: File, build_id: &[u8]) -> Option<Object> {
    let object = Object::read(file)?;
    let is_it = object.elf.build_id.as_deref() == Some(build_id);
    (is_it && (object.has(b".debug_info") || object.has(b".symtab"))).then_some(object)
}

fn fetch(
    agent: &ureq::Agent,
    server: &str,
    servers: &Debuginfod,
    build_id: &[u8],
    path: &Path,
) -> Option<()> {
    let address = format!("{}/buildid/{}/debuginfo", server.trim_end_matches('/'), hex(build_id));
    let mut answer = agent.get(address).call().ok()?;
    DirBuilder::new().recursive(true).mode(0o700).create(&servers.cache_dir).ok()?;
    let [prefix, suffix] = UNFINISHED;
    let mut named = tempfile::Builder::new();
    let mut into = named.prefix(prefix).suffix(suffix).tempfile_in(&servers.cache_dir).ok()?;
    let mut body = answer.body_mut().with_config().limit(u64::MAX).reader();
    let (most, mut size) = (servers.max_bytes, 0);
    loop {
        let piece = (most / 16).clamp(1, PIECE).min(most - size);
        make_room(&servers.cache_dir, most - piece);
        let more = io::copy(&mut body.by_ref().take(piece), &mut into).ok()?;
        size += more;
        if more < piece {
            break;
        }
        if size == most {
            // There may be no more of it.
            if body.read(&mut [0]).ok()? > 0 {
                return None;
            }
            break;
        }
    }
    right(into.reopen().ok()?, build_id)?;
    into.persist(path).ok()?;
    Some(())
}

fn is_unfinished(path: &Path) -> bool {
    let [prefix, suffix] = UNFINISHED;
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(prefix) && name.ends_with(suffix))
}

/// Removes what was being fetched when a program was killed.
fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries.filter(|path| is_unfinished(path)) {
        // What stays is counted.
        let _ = fs::remove_file(path);
    }
}

/// Removes what was used least lately until no more than `most` bytes are left, with what is being fetched.
fn make_room(folder: &Path, most: u64) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let of_ours = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(ENDING));
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok().filter(|entry| of_ours(&entry.path()) || is_unfinished(&entry.path()))?;
            let it = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((it.modified().ok()?, it.len(), entry.path()))
        })
        .collect();
    files.sort();
    let mut held = files.iter().map(|(_, size, _)| size).sum::<u64>();
    for (_, size, path) in files.into_iter().filter(|(_, _, path)| !is_unfinished(path)) {
        if held <= most {
            return;
        }
        if fs::remove_file(path).is_ok() {
            held -= size;
        }
    }
}

fn agent(timeout: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(4)
        .accept_encoding("identity")
        .user_agent(concat!("memory-leak-hunter/", env!("CARGO_PKG_VERSION")));
    #[cfg(feature = "tls")]
    let config = config.tls_config(tls());
    config.build().into()
}

/// With the roots that the system trusts.
#[cfg(feature = "tls")]
fn tls() -> ureq::tls::TlsConfig {
    use ureq::tls::{Certificate, RootCerts, TlsConfig};
    let roots = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = roots.iter().map(|it| Certificate::from_der(it).to_owned()).collect();
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;
    use std::sync::mpsc;

    use super::*;

    /// A server that answers in one way, and tells what it was asked.
    fn server(answer: impl Fn(&mut TcpStream) + Send + 'static) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = head.next().unwrap().unwrap();
                while !head.next().unwrap().unwrap().is_empty() {}
                answer(&mut stream);
                drop(stream);
                if tell.send(first).is_err() {
                    return;
                }
            }
        });
        (address, told)
    }

    fn serve_bytes(bytes: Vec<u8>) -> impl Fn(&mut TcpStream) {
        move |stream| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
            drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes)));
        }
    }

    /// A program with debug information, and its build id.
    fn program(room: &Path, name: &str) -> (Vec<u8>, Vec<u8>) {
        let (source, program) = (room.join(name).with_extension("c"), room.join(name));
        fs::write(
            &source,
            format!("int {name}(void) {{ return 1; }}\nint main(void) {{ return {name}(); }}\n"),
        )
        .unwrap();
        let done =
            Command::new("cc").args(["-g", "-Wl,--build-id"]).arg(&source).arg("-o").arg(&program).status();
        assert!(done.unwrap().success());
        let id = Object::read(File::open(&program).unwrap()).unwrap().elf.build_id.unwrap();
        (fs::read(&program).unwrap(), id)
    }

    fn client(servers: Vec<String>, cache_dir: &Path, max_bytes: u64) -> Client {
        let (cache_dir, timeout) = (cache_dir.to_owned(), Duration::from_secs(2));
        Client::start(Debuginfod { servers, cache_dir, max_bytes, timeout }).unwrap()
    }

    /// What becomes of a question.
    fn outcome(client: &Client, id: &[u8]) -> Option<Object> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(object) = client.get(id) {
                return Some(object);
            }
            if let Some(State::Failed(_)) = lock(&client.known).get(id) {
                return None;
            }
            std::thread::yield_now();
        }
        panic!("nothing has become of it");
    }

    /// Guarantees: what one server does not have the next is asked for; the file is kept, for another client as well, and
    /// what could not be had is not asked for at once again.
    ///
    /// Needs: cc.
    #[test]
    fn fetched_once() {
        let room = tempfile::tempdir().unwrap();
        let (bytes, id) = program(room.path(), "wanted");
        let cache = room.path().join("new/cache");
        let missing = |stream: &mut TcpStream| {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
        };
        let ((empty, asked_first), (full, asked_next)) = (server(missing), server(serve_bytes(bytes)));
        let it = client(vec![empty.clone(), format!("{full}/")], &cache, 1 << 20);
        assert!(outcome(&it, &id).unwrap().has(b".debug_info"));
        let line = format!("GET /buildid/{}/debuginfo HTTP/1.1", hex(&id));
        assert_eq!((asked_first.recv().unwrap(), asked_next.recv().unwrap()), (line.clone(), line));
        assert!(outcome(&client(vec![empty.clone()], &cache, 1 << 20), &id).is_some());
        assert!(asked_first.try_recv().is_err() && asked_next.try_recv().is_err());
        let other = vec![7; 20];
        assert!(outcome(&it, &other).is_none() && it.get(&other).is_none());
        assert!(asked_first.recv().is_ok() && asked_next.recv().is_ok());
        assert!(it.get(&other).is_none() && asked_first.try_recv().is_err());
    }

    /// Guarantees: a server that sends another file, none that ends, more than is allowed, or nothing in time, is not
    /// believed, nothing of it is kept, and the next one is asked.
    ///
    /// Needs: cc.
    #[test]
    fn lying_servers() {
        let room = tempfile::tempdir().unwrap();
        let ((bytes, id), (other, _)) = (program(room.path(), "wanted"), program(room.path(), "another"));
        let cache = room.path().join("cache");
        let endless = |stream: &mut TcpStream| {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            let chunk = [b"10000\r\n".to_vec(), vec![0; 0x10000], b"\r\n".to_vec()].concat();
            let mut sent = stream.write_all(&head);
            while sent.is_ok() {
                sent = stream.write_all(&chunk);
            }
        };
        // Until it is hung up on.
        let slow = |stream: &mut TcpStream| drop(stream.read(&mut [0]));
        let cut = |stream: &mut TcpStream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n\x7fELF").unwrap();
        };
        let liars: [(String, _); 5] = [
            server(serve_bytes(other)),
            server(endless),
            server(slow),
            server(cut),
            server(|stream: &mut TcpStream| stream.write_all(b"no http at all\r\n\r\n").unwrap()),
        ];
        let began = Instant::now();
        for (address, _) in &liars {
            assert!(outcome(&client(vec![address.clone()], &cache, 1 << 20), &id).is_none(), "{address}");
            assert_eq!(fs::read_dir(&cache).map_or(0, Iterator::count), 0);
        }
        assert!(began.elapsed() < Duration::from_secs(60));
        let (honest, _told) = server(serve_bytes(bytes.clone()));
        let too_large = bytes.len() as u64 - 1;
        assert!(outcome(&client(vec![honest.clone()], &cache, too_large), &id).is_none());
        let all = liars.iter().map(|(address, _)| address.clone()).chain([honest]).collect();
        assert!(outcome(&client(all, &cache, 1 << 20), &id).is_some());
    }

    /// Guarantees: the folder holds no more than allowed, what was used least lately goes first, and nothing goes that is
    /// not of our making.
    #[test]
    fn bounded_folder() {
        let room = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (name, size, age) in
            [("aa.debug", 100, 30), ("bb.debug", 100, 20), ("cc.debug", 100, 10), ("notes", 100, 99)]
        {
            let path = room.path().join(name);
            fs::write(&path, vec![0; size]).unwrap();
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(now - Duration::from_secs(age))
                .unwrap();
        }
        let left = || {
            let mut names: Vec<_> = fs::read_dir(room.path())
                .unwrap()
                .map(|it| it.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        make_room(room.path(), 300);
        assert_eq!(left(), ["aa.debug", "bb.debug", "cc.debug", "notes"]);
        make_room(room.path(), 150);
        assert_eq!(left(), ["cc.debug", "notes"]);
        fs::write(room.path().join("mlh-1.part"), [0; 50]).unwrap();
        fs::write(room.path().join("other.part"), [0; 50]).unwrap();
        make_room(room.path(), 150);
        assert_eq!(left(), ["cc.debug", "mlh-1.part", "notes", "other.part"]);
        make_room(room.path(), 149);
        assert_eq!(left(), ["mlh-1.part", "notes", "other.part"]);
        sweep(room.path());
        assert_eq!(left(), ["notes", "other.part"]);
    }
}

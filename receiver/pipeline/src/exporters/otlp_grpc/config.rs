//! The keys of `otlp_grpc`.

use std::path::PathBuf;
use std::time::Duration;

use serde_yaml::Value;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

use crate::config::{Choice, Endpoint, Setting, Settings};
use crate::exporters::helper::{QueueConfig, RetryConfig, optional_section, refuse};

/// Keys of the Collector's `tls` block that cannot be honoured, with the reason. To pass over one of them would
/// mean a connection that is not what its owner believes.
const REFUSED_TLS: &[(&str, &str)] = &[
    (
        "insecure_skip_verify",
        "this key to be absent: an unverified peer is no protection; name its CA in ca_file",
    ),
    ("min_version", "this key to be absent: TLS 1.2 and 1.3 are offered, nothing older exists here"),
    ("max_version", "this key to be absent: TLS 1.2 and 1.3 are offered"),
    ("cipher_suites", "this key to be absent: only sound suites are built in"),
    ("curve_preferences", "this key to be absent: only sound curves are built in"),
    (
        "reload_interval",
        "this key to be absent: certificates are read at start and on a reload of the configuration",
    ),
    ("tpm", "this key to be absent: keys in a TPM are not supported"),
];

#[derive(Debug)]
pub(super) struct Config {
    pub(super) target: Target,
    pub(super) timeout: Duration,
    pub(super) compression: Compression,
    pub(super) headers: MetadataMap,
    pub(super) tls: TlsConfig,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) queue: QueueConfig,
    pub(super) retry: RetryConfig,
}

/// `endpoint`: where to, and whether its scheme settles the question of encryption.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    /// `https://` says true, `http://` says false; without a scheme `tls::insecure` decides.
    pub(super) encrypted: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Compression {
    Gzip,
    None,
}

impl Choice for Compression {
    const WORDS: &'static [(&'static str, Self)] =
        &[("gzip", Compression::Gzip), ("none", Compression::None)];
}

/// Where a certificate or key comes from.
#[derive(Clone, PartialEq)]
pub(super) enum Pem {
    File(PathBuf),
    Text(String),
}

/// Keys never show, not even in a debug print.
impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pem::File(path) => write!(f, "{}", path.display()),
            Pem::Text(_) => f.write_str("(given as text)"),
        }
    }
}

/// `tls`.
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "checked in every build, used in those with TLS"))]
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TlsConfig {
    pub(super) insecure: bool,
    pub(super) ca: Option<Pem>,
    /// The client's certificate and its key.
    pub(super) identity: Option<(Pem, Pem)>,
    pub(super) server_name_override: Option<String>,
    pub(super) include_system_ca_certs_pool: bool,
}

/// `keepalive`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Keepalive {
    pub(super) time: Duration,
    pub(super) timeout: Duration,
    pub(super) permit_without_stream: bool,
}

impl Config {
    /// `None` where something without a default is missing or faulty, which is noted.
    pub(super) fn read(settings: &mut Settings<'_>) -> Option<Self> {
        let target: Option<Target> = settings.required("endpoint", "host:port, such as collector:4317");
        let timeout = settings.get_in("timeout", Duration::from_secs(5), Duration::from_millis(1)..);
        let compression = settings.get("compression", Compression::Gzip);
        let headers = read_headers(settings);
        let tls = settings.section("tls", TlsConfig::read).unwrap_or_default();
        let keepalive = optional_section(settings, "keepalive", Keepalive::read);
        let retry = settings.section("retry_on_failure", RetryConfig::read).unwrap_or_default();
        let queue = settings.section("sending_queue", QueueConfig::read).unwrap_or_default();
        let config = Self { target: target?, timeout, compression, headers, tls, keepalive, queue, retry };
        if config.encrypted() && !cfg!(feature = "tls") {
            settings.reject("tls::insecure", "true: this program was built without TLS");
        }
        Some(config)
    }

    pub(super) fn encrypted(&self) -> bool {
        self.target.encrypted.unwrap_or(!self.tls.insecure)
    }
}

impl Setting for Target {
    fn read(value: &Value) -> Result<Self, String> {
        let expected = || {
            "host:port, such as collector:4317; http:// or https:// may stand before it, no path behind it"
                .to_owned()
        };
        let text = value.as_str().ok_or_else(expected)?;
        let (encrypted, rest) = match text.split_once("://") {
            None => (None, text),
            Some(("http", rest)) => (Some(false), rest),
            Some(("https", rest)) => (Some(true), rest),
            Some(("dns", rest)) => (None, rest.strip_prefix('/').unwrap_or(rest)),
            Some(_) => return Err(expected()),
        };
        let endpoint = Endpoint::read(&rest.into()).map_err(|_| expected())?;
        if endpoint.port == 0 {
            return Err(expected());
        }
        Ok(Self { endpoint, encrypted })
    }

    fn show(&self) -> Value {
        let scheme = match self.encrypted {
            None => "",
            Some(false) => "http://",
            Some(true) => "https://",
        };
        format!("{scheme}{}", self.endpoint).into()
    }
}

impl TlsConfig {
    fn read(settings: &mut Settings<'_>) -> Self {
        let before = settings.faults();
        for (key, reason) in REFUSED_TLS {
            refuse(settings, key, reason);
        }
        let insecure = settings.get("insecure", false);
        let ca = read_pem(settings, "ca_file", "ca_pem", Settings::optional);
        let cert = read_pem(settings, "cert_file", "cert_pem", Settings::optional);
        let key = read_pem(settings, "key_file", "key_pem", Settings::secret);
        let server_name_override = settings.optional::<String>("server_name_override");
        let include_system_ca_certs_pool = settings.get("include_system_ca_certs_pool", false);
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (Some(_), None) => {
                settings.reject("key_file", "the key of the certificate, here or in key_pem");
                None
            }
            (None, Some(_)) => {
                settings.reject("cert_file", "the certificate of the key, here or in cert_pem");
                None
            }
            (None, None) => None,
        };
        if settings.faults() == before {
            let (cert, key) = identity.as_ref().map(|(cert, key)| (cert, key)).unzip();
            for (name, pem) in [("ca_file", ca.as_ref()), ("cert_file", cert), ("key_file", key)] {
                check_file(settings, name, pem);
            }
        }
        Self { insecure, ca, identity, server_name_override, include_system_ca_certs_pool }
    }
}

/// One of a file and a text.
fn read_pem<'a>(
    settings: &mut Settings<'a>,
    file: &'static str,
    text: &'static str,
    read_text: impl FnOnce(&mut Settings<'a>, &'static str) -> Option<String>,
) -> Option<Pem> {
    let path = settings.optional::<String>(file).map(|path| Pem::File(path.into()));
    let pem = read_text(settings, text).map(Pem::Text);
    if path.is_some() && pem.is_some() {
        settings.reject(file, format!("one of {file} and {text}, not both"));
    }
    path.or(pem)
}

/// Refuses a file that cannot be opened, before anything is started with it.
fn check_file(settings: &mut Settings<'_>, key: &str, pem: Option<&Pem>) {
    let Some(Pem::File(path)) = pem else { return };
    let outcome = std::fs::File::open(path).and_then(|file| file.metadata());
    let reason = match outcome {
        Ok(metadata) if metadata.is_dir() => "it is a folder".to_owned(),
        Ok(_) => return,
        Err(error) => error.to_string(),
    };
    settings.reject(key, format!("a file that can be read: {reason}"));
}

impl Keepalive {
    /// The defaults are those of gRPC.
    fn read(settings: &mut Settings<'_>) -> Self {
        let second = Duration::from_secs(1);
        Self {
            // A server may close the connection of a client that asks more often.
            time: settings.get_in("time", 10 * second, 10 * second..),
            timeout: settings.get_in("timeout", 20 * second, second..),
            permit_without_stream: settings.get("permit_without_stream", false),
        }
    }
}

/// `headers`: sent with every request, and never shown.
fn read_headers(settings: &mut Settings<'_>) -> MetadataMap {
    let mut headers = MetadataMap::new();
    for (name, value) in settings.secret_map::<String>("headers") {
        let reserved = name.to_ascii_lowercase().starts_with("grpc-");
        let Some(key) = MetadataKey::<Ascii>::from_bytes(name.as_bytes()).ok().filter(|_| !reserved) else {
            settings.reject(
                &format!("headers::{name}"),
                "another name: letters, digits, `-`, `_` and `.`, not `grpc-...` nor `...-bin`",
            );
            continue;
        };
        let Ok(mut value) = MetadataValue::<Ascii>::try_from(value.as_str()) else {
            settings.reject(&format!("headers::{name}"), "visible ASCII characters");
            continue;
        };
        if headers.contains_key(&key) {
            settings
                .reject(&format!("headers::{name}"), "each name once: capital letters make no difference");
            continue;
        }
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    headers
}

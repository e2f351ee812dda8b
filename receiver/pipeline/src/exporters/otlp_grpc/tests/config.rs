use std::time::Duration;

use crate::config::Settings;
use crate::exporters::otlp_grpc::Factory;
use crate::exporters::otlp_grpc::config::{Compression, Config, Keepalive, Pem, TlsConfig};
use crate::testing::{complaints, configure_exporter};

fn read(yaml: &str) -> Config {
    Settings::of_text(yaml, Config::read).map_err(|problems| problems.to_string()).unwrap().0.unwrap()
}

/// Guarantees: an endpoint is all that is needed, and the rest is as the Collector has it: encrypted,
/// compressed, queued, retried.
#[cfg(feature = "tls")]
#[test]
fn defaults() {
    use crate::config::Endpoint;
    use crate::exporters::helper::{QueueConfig, RetryConfig};
    use crate::exporters::otlp_grpc::config::Target;

    let config = read("endpoint: collector:4317");
    let endpoint = Endpoint { host: "collector".to_owned(), port: 4317 };
    assert_eq!(config.target, Target { endpoint, encrypted: None });
    assert!(config.encrypted());
    assert_eq!(config.timeout, Duration::from_secs(5));
    assert_eq!(config.compression, Compression::Gzip);
    assert!(config.headers.is_empty());
    assert_eq!(config.tls, TlsConfig::default());
    assert_eq!(config.keepalive, None);
    assert_eq!((config.queue, config.retry), (QueueConfig::default(), RetryConfig::default()));
}

/// Guarantees: the scheme settles encryption over `insecure`; without one `insecure` does.
#[cfg(feature = "tls")]
#[test]
fn schemes() {
    for (endpoint, insecure, encrypted) in [
        ("c:1", false, true),
        ("c:1", true, false),
        ("http://c:1", false, false),
        ("https://c:1", true, true),
        ("dns:///c:1", false, true),
        ("'https://[::1]:1'", false, true),
    ] {
        let config = read(&format!("{{endpoint: {endpoint}, tls: {{insecure: {insecure}}}}}"));
        assert_eq!(config.encrypted(), encrypted, "{endpoint} insecure: {insecure}");
        assert_eq!(config.target.endpoint.port, 1);
    }
}

/// Guarantees: in a build without TLS an encrypted connection is refused, and an open one is not.
#[cfg(not(feature = "tls"))]
#[test]
fn without_tls() {
    let complaint = complaints(configure_exporter(&Factory, "endpoint: collector:4317"));
    assert!(complaint.contains("built without TLS"), "{complaint}");
    assert!(!read("endpoint: http://collector:4317").encrypted());
}

/// Guarantees: every key of the blocks is read.
#[test]
fn all_keys() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("c.pem");
    std::fs::write(&certificate, "CERT").unwrap();
    let file = certificate.display().to_string();
    let yaml = "{endpoint: 'http://c:1', timeout: 1s, compression: none, headers: {a: b},
          keepalive: {time: 30s, timeout: 3s, permit_without_stream: true},
          retry_on_failure: {enabled: false}, sending_queue: {queue_size: 7},
          tls: {ca_pem: CA, cert_file: c.pem, key_pem: KEY, server_name_override: n, include_system_ca_certs_pool: true}}";
    let config = read(&yaml.replace("c.pem", &file));
    assert_eq!((config.timeout, config.compression), (Duration::from_secs(1), Compression::None));
    assert_eq!(config.headers.get("a").unwrap(), "b");
    assert!(config.headers.get("a").unwrap().is_sensitive());
    let keepalive = Keepalive {
        time: Duration::from_secs(30),
        timeout: Duration::from_secs(3),
        permit_without_stream: true,
    };
    assert_eq!(config.keepalive, Some(keepalive));
    assert_eq!((config.retry.enabled, config.queue.queue_size), (false, 7));
    let tls = TlsConfig {
        insecure: false,
        ca: Some(Pem::Text("CA".to_owned())),
        identity: Some((Pem::File(certificate), Pem::Text("KEY".to_owned()))),
        server_name_override: Some("n".to_owned()),
        include_system_ca_certs_pool: true,
    };
    assert_eq!(config.tls, tls);
    assert!(!format!("{config:?}").contains("KEY"));
}

/// Guarantees: keepalive is off until it is named; an empty block means gRPC's own times.
#[test]
fn keepalive() {
    assert_eq!(read("{endpoint: 'http://c:1'}").keepalive, None);
    let keepalive = read("{endpoint: 'http://c:1', keepalive: {}}").keepalive.unwrap();
    assert_eq!((keepalive.time, keepalive.timeout), (Duration::from_secs(10), Duration::from_secs(20)));
}

/// Guarantees: what cannot work or cannot be honoured is refused at its key, with the reason.
#[test]
fn bad_settings() {
    for (yaml, expected) in [
        ("", "endpoint"),
        ("endpoint: collector", "host:port"),
        ("endpoint: ftp://c:1", "host:port"),
        ("endpoint: c:0", "host:port"),
        ("endpoint: http://c:1/path", "host:port"),
        ("{endpoint: http://c:1, timeout: 0s}", "timeout"),
        ("{endpoint: http://c:1, compression: zstd}", "one of gzip, none"),
        ("{endpoint: http://c:1, headers: {'a b': c}}", "headers::a b: [REDACTED]: expected another name"),
        (
            "{endpoint: http://c:1, headers: {grpc-timeout: c}}",
            "headers::grpc-timeout: [REDACTED]: expected another name",
        ),
        ("{endpoint: http://c:1, headers: {a-bin: c}}", "headers::a-bin: [REDACTED]: expected another name"),
        ("{endpoint: http://c:1, headers: {a: \"b\\nc\"}}", "headers::a: [REDACTED]: expected visible ASCII"),
        ("{endpoint: http://c:1, headers: {A: b, a: c}}", "headers::a: [REDACTED]: expected each name once"),
        ("{endpoint: http://c:1, keepalive: {time: 1s}}", "at least 10s"),
        ("{endpoint: http://c:1, tls: {ca_file: a, ca_pem: b}}", "one of ca_file and ca_pem, not both"),
        ("{endpoint: http://c:1, tls: {cert_file: a}}", "the key of the certificate"),
        ("{endpoint: http://c:1, tls: {key_file: a}}", "the certificate of the key"),
        ("{endpoint: http://c:1, tls: {insecure_skip_verify: true}}", "an unverified peer is no protection"),
        ("{endpoint: http://c:1, tls: {min_version: '1.3'}}", "TLS 1.2 and 1.3"),
        ("{endpoint: http://c:1, tls: {tpm: {}, a: 1}}", "a: unknown key; allowed: insecure, ca_file"),
        ("{endpoint: http://c:1, tls: {reload_interval: 1h}}", "certificates are read at start"),
        ("{endpoint: http://c:1, sending_queue: {storage: file_storage}}", "unknown key"),
    ] {
        let complaint = complaints(configure_exporter(&Factory, yaml));
        assert!(complaint.contains(expected), "{yaml}: {complaint}");
    }
}

/// Guarantees: a file that cannot be opened is found out by reading the configuration, at its key, with its name; one
/// at a time is enough where the block has other faults.
#[test]
fn files_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("there.pem");
    std::fs::write(&there, "PEM").unwrap();
    let (there, missing) = (there.display(), folder.path().join("missing.pem").display().to_string());
    let folder = folder.path().display();
    for (tls, key, name) in [
        (format!("ca_file: '{missing}'"), "tls::ca_file", missing.as_str()),
        (format!("ca_file: '{folder}'"), "tls::ca_file", "it is a folder"),
        (format!("cert_file: '{missing}', key_file: '{there}'"), "tls::cert_file", missing.as_str()),
        (format!("cert_file: '{there}', key_file: '{missing}'"), "tls::key_file", missing.as_str()),
        (format!("ca_file: '{missing}', tpm: {{}}"), "tls::tpm", "TPM"),
    ] {
        let yaml = format!("{{endpoint: 'http://c:1', tls: {{{tls}}}}}");
        let complaint = complaints(configure_exporter(&Factory, &yaml));
        assert!(complaint.contains(key) && complaint.contains(name), "{yaml}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    }
    read(&format!("{{endpoint: 'http://c:1', tls: {{ca_file: '{there}'}}}}"));
}

/// Guarantees: a complaint about a header never shows its value, which is likely a password.
#[test]
fn header_values_stay_secret() {
    let complaint = complaints(configure_exporter(
        &Factory,
        "{endpoint: http://c:1, headers: {'a b': pa55word, c: \"pa55\\nword\"}}",
    ));
    assert!(!complaint.contains("pa55"), "{complaint}");
}

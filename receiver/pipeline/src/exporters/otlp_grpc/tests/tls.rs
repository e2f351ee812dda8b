use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::server::Server;
use super::{NEVER, Rig, rig, try_rig};

/// A certificate authority made for one test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for `name` and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn server(&self, name: &str) -> ServerTlsConfig {
        let (certificate, key) = self.issue(name);
        ServerTlsConfig::new().identity(Identity::from_pem(certificate, key))
    }
}

/// A text as a YAML scalar on one line.
fn quoted(pem: &str) -> String {
    format!("\"{}\"", pem.replace('\n', "\\n"))
}

async fn send(yaml: &str) -> Rig {
    let mut rig = rig(yaml).await;
    rig.put_logs(1).await;
    rig.accounted(1).await;
    rig.built.component.shutdown().await.unwrap();
    rig
}

/// Guarantees: a server whose CA is named, as text or as a file, is talked to.
/// Needs: the loopback network.
#[tokio::test]
async fn a_known_ca_is_trusted() {
    let authority = Authority::new();
    let server = Server::start_with_tls(authority.server("localhost"));
    let port = server.address.port();
    let pem = authority.0.pem();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, &pem).unwrap();
    for ca in [format!("ca_pem: {}", quoted(&pem)), format!("ca_file: {}", file.display())] {
        let rig = send(&format!("{{endpoint: localhost:{port}, {NEVER}, tls: {{{ca}}}}}")).await;
        assert_eq!(rig.ledger.delivered(), 1, "{}", rig.reasons());
    }
}

/// Guarantees: nothing is sent to a server whose CA is unknown, or whose certificate is another's; the reason
/// is told.
/// Needs: the loopback network, the system's CA certificates.
#[tokio::test]
async fn strangers_are_not_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = Server::start_with_tls(authority.server("localhost"));
    let port = server.address.port();
    let (pem, other_pem) = (quoted(&authority.0.pem()), quoted(&other.0.pem()));
    for tls in [
        format!("{{ca_pem: {other_pem}}}"),
        format!("{{ca_pem: {other_pem}, include_system_ca_certs_pool: true}}"),
        format!("{{ca_pem: {pem}, server_name_override: elsewhere}}"),
    ] {
        let rig = send(&format!("{{endpoint: localhost:{port}, {NEVER}, tls: {tls}}}")).await;
        assert_eq!((rig.ledger.delivered(), rig.ledger.lost("retry_exhausted")), (0, 1));
        assert!(rig.reasons().contains("certificate"), "{}", rig.reasons());
    }
    assert!(server.taken().is_empty());
}

/// Guarantees: `server_name_override` is the name that the certificate must have.
/// Needs: the loopback network.
#[tokio::test]
async fn another_name() {
    let authority = Authority::new();
    let server = Server::start_with_tls(authority.server("elsewhere"));
    let yaml = format!(
        "{{endpoint: {}, {NEVER}, tls: {{ca_pem: {}, server_name_override: elsewhere}}}}",
        server.address,
        quoted(&authority.0.pem())
    );
    let rig = send(&yaml).await;
    assert_eq!(rig.ledger.delivered(), 1, "{}", rig.reasons());
}

/// Guarantees: the client's certificate is shown to a server that asks for one; without it there is no
/// connection.
/// Needs: the loopback network.
#[tokio::test]
async fn client_certificates() {
    let authority = Authority::new();
    let ca = Certificate::from_pem(authority.0.pem());
    let server = Server::start_with_tls(authority.server("localhost").client_ca_root(ca));
    let (cert, key) = authority.issue("client");
    let with_identity = format!("cert_pem: {}, key_pem: {}", quoted(&cert), quoted(&key));
    for (identity, delivered) in [("insecure: false", 0), (with_identity.as_str(), 1)] {
        let yaml = format!(
            "{{endpoint: localhost:{}, {NEVER}, tls: {{ca_pem: {}, {identity}}}}}",
            server.address.port(),
            quoted(&authority.0.pem())
        );
        let rig = send(&yaml).await;
        assert_eq!(rig.ledger.delivered(), delivered, "{}", rig.reasons());
    }
}

/// Guarantees: certificates and keys that are none are found out before anything is sent.
#[tokio::test]
async fn unusable_certificates() {
    let yaml = "{endpoint: localhost:1, tls: {cert_pem: nonsense, key_pem: nonsense, ca_pem: x}}";
    let error = try_rig(yaml).err().unwrap();
    assert!(error.to_string().contains("TLS cannot be set up"), "{error}");
}

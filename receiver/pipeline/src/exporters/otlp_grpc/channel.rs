//! How to connect: where to, encrypted or not.

use tonic::transport::Endpoint;

use super::config::Config;

/// What connections are made from.
///
/// Errors: what is wrong with the address or the certificates, and what to do about it.
pub(super) fn endpoint(config: &Config) -> Result<Endpoint, String> {
    let scheme = if config.encrypted() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", config.target.endpoint))
        .map_err(|error| format!("endpoint {}: {error}", config.target.endpoint))?
        .connect_timeout(config.timeout);
    if let Some(keepalive) = config.keepalive {
        endpoint = endpoint
            .http2_keep_alive_interval(keepalive.time)
            .keep_alive_timeout(keepalive.timeout)
            .keep_alive_while_idle(keepalive.permit_without_stream);
    }
    if config.encrypted() {
        endpoint = tls::encrypt(endpoint, &config.tls)?;
    }
    Ok(endpoint)
}

#[cfg(feature = "tls")]
mod tls {
    use std::fs;

    use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

    use crate::exporters::otlp_grpc::config::{Pem, TlsConfig};

    pub(super) fn encrypt(endpoint: Endpoint, config: &TlsConfig) -> Result<Endpoint, String> {
        let mut tls = ClientTlsConfig::new();
        let system = config.ca.is_none() || config.include_system_ca_certs_pool;
        if system {
            tls = tls.with_native_roots();
        }
        if let Some(ca) = &config.ca {
            tls = tls.ca_certificate(Certificate::from_pem(read("tls::ca_file", ca)?));
        }
        if let Some((cert, key)) = &config.identity {
            tls =
                tls.identity(Identity::from_pem(read("tls::cert_file", cert)?, read("tls::key_file", key)?));
        }
        if let Some(name) = &config.server_name_override {
            tls = tls.domain_name(name);
        }
        endpoint.tls_config(tls).map_err(|error| {
            let advice = if system {
                "; where the system has no CA certificates, name one in tls::ca_file, or set tls::insecure to send unencrypted"
            } else {
                ""
            };
            format!("TLS cannot be set up: {}{advice}", super::super::verdict::chain(&error))
        })
    }

    fn read(key: &str, pem: &Pem) -> Result<Vec<u8>, String> {
        match pem {
            Pem::Text(text) => Ok(text.clone().into_bytes()),
            Pem::File(path) => fs::read(path).map_err(|error| format!("{key}: {}: {error}", path.display())),
        }
    }
}

#[cfg(not(feature = "tls"))]
mod tls {
    use tonic::transport::Endpoint;

    use crate::exporters::otlp_grpc::config::TlsConfig;

    pub(super) fn encrypt(_endpoint: Endpoint, _config: &TlsConfig) -> Result<Endpoint, String> {
        Err("this program was built without TLS: set tls::insecure to send unencrypted".to_owned())
    }
}

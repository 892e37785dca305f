//! TLS as a client, towards receivers and the database alike.

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// The system's certificate authorities (Mozilla's where the system has none), and `extra` ones.
pub fn roots(extra: &[CertificateDer<'static>]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots.add_parsable_certificates(extra.iter().cloned());
    roots
}

/// A client that trusts these.
pub fn client(extra: &[CertificateDer<'static>]) -> ClientConfig {
    let roots = roots(extra);
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("ring has the default protocol versions").with_root_certificates(roots).with_no_client_auth()
}

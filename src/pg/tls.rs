//! TLS as libpq's `sslmode` means it, on rustls.
//!
//! `require` encrypts without asking who answers; `verify-ca` wants a certificate that a known authority signed; `verify-full` wants the
//! host's name in it, too. A server certificate that is itself in the root file is accepted, as OpenSSL does, though it is marked as an authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::base::{Error, Result};

/// How far the server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Not at all.
    Nothing,
    /// Signed by a known authority.
    Authority,
    /// And made out to the host.
    Name,
}

/// Where certificates are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// File of authorities; `system` for those of the machine.
    pub(super) roots: Option<String>,
    /// Our certificate.
    pub(super) certificate: Option<PathBuf>,
    /// Its key.
    pub(super) key: Option<PathBuf>,
}

/// What tokio-postgres makes TLS connections with.
pub(super) fn connector(check: Check, files: &Files) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = verifier(check, files, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal("cannot set up TLS").source(e))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "sslcert")?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, "sslkey", &e))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| Error::denied("sslcert and sslkey do not belong together or cannot be used").source(e))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

fn verifier(check: Check, files: &Files, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
    if check == Check::Nothing {
        return Ok(Arc::new(Unchecked(Arc::clone(provider))));
    }
    let listed = match files.roots.as_deref() {
        None | Some("system") => system()?,
        Some(file) => certificates(Path::new(file), "sslrootcert")?,
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(listed.iter().cloned());
    if added == 0 {
        return Err(Error::denied("no usable certificate of an authority was found").hint("check sslrootcert"));
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|e| Error::denied("the authorities of sslrootcert cannot be used").source(e))?;
    Ok(Arc::new(Checked { inner, listed, name: check == Check::Name }))
}

fn system() -> Result<Vec<CertificateDer<'static>>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(Error::denied("this machine has no list of certificate authorities").hint("set sslrootcert to a file"));
    }
    Ok(found.certs)
}

fn certificates(file: &Path, parameter: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|e: rustls::pki_types::pem::Error| unreadable(file, parameter, &e))
}

fn unreadable(file: &Path, parameter: &str, error: &rustls::pki_types::pem::Error) -> Error {
    Error::denied(format!("cannot read {parameter} from {}: {error}", file.display()))
        .hint("the file must exist, be readable for us, and hold PEM text")
}

/// Accepts whoever answers. Signatures are not checked either: without a known key they prove nothing.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Wants an authority, and the name if asked.
#[derive(Debug)]
struct Checked {
    inner: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
    name: bool,
}

impl ServerCertVerifier for Checked {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.listed.iter().any(|c| c.as_ref() == end_entity.as_ref()) {
            if self.name {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The chain was checked before the name.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

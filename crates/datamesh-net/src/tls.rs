//! TLS 1.3 between peers, with AES-256-GCM before ChaCha20-Poly1305.
//!
//! The handshake is libp2p's (<https://github.com/libp2p/specs/blob/master/tls/tls.md>, protocol
//! `/tls/1.0.0`): each side shows one self-signed certificate in which its node key signs the
//! certificate's key. The certificates are made, parsed and checked by `libp2p::tls::certificate`;
//! what is ours is the configuration around it, because upstream fixes an order of cipher suites
//! that costs twice the processor time where AES is in hardware. The reasoning is in
//! `docs/decisions/0001-tls-cipher-order.md`.
//!
//! Guaranteed: TLS 1.3 only, both sides authenticated, no session is ever resumed, secrets are
//! never written to a key log. Not checked here: whether the peer is the one that was dialled,
//! which this layer is not told; the swarm compares the two before the connection is used.

use std::net::Ipv4Addr;
use std::sync::Arc;

use futures::{AsyncRead, AsyncWrite};
use futures_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use futures_rustls::rustls::client::{ResolvesClientCert, Resumption};
use futures_rustls::rustls::crypto::CryptoProvider;
use futures_rustls::rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use futures_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use futures_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use futures_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use futures_rustls::rustls::sign::CertifiedKey;
use futures_rustls::rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName,
    Error as RustlsError, PeerIncompatible, ServerConfig, SignatureScheme, version,
};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::PeerId;
use libp2p::identity::Keypair;
use libp2p::tls::certificate;

use crate::NetworkError;

/// The protocol name under which libp2p negotiates TLS.
pub(crate) const PROTOCOL: &str = "/tls/1.0.0";

/// The one application protocol inside TLS; the stream muxer is agreed on after the handshake.
const ALPN: &[u8] = b"libp2p";

/// Ciphertext that may wait for the socket. The default of 64 KiB would cut each of our 256 KiB
/// frames into four system calls.
const SEND_BUFFER_BYTES: usize = 512 * 1024;

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("the tls handshake failed: {0}")]
    Handshake(#[from] std::io::Error),
    #[error("the peer's certificate is not usable: {0}")]
    Certificate(String),
}

/// Both ends' configuration, shared by all connections.
#[derive(Clone)]
pub(crate) struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Makes a certificate for `keypair` and the configuration around it.
    pub(crate) fn new(keypair: &Keypair) -> Result<Self, NetworkError> {
        let failed = |reason: String| NetworkError::Certificate { reason };
        let (certificate, key) =
            certificate::generate(keypair).map_err(|error| failed(error.to_string()))?;
        let key =
            aws_lc_rs::sign::any_ecdsa_type(&key).map_err(|error| failed(error.to_string()))?;
        Self::with_certificate(Arc::new(CertifiedKey::new(vec![certificate], key)))
            .map_err(|error| failed(error.to_string()))
    }

    /// The configuration around a given certificate.
    pub(crate) fn with_certificate(certificate: Arc<CertifiedKey>) -> Result<Self, RustlsError> {
        let provider = Arc::new(provider());
        let resolver = Arc::new(OneCertificate(certificate));
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(Arc::new(Verifier))
            .with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        // Ours is the order that counts when a peer with another order dials.
        server.ignore_client_order = true;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_client_cert_resolver(resolver);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        client.enable_early_data = false;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    /// Answers a handshake.
    pub(crate) async fn accept<C>(&self, socket: C) -> Result<(PeerId, TlsStream<C>), TlsError>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsAcceptor::from(Arc::clone(&self.server)).accept(socket).await?;
        finish(stream.into())
    }

    /// Begins a handshake.
    pub(crate) async fn connect<C>(&self, socket: C) -> Result<(PeerId, TlsStream<C>), TlsError>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        // The specification forbids a server name; an IP address sends none.
        let name = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
        let stream = TlsConnector::from(Arc::clone(&self.client)).connect(name, socket).await?;
        finish(stream.into())
    }
}

fn finish<C>(mut stream: TlsStream<C>) -> Result<(PeerId, TlsStream<C>), TlsError> {
    let peer = {
        let (_, state) = stream.get_ref();
        let Some([certificate]) = state.peer_certificates() else {
            return Err(TlsError::Certificate("not exactly one".to_owned()));
        };
        certificate::parse(certificate)
            .map_err(|error| TlsError::Certificate(error.to_string()))?
            .peer_id()
    };
    match &mut stream {
        TlsStream::Client(stream) => stream.get_mut().1.set_buffer_limit(Some(SEND_BUFFER_BYTES)),
        TlsStream::Server(stream) => stream.get_mut().1.set_buffer_limit(Some(SEND_BUFFER_BYTES)),
    }
    Ok((peer, stream))
}

/// The name of the negotiated cipher suite, as in `TLS13_AES_256_GCM_SHA384`.
pub(crate) fn cipher_suite(state: &CommonState) -> String {
    match state.negotiated_cipher_suite() {
        Some(suite) => format!("{:?}", suite.suite()),
        None => "unknown".to_owned(),
    }
}

/// The name of the negotiated key exchange, as in `X25519MLKEM768`.
pub(crate) fn key_exchange(state: &CommonState) -> String {
    match state.negotiated_key_exchange_group() {
        Some(group) => format!("{:?}", group.name()),
        None => "unknown".to_owned(),
    }
}

/// Suites and key exchanges, most wanted first.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    }
}

/// Shows the one certificate whatever was asked for. The builders that take a certificate chain
/// parse it as a web certificate and refuse libp2p's critical extension; a resolver does not parse.
#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesClientCert for OneCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Schemes that certificates may be signed with: those that libp2p's parser can check.
const SIGNATURE_SCHEMES: [SignatureScheme; 9] = [
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
];

/// Accepts exactly one certificate that `libp2p::tls::certificate::parse` accepts: valid now,
/// self-signed, and with the node key's signature over the certificate's key.
#[derive(Debug)]
struct Verifier;

impl Verifier {
    fn check(
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), RustlsError> {
        if !intermediates.is_empty() {
            return Err(RustlsError::General("a peer shows exactly one certificate".to_owned()));
        }
        certificate::parse(certificate).map_err(refused)?;
        Ok(())
    }

    fn check_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        certificate::parse(certificate)
            .map_err(refused)?
            .verify_signature(signature.scheme, message, signature.signature())
            .map_err(|_| RustlsError::InvalidCertificate(CertificateError::BadSignature))?;
        Ok(HandshakeSignatureValid::assertion())
    }
}

fn refused(error: certificate::ParseError) -> RustlsError {
    tracing::debug!(%error, "certificate of a peer refused");
    RustlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

/// TLS 1.2 is not configured, so this is an error and never reached.
fn tls12() -> RustlsError {
    RustlsError::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        Self::check(certificate, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        Self::check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURE_SCHEMES.to_vec()
    }
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, RustlsError> {
        Self::check(certificate, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        Self::check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURE_SCHEMES.to_vec()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use futures::{AsyncReadExt, AsyncWriteExt};
    use futures_rustls::rustls::HandshakeKind;
    use futures_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::DuplexStream;
    use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

    const P2P_EXTENSION: [u64; 9] = [1, 3, 6, 1, 4, 1, 53594, 1, 1];

    type Socket = Compat<DuplexStream>;

    fn sockets() -> (Socket, Socket) {
        let (one, two) = tokio::io::duplex(1 << 16);
        (one.compat(), two.compat())
    }

    fn good() -> (PeerId, Tls) {
        let keypair = Keypair::generate_ed25519();
        (keypair.public().to_peer_id(), Tls::new(&keypair).unwrap())
    }

    /// The value of libp2p's extension: `SEQUENCE { OCTET STRING key, OCTET STRING signature }`.
    fn extension_value(key: &[u8], signature: &[u8]) -> Vec<u8> {
        let octets = |bytes: &[u8]| [&[0x04, bytes.len() as u8][..], bytes].concat();
        let content = [octets(key), octets(signature)].concat();
        [&[0x30, content.len() as u8][..], &content].concat()
    }

    /// A certificate whose extension holds `identity`'s key and signature over `signed`.
    fn certified(
        identity: &Keypair,
        prefix: &[u8],
        signed: Option<&[u8]>,
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> CertifiedKey {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let own = key.public_key_der();
        let signature = identity.sign(&[prefix, signed.unwrap_or(&own)].concat()).unwrap();
        let value = extension_value(&identity.public().encode_protobuf(), &signature);
        let mut extension = rcgen::CustomExtension::from_oid_content(&P2P_EXTENSION, value);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        CertifiedKey::new(vec![certificate.into()], aws_lc_rs::sign::any_ecdsa_type(&key).unwrap())
    }

    fn configured(certificate: CertifiedKey) -> Tls {
        Tls::with_certificate(Arc::new(certificate)).unwrap()
    }

    /// Both results of a handshake, each side closing its socket when it fails.
    async fn handshake(
        server: &Tls,
        client: &Tls,
    ) -> (
        Result<(PeerId, TlsStream<Socket>), TlsError>,
        Result<(PeerId, TlsStream<Socket>), TlsError>,
    ) {
        let (one, two) = sockets();
        tokio::join!(server.accept(one), client.connect(two))
    }

    #[tokio::test]
    async fn two_nodes_agree_on_aes_256_and_know_each_other() {
        let ((server_id, server), (client_id, client)) = (good(), good());
        let (accepted, connected) = handshake(&server, &client).await;
        let (seen_client, mut accepted) = accepted.unwrap();
        let (seen_server, mut connected) = connected.unwrap();
        assert_eq!((seen_client, seen_server), (client_id, server_id));
        for state in [accepted.get_ref().1, connected.get_ref().1] {
            assert_eq!(cipher_suite(state), "TLS13_AES_256_GCM_SHA384");
            assert_eq!(key_exchange(state), "X25519MLKEM768");
            assert_eq!(state.alpn_protocol(), Some(ALPN));
        }
        connected.write_all(b"hello").await.unwrap();
        connected.flush().await.unwrap();
        let mut got = [0; 5];
        accepted.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");
    }

    #[tokio::test]
    async fn upstream_peers_are_understood_in_both_roles() {
        use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
        let (id, ours) = good();
        let keypair = Keypair::generate_ed25519();
        let upstream = libp2p::tls::Config::new(&keypair).unwrap();
        let (one, two) = sockets();
        let (accepted, connected) =
            tokio::join!(ours.accept(one), upstream.clone().upgrade_outbound(two, PROTOCOL));
        let (seen, stream) = accepted.unwrap();
        assert_eq!(seen, keypair.public().to_peer_id());
        assert_eq!(cipher_suite(stream.get_ref().1), "TLS13_AES_256_GCM_SHA384");
        assert_eq!(connected.unwrap().0, id);
        let (one, two) = sockets();
        let (accepted, connected) =
            tokio::join!(upstream.upgrade_inbound(one, PROTOCOL), ours.connect(two));
        assert_eq!(accepted.unwrap().0, id);
        let (seen, stream) = connected.unwrap();
        assert_eq!(seen, keypair.public().to_peer_id());
        assert_eq!(cipher_suite(stream.get_ref().1), "TLS13_AES_256_GCM_SHA384");
    }

    #[tokio::test]
    async fn no_session_is_resumed() {
        let ((_, server), (_, client)) = (good(), good());
        for _ in 0..3 {
            let (accepted, connected) = handshake(&server, &client).await;
            let (mut accepted, mut connected) = (accepted.unwrap().1, connected.unwrap().1);
            // A ticket would come with the first bytes from the server.
            accepted.write_all(b"x").await.unwrap();
            accepted.flush().await.unwrap();
            connected.read_exact(&mut [0]).await.unwrap();
            let TlsStream::Client(stream) = &connected else { panic!("not a client") };
            assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
            for state in [accepted.get_ref().1, connected.get_ref().1] {
                assert_eq!(state.handshake_kind(), Some(HandshakeKind::Full));
            }
        }
    }

    /// `bad` is refused as a server and as a client.
    async fn refused(what: &str, bad: Tls) {
        let (_, ours) = good();
        let (_, connected) = handshake(&bad, &ours).await;
        assert!(connected.is_err(), "{what} was accepted as a server");
        let (accepted, _) = handshake(&ours, &bad).await;
        assert!(accepted.is_err(), "{what} was accepted as a client");
    }

    const SIGNING_PREFIX: &[u8] = b"libp2p-tls-handshake:";

    #[tokio::test]
    async fn the_forger_of_these_tests_makes_certificates_that_pass_when_nothing_is_forged() {
        let identity = Keypair::generate_ed25519();
        let (_, ours) = good();
        let forger = configured(certified(&identity, SIGNING_PREFIX, None, |_| {}));
        let (accepted, connected) = handshake(&ours, &forger).await;
        assert_eq!(accepted.unwrap().0, identity.public().to_peer_id());
        assert!(connected.is_ok());
    }

    #[tokio::test]
    async fn certificates_that_prove_nothing_are_refused() {
        let identity = Keypair::generate_ed25519();
        let plain = |params: &mut rcgen::CertificateParams| params.custom_extensions.clear();
        refused(
            "a certificate without the extension",
            configured(certified(&identity, SIGNING_PREFIX, None, plain)),
        )
        .await;
        refused(
            "a signature over another certificate's key",
            configured(certified(&identity, SIGNING_PREFIX, Some(&[7; 91]), |_| {})),
        )
        .await;
        refused(
            "a signature made for another purpose",
            configured(certified(&identity, b"something-else:", None, |_| {})),
        )
        .await;
        refused(
            "an extension that is not one",
            configured(certified(&identity, SIGNING_PREFIX, None, |params| {
                params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(
                    &P2P_EXTENSION,
                    vec![0x30, 0x02, 0x04, 0x7f],
                )];
            })),
        )
        .await;
        refused(
            "two extensions",
            configured(certified(&identity, SIGNING_PREFIX, None, |params| {
                let again = params.custom_extensions[0].clone();
                params.custom_extensions.push(again);
            })),
        )
        .await;
        refused(
            "an unknown critical extension",
            configured(certified(&identity, SIGNING_PREFIX, None, |params| {
                let mut unknown =
                    rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                unknown.set_criticality(true);
                params.custom_extensions.push(unknown);
            })),
        )
        .await;
        refused(
            "an expired certificate",
            configured(certified(&identity, SIGNING_PREFIX, None, |params| {
                params.not_before = rcgen::date_time_ymd(1990, 1, 1);
                params.not_after = rcgen::date_time_ymd(1995, 1, 1);
            })),
        )
        .await;
        refused(
            "a certificate of the future",
            configured(certified(&identity, SIGNING_PREFIX, None, |params| {
                params.not_before = rcgen::date_time_ymd(3000, 1, 1);
                params.not_after = rcgen::date_time_ymd(3001, 1, 1);
            })),
        )
        .await;
    }

    #[tokio::test]
    async fn a_stolen_certificate_without_its_key_is_refused() {
        let identity = Keypair::generate_ed25519();
        let whole = certified(&identity, SIGNING_PREFIX, None, |_| {});
        let other = certified(&Keypair::generate_ed25519(), SIGNING_PREFIX, None, |_| {});
        let stolen = CertifiedKey::new(whole.cert.clone(), other.key.clone());
        refused("a certificate with another key", configured(stolen)).await;
    }

    #[tokio::test]
    async fn more_or_less_than_one_certificate_is_refused() {
        let identity = Keypair::generate_ed25519();
        let whole = certified(&identity, SIGNING_PREFIX, None, |_| {});
        let chain = vec![whole.cert[0].clone(), whole.cert[0].clone()];
        refused("a chain of two", configured(CertifiedKey::new(chain, whole.key.clone()))).await;

        let mut anonymous = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_no_client_auth();
        anonymous.alpn_protocols = vec![ALPN.to_vec()];
        let (_, mut nobody) = good();
        nobody.client = Arc::new(anonymous);
        let (_, ours) = good();
        let (accepted, _) = handshake(&ours, &nobody).await;
        assert!(accepted.is_err(), "a client without a certificate was accepted");
    }

    /// The certificates of the libp2p TLS specification
    /// (<https://github.com/libp2p/specs/blob/master/tls/tls.md#test-vectors>).
    #[test]
    fn the_vectors_of_the_specification_pass_the_verifier() {
        let text = include_str!("../../../testdata/tls/libp2p-specification.txt");
        let mut seen = 0;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (expected, hex) = line.split_once(' ').unwrap();
            let bytes: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            let certificate = CertificateDer::from(bytes);
            let checked = Verifier::check(&certificate, &[]);
            if expected == "invalid" {
                assert!(checked.is_err());
            } else if expected.starts_with("12D3KooW") || checked.is_ok() {
                // Keys other than Ed25519 are read only if another crate has them built in.
                checked.unwrap();
                let peer = certificate::parse(&certificate).unwrap().peer_id();
                assert_eq!(peer.to_string(), expected);
            }
            seen += 1;
        }
        assert_eq!(seen, 4);
    }
}

//! What protects this home, and what does not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use datamesh_api::{
    CryptographyUse, Finding, KeystoreInfo, LimitInfo, OperationError, SecurityReply, Severity,
};
use datamesh_crypto::keystore;
use datamesh_net::{Limits, Rule};

use super::HomeOperations;
use crate::account;

/// Files and folders that nobody else on the machine may open, and the modes that they have at
/// most.
const PRIVATE: [(&str, u32); 7] = [
    ("", 0o700),
    ("account/keystore", 0o600),
    ("account/catalog.db", 0o600),
    ("node/key", 0o600),
    ("mesh/delegate.key", 0o600),
    ("mesh/ticket", 0o600),
    ("audit", 0o700),
];

/// Where cryptography is used, with what, and whether a quantum computer could break it.
const CRYPTOGRAPHY: [(&str, &str, bool); 8] = [
    ("content, catalog, keystore", "AES-256-GCM, keys by HKDF and BLAKE3", true),
    ("password", "Argon2id", true),
    ("names of segments, proofs", "BLAKE3", true),
    ("connections over TCP and QUIC", "TLS 1.3 with X25519MLKEM768 where both sides have it", true),
    ("connections where the peer has no TLS", "Noise with X25519", false),
    ("identity of nodes", "Ed25519", false),
    ("certificates, grants, receipts, releases", "Ed25519", false),
    ("logs and heads of the catalog", "Ed25519", false),
];

fn finding(subject: &str, severity: Severity, message: String, hint: Option<String>) -> Finding {
    Finding { subject: subject.to_owned(), severity, message, hint }
}

fn shown(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(Rule::to_string).collect()
}

/// Whether other users of the machine may open a file.
fn mode_finding(path: &Path, name: &str, most: u32) -> Option<Finding> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let subject = if name.is_empty() { "home" } else { name };
    Some(if mode & !most & 0o077 == 0 {
        finding(subject, Severity::Ok, format!("mode {mode:04o}"), None)
    } else {
        let message = format!("mode {mode:04o}: other users of this machine can open it");
        let hint = Some(format!("chmod {most:o} '{}'", path.display()));
        finding(subject, Severity::Critical, message, hint)
    })
}

fn limits() -> Vec<LimitInfo> {
    let limits = Limits::default();
    let limit = |name: &str, value: u64, unit: &str| LimitInfo {
        name: name.to_owned(),
        value,
        unit: unit.to_owned(),
    };
    vec![
        limit("connections that peers open", limits.inbound_connections_max.into(), ""),
        limit("connections with one peer", limits.peer_connections_max.into(), ""),
        limit("handshakes of peers at once", limits.inbound_handshakes_max.into(), ""),
        limit("streams of one peer", limits.peer_inbound_streams_max as u64, ""),
        limit("streams of all peers", limits.inbound_streams_max as u64, ""),
        limit("requests of one peer", limits.peer_requests_per_second.into(), "1/s"),
        limit("bytes for one peer", limits.peer_bytes_per_second, "B/s"),
        limit("request bodies held", limits.request_bytes_max as u64, "B"),
        limit("reply bodies held", limits.served_bytes_max as u64, "B"),
        limit("memory of the process", limits.process_memory_bytes_max as u64, "B"),
    ]
}

impl HomeOperations {
    pub(super) async fn do_security(&self) -> Result<SecurityReply, OperationError> {
        let home = self.home();
        let mut findings: Vec<Finding> = PRIVATE
            .iter()
            .filter_map(|(name, most)| {
                let path = if name.is_empty() { home.path().to_owned() } else { home.file(name) };
                mode_finding(&path, name, *most)
            })
            .collect();

        let costs = account::keystore_costs(home)?;
        if let Some(costs) = costs {
            let usual = keystore::COSTS;
            let weak = costs.memory_kib < usual.memory_kib || costs.passes < usual.passes;
            let text =
                format!("Argon2id, {} MiB, {} passes", costs.memory_kib / 1024, costs.passes);
            findings.push(if weak {
                let hint =
                    "make it anew with: datamesh keys export, and keys import in a fresh home";
                finding("password", Severity::Warning, text, Some(hint.to_owned()))
            } else {
                finding("password", Severity::Ok, text, None)
            });
        }

        // Only what runs already is looked at: the check itself connects to nobody.
        if let Some(network) = self.shared.network.get() {
            let peers = network.peers();
            let classical: Vec<String> = peers
                .iter()
                .filter(|peer| {
                    let exchange = peer.security.as_ref().and_then(|it| it.key_exchange.as_ref());
                    exchange.is_some_and(|name| !name.contains("MLKEM"))
                })
                .map(|peer| peer.peer.to_string())
                .collect();
            findings.push(if classical.is_empty() {
                let text = format!("{} peers, none known to be without ML-KEM", peers.len());
                finding("connections", Severity::Ok, text, None)
            } else {
                let text = format!(
                    "{} of {} are not post-quantum: {}",
                    classical.len(),
                    peers.len(),
                    classical.join(", ")
                );
                let hint = "bring these peers up to date".to_owned();
                finding("connections", Severity::Warning, text, Some(hint))
            });
        }

        let access = &self.shared.settings.network.access;
        findings.push(match (access.allow.len(), access.deny.len()) {
            (0, 0) => finding(
                "access",
                Severity::Ok,
                "everybody may connect; only members and invited accounts may store".to_owned(),
                None,
            ),
            (allow, deny) => {
                let text = format!("{allow} rules that allow, {deny} that deny");
                finding("access", Severity::Ok, text, None)
            }
        });
        if self.shared.network.get().is_some_and(|network| network.reach().upnp) {
            let text = "the router is asked for a port, so that anybody can dial this node";
            findings.push(finding("upnp", Severity::Ok, text.to_owned(), None));
        }

        let use_of = |(purpose, algorithm, post_quantum): &(&str, &str, bool)| CryptographyUse {
            purpose: (*purpose).to_owned(),
            algorithm: (*algorithm).to_owned(),
            post_quantum: *post_quantum,
        };
        Ok(SecurityReply {
            findings,
            allow: shown(&access.allow),
            deny: shown(&access.deny),
            limits: limits(),
            keystore: costs.map(|costs| KeystoreInfo {
                kdf: "argon2id".to_owned(),
                memory_kib: costs.memory_kib,
                passes: costs.passes,
                lanes: costs.lanes,
            }),
            cryptography: CRYPTOGRAPHY.iter().map(use_of).collect(),
        })
    }
}

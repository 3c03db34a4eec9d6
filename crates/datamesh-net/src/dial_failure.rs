//! Why a dial failed, for people.

use std::io;

use libp2p::swarm::DialError;
use libp2p::{Multiaddr, TransportError};

/// Why a dial failed, in one line.
pub(crate) fn reason(error: &DialError) -> String {
    match error {
        DialError::WrongPeerId { obtained, .. } => {
            format!("another peer answered there: {obtained}")
        }
        DialError::Transport(attempts) => {
            let cause = |error: &TransportError<io::Error>| match error {
                TransportError::Other(error) => root(error),
                TransportError::MultiaddrNotSupported(_) => "not supported".to_owned(),
            };
            reasons(attempts.iter().map(|(address, error)| (cause(error), address)))
        }
        DialError::Denied { cause } => format!("refused on this side: {cause}"),
        other => other.to_string(),
    }
}

/// Each cause once, with the first address that it was the answer of: a peer has many addresses, and most of them
/// fail alike.
fn reasons<'a>(attempts: impl Iterator<Item = (String, &'a Multiaddr)>) -> String {
    let mut causes: Vec<(String, &Multiaddr, usize)> = Vec::new();
    for (cause, address) in attempts {
        match causes.iter_mut().find(|(known, ..)| *known == cause) {
            Some((_, _, others)) => *others += 1,
            None => causes.push((cause, address, 0)),
        }
    }
    let line = |(cause, address, others): &(String, &Multiaddr, usize)| match others {
        0 => format!("{cause} ({address})"),
        others => format!("{cause} ({address} and {others} more)"),
    };
    causes.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// The innermost cause: libp2p wraps errors in several layers that say nothing.
fn root(error: &io::Error) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn what_fails_alike_at_many_addresses_is_said_once() {
        let attempt = |port: u16, kind: io::ErrorKind| {
            let wrapped = io::Error::other(io::Error::from(kind));
            let address = format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap();
            (address, TransportError::Other(wrapped))
        };
        let (refused, late) = (io::ErrorKind::ConnectionRefused, io::ErrorKind::TimedOut);
        let attempts = vec![attempt(1, refused), attempt(2, late), attempt(3, refused)];
        assert_eq!(
            reason(&DialError::Transport(attempts)),
            "connection refused (/ip4/192.0.2.1/tcp/1 and 1 more), timed out (/ip4/192.0.2.1/tcp/2)"
        );
    }
}

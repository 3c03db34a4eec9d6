//! Entering a mesh with an invite ticket.

use std::time::Duration;

use bytes::Bytes;
use datamesh_api::{ErrorKind, OperationError};
use datamesh_core::message::{NodeRequest, Redeem, Refusal, Reply, Request};
use datamesh_core::{Clock, Genesis, InviteTicket, NodeCertificate, PublicKey, Transport, seam};
use datamesh_engine::{AskError, ask};

use super::{CERTIFICATE, GENESIS, GRANT, REDEEMER, TICKET};
use crate::home::Home;
use crate::system::{SystemClock, SystemEntropy};

/// How long the issuer may take.
const DEADLINE: Duration = Duration::from_secs(15);

/// What joining brought.
pub(crate) struct Joined {
    pub(crate) ticket: InviteTicket,
    pub(crate) granted: bool,
}

fn ask_error(error: &AskError) -> OperationError {
    let kind = match error {
        AskError::Transport(_) => ErrorKind::Network,
        _ => ErrorKind::Failed,
    };
    let made = OperationError::of(kind, error);
    match error {
        AskError::Transport(_) => made.hint(
            "joining is possible only while the node that issued the ticket runs and can be reached",
        ),
        AskError::Refused { refusal, .. } => match refusal {
            Refusal::InviteExpired | Refusal::InviteUsedUp | Refusal::InviteUnknown => {
                made.hint("ask for a fresh ticket: datamesh invite, on the node that issues them")
            }
            Refusal::NotPermitted => made.hint("ask for a ticket that grants this"),
            _ => made,
        },
        _ => made,
    }
}

fn unexpired(ticket: &InviteTicket) -> Result<(), OperationError> {
    if ticket.expiry != 0 && ticket.expiry <= SystemClock.now() {
        return Err(OperationError::new(ErrorKind::Failed, "the invite ticket has expired")
            .hint("ask for a fresh ticket: datamesh invite, on the node that issues them"));
    }
    Ok(())
}

/// Asks the issuer for the mesh's first record and checks that it is the ticket's mesh.
async fn fetch_genesis(
    transport: &dyn Transport,
    ticket: &InviteTicket,
) -> Result<Genesis, OperationError> {
    transport.learn(ticket.issuer, &ticket.addresses);
    let request = Request::Hello { mesh: ticket.mesh };
    let answer = ask(transport, ticket.issuer, &request, Bytes::new(), DEADLINE).await;
    let (reply, _) = answer.map_err(|error| ask_error(&error))?;
    match reply {
        Reply::Welcome { genesis, .. }
            if genesis.mesh_id() == ticket.mesh && genesis.verify().is_ok() =>
        {
            Ok(genesis)
        }
        _ => Err(OperationError::new(
            ErrorKind::Failed,
            "the issuer showed another mesh than the ticket names: nothing was joined",
        )),
    }
}

/// The number that makes this home's redemptions one use.
fn redeemer(home: &Home) -> Result<[u8; 16], OperationError> {
    if let Some(bytes) = home.read(REDEEMER)?
        && let Ok(number) = bytes.as_slice().try_into()
    {
        return Ok(number);
    }
    let number: [u8; 16] = seam::random(&SystemEntropy);
    home.write(REDEEMER, &number)?;
    Ok(number)
}

/// Joins: fetches the mesh's first record and, for an account, its grant. The ticket is kept for
/// the node's certificate. The first record is written last, so a home is in the mesh or it is not.
pub(crate) async fn join(
    home: &Home,
    transport: &dyn Transport,
    ticket: InviteTicket,
    grant_key: Option<PublicKey>,
) -> Result<Joined, OperationError> {
    unexpired(&ticket)?;
    let genesis = fetch_genesis(transport, &ticket).await?;
    let mut granted = false;
    if let Some(key) = grant_key.filter(|_| ticket.powers.account) {
        let redeem = Redeem {
            secret: ticket.secret,
            redeemer: redeemer(home)?,
            node: None,
            account: Some(key),
        };
        let request = Request::Redeem(redeem);
        let answer = ask(transport, ticket.issuer, &request, Bytes::new(), DEADLINE).await;
        let (reply, _) = answer.map_err(|error| ask_error(&error))?;
        let now = SystemClock.now();
        let grant = match reply {
            Reply::Redeemed { grant: Some(grant), .. }
                if grant.key == key
                    && grant.verify(&genesis.authority, &ticket.mesh, now).is_ok() =>
            {
                grant
            }
            _ => {
                let message = "the issuer gave a grant that does not hold: nothing was joined";
                return Err(OperationError::new(ErrorKind::Failed, message));
            }
        };
        super::store(home, GRANT, &grant)?;
        granted = true;
    }
    super::store(home, TICKET, &ticket)?;
    super::store(home, GENESIS, &genesis)?;
    Ok(Joined { ticket, granted })
}

/// Redeems the kept ticket for the certificate of this home's node.
pub(crate) async fn redeem_node(
    home: &Home,
    transport: &dyn Transport,
    ticket: &InviteTicket,
    genesis: &Genesis,
    request: NodeRequest,
) -> Result<NodeCertificate, OperationError> {
    unexpired(ticket)?;
    transport.learn(ticket.issuer, &ticket.addresses);
    let redeem = Redeem {
        secret: ticket.secret,
        redeemer: redeemer(home)?,
        node: Some(request),
        account: None,
    };
    let request = Request::Redeem(redeem);
    let answer = ask(transport, ticket.issuer, &request, Bytes::new(), DEADLINE).await;
    let (reply, _) = answer.map_err(|error| ask_error(&error))?;
    let now = SystemClock.now();
    match reply {
        Reply::Redeemed { certificate: Some(certificate), .. }
            if certificate.claim.node == transport.local()
                && certificate.verify(&genesis.authority, &ticket.mesh, now).is_ok() =>
        {
            super::store(home, CERTIFICATE, &certificate)?;
            Ok(certificate)
        }
        _ => Err(OperationError::new(
            ErrorKind::Failed,
            "the issuer gave a certificate that does not hold",
        )),
    }
}

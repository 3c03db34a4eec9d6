//! Operations on shares.

use datamesh_api::{
    ErrorKind, GetReply, OperationError, RecipientReply, SecretText, ShareInfo, ShareReply,
    ShareRequest, ShareTarget, SharesReply, SharesRequest, UnshareReply, UnshareRequest,
};
use datamesh_client::{
    Client, GetReport, ProgressFn, ShareOptions, ShareTo, StoredEntry, find_contact, find_share,
    get_shared,
};
use datamesh_core::stream::Sink;
use datamesh_crypto::{Recipient, ShareLink};
use zeroize::Zeroizing;

use super::HomeOperations;
use super::term::check_term;
use crate::convert;

fn recipient(text: &str) -> Result<Recipient, OperationError> {
    text.parse().map_err(|error: datamesh_crypto::share::RecipientError| {
        OperationError::of(ErrorKind::Usage, &error)
            .hint("it is what \"datamesh keys recipient\" prints there")
    })
}

/// A link or code as it was given.
pub(crate) fn link(text: &SecretText) -> Result<ShareLink, OperationError> {
    text.as_str().parse().map_err(|error: datamesh_crypto::share::LinkError| {
        OperationError::of(ErrorKind::Usage, &error)
    })
}

/// What came of fetching a share.
pub(crate) fn fetched(report: GetReport) -> Result<GetReply, OperationError> {
    if let Some(error) = &report.error {
        return Err(convert::client_error(error));
    }
    Ok(GetReply {
        files: report.files,
        bytes: report.bytes,
        resumed_bytes: report.resumed_bytes,
        failed: convert::failures(report.failed),
        faults: convert::faults(report.faults),
    })
}

/// The password on its way to where it is stretched.
pub(crate) fn password(text: Option<SecretText>) -> Option<Zeroizing<String>> {
    text.map(|text| Zeroizing::new(text.as_str().to_owned()))
}

impl HomeOperations {
    pub(super) async fn do_share(
        &self,
        request: ShareRequest,
    ) -> Result<ShareReply, OperationError> {
        check_term(request.expires_ms)
            .map_err(|error| error.hint("a share without --expires does not end by itself"))?;
        let client = self.whole_client().await?;
        let to = match request.to {
            ShareTarget::Link { password: text } => ShareTo::Link(password(text)),
            ShareTarget::Person { recipient: text } => ShareTo::Person(recipient(&text)?),
        };
        let expiry = match request.expires_ms {
            0 => 0,
            term => client.engine().now().saturating_add(term),
        };
        let shared = client.share(&request.name, ShareOptions { to, expiry }).await;
        let share = shared.map_err(|error| convert::client_error(&error))?;
        Ok(ShareReply { share: convert::share(share, true) })
    }

    pub(super) async fn do_shares(
        &self,
        request: SharesRequest,
    ) -> Result<SharesReply, OperationError> {
        let wrap = |error| convert::client_error(&error);
        let client = self.current_client().await?;
        let file = match &request.name {
            Some(name) => {
                let version = client.resolve(name, None).await.map_err(wrap)?;
                version.put().map(|put| put.file)
            }
            None => None,
        };
        let shares = client.shares(file).await.map_err(wrap)?;
        let shares = shares.into_iter().map(|view| convert::share(view, request.links)).collect();
        Ok(SharesReply { shares })
    }

    pub(super) async fn do_unshare(
        &self,
        request: UnshareRequest,
    ) -> Result<UnshareReply, OperationError> {
        let client = self.current_client().await?;
        let ended = client.unshare(&request.shares).await;
        let ended = ended.map_err(|error| convert::client_error(&error))?;
        let shares = ended.into_iter().map(|view| convert::share(view, false)).collect();
        Ok(UnshareReply { shares })
    }

    pub(super) async fn do_recipient(&self) -> Result<RecipientReply, OperationError> {
        let client = self.client().await?;
        let introduced = client.introduce_contact().await;
        let (recipient, published) = introduced.map_err(|error| convert::client_error(&error))?;
        Ok(RecipientReply { recipient: recipient.to_string(), published })
    }

    /// A person who can be shared with now.
    pub(super) async fn known_recipient(&self, text: &str) -> Result<Recipient, OperationError> {
        let (recipient, engine) = (recipient(text)?, self.engine().await?);
        if !recipient.is_of(&engine.mesh()) {
            let error = datamesh_client::SharingError::OtherMesh;
            return Err(convert::client_error(&error.into()));
        }
        let found = find_contact(engine, &recipient.contact()).await;
        found.map_err(|error| convert::client_error(&error))?;
        Ok(recipient)
    }

    /// Shares files that were stored just now. Says what was shared, and why not all was.
    pub(super) async fn share_stored(
        &self,
        client: &Client,
        recipient: Recipient,
        stored: &[StoredEntry],
    ) -> (Vec<ShareInfo>, Option<OperationError>) {
        let mut shares = Vec::new();
        for entry in stored {
            let options = ShareOptions { to: ShareTo::Person(recipient), expiry: 0 };
            match client.share(entry.path.as_str(), options).await {
                Ok(view) => shares.push(convert::share(view, true)),
                Err(error) => return (shares, Some(convert::client_error(&error))),
            }
        }
        (shares, None)
    }

    /// Fetches what is shared with whoever has the link, or with this home's account.
    pub(super) async fn get_shared(
        &self,
        text: &SecretText,
        given: Option<SecretText>,
        sink: &mut dyn Sink,
        progress: ProgressFn,
    ) -> Result<GetReply, OperationError> {
        let wrap = |error| convert::client_error(&error);
        let (link, engine) = (link(text)?, self.engine().await?);
        if link.mesh != engine.mesh() {
            let message = "the link leads into another mesh than this home is in";
            return Err(OperationError::usage(message)
                .hint("open it without this home: datamesh --home ANOTHER get LINK"));
        }
        let found = find_share(engine, &link.share).await.map_err(wrap)?;
        let body = match &link.secret {
            Some(secret) => {
                found.open_by_link(engine, secret, password(given)).await.map_err(wrap)?
            }
            None => found.open_as(engine, &*self.keys().await?).map_err(wrap)?,
        };
        fetched(get_shared(engine, body, sink, Some(progress)).await.map_err(wrap)?)
    }
}

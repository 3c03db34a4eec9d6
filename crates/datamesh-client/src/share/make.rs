//! Sharing a file, listing shares, and ending them.

use std::sync::Arc;

use datamesh_catalog::{Append, KnownShare, SharedFile};
use datamesh_core::catalog::{Change, EntryKind};
use datamesh_core::head::Head;
use datamesh_core::share::{Share, ShareWith, Unshare};
use datamesh_core::{BoxFuture, FileId, MeshPath, PublicKey, Timestamp};
use datamesh_crypto::{Recipient, ShareKeys, ShareLink};
use datamesh_engine::{Standing, block};
use zeroize::Zeroizing;

use super::error::SharingError;
use super::open::find_contact;
use crate::client::Client;
use crate::error::ClientError;
use crate::points;

/// Most nodes whose addresses a link names, and most addresses of each: one that answers is enough, and each
/// makes the link longer.
const NODES_NAMED: usize = 3;
const ADDRESSES_NAMED: usize = 2;

/// Fewest digits that name a share.
const DIGITS_MIN: usize = 4;

/// With whom a file is to be shared.
pub enum ShareTo {
    /// Whoever has the link, and knows the password where there is one.
    Link(Option<Zeroizing<String>>),
    /// A person.
    Person(Recipient),
}

/// How a file is to be shared.
pub struct ShareOptions {
    /// With whom.
    pub to: ShareTo,
    /// When the share ends by itself; 0 for never.
    pub expiry: Timestamp,
}

/// How a share stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareState {
    /// A quorum of nodes shows the newest version.
    Current,
    /// Too few nodes have taken what is newest yet.
    Pending,
    /// It was ended, and a quorum of nodes says so.
    Revoked,
    /// It was ended, and too few nodes have taken that yet.
    Ending,
    /// Its time is over.
    Expired,
}

/// A share, for its owner.
#[derive(Debug, Clone)]
pub struct ShareView {
    /// The share's public key, which is its id.
    pub share: PublicKey,
    /// The file.
    pub file: FileId,
    /// The file's name now; nothing where it was deleted.
    pub path: Option<MeshPath>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself; 0 for never.
    pub expiry: Timestamp,
    /// The person; nothing for a link.
    pub person: Option<PublicKey>,
    /// It has a password.
    pub password: bool,
    /// How it stands.
    pub state: ShareState,
    /// The link or, for a person, the code.
    pub link: ShareLink,
}

impl Client {
    /// Shares a file's current version and every later one. The share is in the catalog when this returns;
    /// its [`state`](ShareView::state) says whether nodes show it yet.
    ///
    /// # Errors
    /// [`SharingError`] for what cannot be shared, or with nobody that is known; those of
    /// [`resolve`](Self::resolve) and of the catalog.
    pub fn share<'a>(
        &'a self,
        name: &'a str,
        options: ShareOptions,
    ) -> BoxFuture<'a, Result<ShareView, ClientError>> {
        Box::pin(async move {
            let now = self.engine.now();
            if options.expiry != 0 && options.expiry <= now {
                return Err(SharingError::ExpiryPast.into());
            }
            let version = self.resolve(name, None).await?;
            let id = version.id();
            let put =
                version.put().ok_or_else(|| ClientError::Deleted { name: name.to_owned() })?;
            if put.kind != EntryKind::File {
                return Err(SharingError::Folder { name: name.to_owned() }.into());
            }
            let file = put.file;
            let is_now = self.catalog_call(move |catalog| catalog.shared_file(&file)).await?;
            if !matches!(&is_now, SharedFile::Is(now, _) if now.version == id) {
                return Err(ClientError::NotCurrent { name: name.to_owned() });
            }
            let (keys, with) = self.draw_share(options.to).await?;
            let share = Share {
                share: keys.share(),
                file,
                created: now,
                expiry: options.expiry,
                with,
                secrets: self.keys.seal_share_keys(&*self.entropy, &keys)?,
            };
            let key = share.share;
            let changes = vec![Change::Share(Box::new(share))];
            self.append(points::SHARE_COMMIT, Append { changes, ..Append::default() }).await?;
            // Its slot comes after its operation is committed: a share that the account's other devices
            // did not know of, nobody could end.
            self.publish().await?;
            self.share_view(&key).await
        })
    }

    /// Draws the keys of a share, and finds out about the person.
    async fn draw_share(&self, to: ShareTo) -> Result<(ShareKeys, ShareWith), ClientError> {
        match to {
            ShareTo::Link(password) => {
                let entropy = Arc::clone(&self.entropy);
                let drawn = block(self.executor(), move || {
                    let password = password.as_ref().map(|password| password.as_str());
                    ShareKeys::draw_for_link(&*entropy, password)
                });
                let (keys, stretch) =
                    drawn.await.ok_or(ClientError::Shutdown)?.map_err(SharingError::from)?;
                Ok((keys, ShareWith::Link(stretch)))
            }
            ShareTo::Person(recipient) => {
                if !recipient.is_of(&self.engine.mesh()) {
                    return Err(SharingError::OtherMesh.into());
                }
                let contact = recipient.contact();
                let key = find_contact(&self.engine, &contact).await?;
                let keys = ShareKeys::draw_for_person(&*self.entropy);
                Ok((keys, ShareWith::Person { contact, key }))
            }
        }
    }

    /// The account's shares, in the order of their making; of one file only, where one is named.
    ///
    /// # Errors
    /// [`ClientError`] where the catalog or the keys fail.
    pub fn shares(
        &self,
        file: Option<FileId>,
    ) -> BoxFuture<'_, Result<Vec<ShareView>, ClientError>> {
        Box::pin(async move {
            let mut views = Vec::new();
            for known in self.known_shares().await? {
                if file.is_none_or(|file| file == known.share.file) {
                    views.push(self.view_of(&known).await?);
                }
            }
            views.sort_by_key(|view| (view.created, view.share));
            Ok(views)
        })
    }

    /// Ends shares for good: those whose ids begin with these digits. Each is ended when a quorum of
    /// nodes says so; its [`state`](ShareView::state) tells. Naming one that was ended tries again.
    ///
    /// # Errors
    /// [`SharingError::NoShare`] and [`SharingError::Ambiguous`]; nothing is ended then.
    pub fn unshare<'a>(
        &'a self,
        names: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<ShareView>, ClientError>> {
        Box::pin(async move {
            let all = self.known_shares().await?;
            let mut found: Vec<PublicKey> = Vec::new();
            let mut changes = Vec::new();
            for name in names {
                let known = share_named(&all, name)?;
                let share = known.share.share;
                if found.contains(&share) {
                    continue;
                }
                found.push(share);
                if !known.ended {
                    let created = self.engine.now();
                    changes.push(Change::Unshare(Unshare { share, created }));
                }
            }
            for batch in changes.chunks(datamesh_catalog::OPERATIONS_MAX) {
                let changes = batch.to_vec();
                self.append(points::SHARE_COMMIT, Append { changes, ..Append::default() }).await?;
            }
            self.publish().await?;
            let mut views = Vec::with_capacity(found.len());
            for share in &found {
                // What is not committed yet ends all the same: nobody should see a later version.
                self.end_share(share).await?;
                views.push(self.share_view(share).await?);
            }
            Ok(views)
        })
    }

    /// The account's contact in this mesh, for others to share with. Says whether a quorum of nodes shows
    /// its key.
    ///
    /// # Errors
    /// [`ClientError::NoNodes`] where no node is known.
    pub fn introduce_contact(&self) -> BoxFuture<'_, Result<(Recipient, bool), ClientError>> {
        Box::pin(async move {
            let mesh = self.engine.mesh();
            let head: Head = self.keys.contact_head(&mesh);
            let recipient = Recipient::new(&mesh, head.account);
            let published = self.engine.publish_head(&head).await;
            if published.needed == 0 {
                return Err(ClientError::NoNodes);
            }
            Ok((recipient, published.reached()))
        })
    }

    /// All shares of the catalog.
    pub(super) async fn known_shares(&self) -> Result<Vec<KnownShare>, ClientError> {
        self.catalog_call(|catalog| {
            let mut all: Vec<KnownShare> = Vec::new();
            loop {
                let after = all.last().map(|known| known.share.share);
                let page = catalog.shares(after.as_ref(), usize::MAX)?;
                if page.is_empty() {
                    return Ok(all);
                }
                all.extend(page);
            }
        })
        .await
    }

    async fn share_view(&self, share: &PublicKey) -> Result<ShareView, ClientError> {
        let share = *share;
        let known = self.catalog_call(move |catalog| catalog.share(&share)).await?;
        let none = || SharingError::NoShare { name: share_digits(&share) };
        self.view_of(&known.ok_or_else(none)?).await
    }

    async fn view_of(&self, known: &KnownShare) -> Result<ShareView, ClientError> {
        let share = &known.share;
        let keys = self.keys.open_share_keys(&share.share, &share.secrets)?;
        let file = share.file;
        let is_now = self.catalog_call(move |catalog| catalog.shared_file(&file)).await?;
        let state = self.state_of(known, &keys, &is_now)?;
        let path = match is_now {
            SharedFile::Is(_, path) => Some(path),
            SharedFile::Deleted | SharedFile::Unknown => None,
        };
        let (person, password) = match &share.with {
            ShareWith::Link(stretch) => (None, stretch.is_some()),
            ShareWith::Person { contact, .. } => (Some(*contact), false),
        };
        let link = ShareLink {
            mesh: self.engine.mesh(),
            share: share.share,
            expiry: share.expiry,
            password,
            addresses: self.addresses_named(),
            secret: keys.link_secret(),
        };
        Ok(ShareView {
            share: share.share,
            file,
            path,
            created: share.created,
            expiry: share.expiry,
            person,
            password,
            state,
            link,
        })
    }

    /// Where some nodes that answer listen.
    fn addresses_named(&self) -> Vec<String> {
        let peers = self.engine.peers();
        let alive = peers.iter().filter(|peer| peer.standing == Standing::Alive);
        let named = alive.filter(|peer| !peer.member.advert.addresses.is_empty()).take(NODES_NAMED);
        named
            .flat_map(|peer| peer.member.advert.addresses.iter().take(ADDRESSES_NAMED).cloned())
            .collect()
    }
}

/// The hexadecimal digits of a share's id, as people see and type it.
pub fn share_digits(share: &PublicKey) -> String {
    share.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The one share whose id begins so.
fn share_named<'a>(all: &'a [KnownShare], name: &str) -> Result<&'a KnownShare, SharingError> {
    let wanted = name.to_ascii_lowercase();
    let is_named = |known: &&KnownShare| {
        wanted.len() >= DIGITS_MIN && share_digits(&known.share.share).starts_with(&wanted)
    };
    let mut found = all.iter().filter(is_named);
    match (found.next(), found.next()) {
        (Some(known), None) => Ok(known),
        (None, _) => Err(SharingError::NoShare { name: name.to_owned() }),
        (Some(_), Some(_)) => Err(SharingError::Ambiguous { name: name.to_owned() }),
    }
}

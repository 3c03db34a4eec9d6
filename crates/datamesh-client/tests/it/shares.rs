//! Shares: whoever has one reads what is newest, and nobody reads anything once it has ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamesh_catalog::{AccountDb, Owner};
use datamesh_client::{
    Client, ClientError, ClientParts, Packs, PutOptions, ReschemeOptions, ShareOptions, ShareState,
    ShareTo, ShareView, SharingError, derive_epochs, find_share, get_shared,
};
use datamesh_core::head::Head;
use datamesh_core::message::Refusal;
use datamesh_core::share::{CONTACT_LOG, SHARE_LOG};
use datamesh_core::{LogId, NodeId, PublicKey, Scheme, Signer};
use datamesh_crypto::{DeviceKeys, Recipient, ShareError, ShareLink, Words};
use datamesh_engine::Engine;
use datamesh_testkit::sim::{Lie, World};
use datamesh_testkit::{fixtures, sim};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::cluster::{Cluster, device_engine, folder};
use crate::devices::Device;
use crate::streams::{Collected, Files};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// The engine of somebody who knows the mesh and has no account.
fn visitor(cluster: &Cluster, number: u8) -> Arc<Engine> {
    let engine = device_engine(&cluster.world, NodeId([number; 32]), &cluster.genesis);
    for advert in &cluster.adverts {
        assert!(engine.learn_advert(advert.clone()));
    }
    Arc::new(engine)
}

/// A device of another account in the same mesh.
struct Stranger {
    client: Client,
    keys: Arc<DeviceKeys>,
    _folder: TempDir,
}

fn stranger(cluster: &Cluster, number: u8) -> Stranger {
    let entropy = cluster.world.entropy(NodeId([number; 32]));
    let keys = Arc::new(DeviceKeys::set_up(&Words::draw(&*entropy), &*entropy, 1));
    let grant = cluster.issuing.grant(keys.grant().public_key(), u64::MAX, 1, 0);
    let folder = folder();
    let log_key = keys.log_certificate().log_key;
    let owner = Owner { account: keys.account(), log: LogId([number; 16]), log_key };
    let catalog = AccountDb::open(&folder.path().join("catalog.db"), owner).unwrap();
    let client = Client::new(ClientParts {
        engine: visitor(cluster, number),
        catalog: Arc::new(catalog),
        keys: Arc::clone(&keys),
        grant: Arc::new(grant),
        entropy,
        publication: Arc::default(),
        packs: Packs::new(),
    });
    Stranger { client, keys, _folder: folder }
}

async fn put(client: &Client, path: &str, bytes: &[u8]) {
    let files = BTreeMap::from([(path.parse().unwrap(), bytes.to_vec())]);
    let report = client.put(&mut Files::new(&files), &PutOptions::default(), None).await.unwrap();
    assert!(report.failed.is_empty() && report.pending == 0, "{report:?}");
}

async fn by_link(client: &Client, name: &str, password: Option<&str>) -> ShareView {
    let password = password.map(|password| Zeroizing::new(password.to_owned()));
    let options = ShareOptions { to: ShareTo::Link(password), expiry: 0 };
    let view = client.share(name, options).await.unwrap();
    assert_eq!(view.state, ShareState::Current);
    view
}

/// What a link leads to: name and bytes.
async fn opened(
    engine: &Arc<Engine>,
    link: &ShareLink,
    password: Option<&str>,
) -> Result<(String, Vec<u8>), ClientError> {
    let found = find_share(engine, &link.share).await?;
    let password = password.map(|password| Zeroizing::new(password.to_owned()));
    let secret = link.secret.as_ref().unwrap();
    let body = found.open_by_link(engine, secret, password).await?;
    fetched(engine, body).await
}

/// The same of what is for a person.
async fn opened_as(
    engine: &Arc<Engine>,
    share: &PublicKey,
    keys: &DeviceKeys,
) -> Result<(String, Vec<u8>), ClientError> {
    let found = find_share(engine, share).await?;
    fetched(engine, found.open_as(engine, keys)?).await
}

async fn fetched(
    engine: &Arc<Engine>,
    body: datamesh_crypto::ShareBody,
) -> Result<(String, Vec<u8>), ClientError> {
    let mut sink = Collected::default();
    let report = get_shared(engine, body, &mut sink, None).await?;
    match report.error {
        Some(error) => {
            assert!(sink.files.is_empty(), "half a file");
            Err(error)
        }
        None => {
            let (path, bytes) = sink.files.pop_first().unwrap();
            Ok((path.to_string(), bytes))
        }
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> SharingError {
    match result {
        Err(ClientError::Sharing(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// The head of a slot that a node keeps.
fn kept(cluster: &Cluster, at: usize, share: &PublicKey) -> Option<Head> {
    let kept = cluster.nodes[at].store.head(&(share.0, SHARE_LOG.0)).unwrap()?;
    Some(datamesh_core::wire::decode(&kept.head).unwrap())
}

#[test]
fn a_link_leads_to_the_newest_version_whatever_happens_to_the_file() {
    sim::run(301, |world| async move {
        let cluster = Cluster::seven(&world);
        let client = &cluster.client;
        let sizes = [0, 9, 5000, 70_000, 9_000_000];
        for (seed, size) in (1u64..).zip(sizes) {
            put(client, &format!("of {size}"), &fixtures::noise(seed, size)).await;
        }
        for (at, (seed, size)) in (1u64..).zip(sizes).enumerate() {
            let view = by_link(client, &format!("of {size}"), None).await;
            let engine = visitor(&cluster, 120 + at as u8);
            let found = opened(&engine, &view.link, None).await.unwrap();
            assert!(found == (format!("of {size}"), fixtures::noise(seed, size)), "of {size}");
        }
        // A name that a shell would read is not taken as it is.
        put(client, "..profile", b"echo").await;
        let hidden = by_link(client, "..profile", None).await;
        let found = opened(&visitor(&cluster, 129), &hidden.link, None).await.unwrap();
        assert_eq!(found, ("shared.profile".to_owned(), b"echo".to_vec()));
        put(client, "folder/file", &fixtures::noise(10, 50_000)).await;
        let view = by_link(client, "folder/file", None).await;
        let engine = visitor(&cluster, 130);
        let now = async || opened(&engine, &view.link, None).await.unwrap();
        assert!(now().await == ("file".to_owned(), fixtures::noise(10, 50_000)));

        put(client, "folder/file", &fixtures::noise(11, 3000)).await;
        assert!(now().await == ("file".to_owned(), fixtures::noise(11, 3000)));
        client.rename("folder/file", &"other/name".parse().unwrap(), false).await.unwrap();
        assert!(now().await == ("name".to_owned(), fixtures::noise(11, 3000)));
        put(client, "other/name", &fixtures::noise(12, 60_000)).await;
        // What takes the old name is another file, and nobody gets to see it.
        put(client, "folder/file", &fixtures::noise(13, 60_000)).await;
        assert!(now().await == ("name".to_owned(), fixtures::noise(12, 60_000)));
        client.undelete("folder/file", Some(1)).await.unwrap();
        put(client, "folder/file", &fixtures::noise(14, 60_000)).await;
        assert!(now().await == ("name".to_owned(), fixtures::noise(12, 60_000)));
        // Sealed anew in a later epoch, in other segments.
        client.rotate(&cluster.words, &[]).await.unwrap();
        client.rekey().await.unwrap();
        let another = visitor(&cluster, 131);
        let found = opened(&another, &view.link, None).await.unwrap();
        assert!(found == ("name".to_owned(), fixtures::noise(12, 60_000)));
        let scheme = Some(Scheme::new(1, 3).unwrap());
        let options = ReschemeOptions { scheme, ..ReschemeOptions::default() };
        assert!(client.rescheme(&options).await.unwrap().rewritten.versions > 0);
        assert!(now().await == ("name".to_owned(), fixtures::noise(12, 60_000)));
    });
}

#[test]
fn a_revoked_share_shows_nobody_anything_and_stays_revoked() {
    sim::run(302, |world| async move {
        let cluster = Cluster::seven(&world);
        let client = &cluster.client;
        put(client, "file", &fixtures::noise(1, 50_000)).await;
        let (view, other) =
            (by_link(client, "file", None).await, by_link(client, "file", None).await);
        let engine = visitor(&cluster, 120);
        let before: Vec<Option<Head>> = (0..7).map(|at| kept(&cluster, at, &view.share)).collect();
        let first = before[0].clone().unwrap();
        let name: String = view.share.0[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        let ended = client.unshare(std::slice::from_ref(&name)).await.unwrap();
        assert_eq!(ended[0].state, ShareState::Revoked);
        assert!(matches!(refused(opened(&engine, &view.link, None).await), SharingError::Revoked));
        // Nodes have nothing sealed any more, and take nothing of before back.
        for (at, node) in cluster.nodes.iter().enumerate() {
            let kept = kept(&cluster, at, &view.share).unwrap();
            assert!(kept.ended && kept.sealed.is_empty() && kept.revision > first.revision);
            engine.carry_head(node.id, &first).await;
        }
        assert!(matches!(refused(opened(&engine, &view.link, None).await), SharingError::Revoked));
        // A later version is not shown; the other share goes on; ending it again changes nothing.
        put(client, "file", &fixtures::noise(2, 50_000)).await;
        assert!(matches!(refused(opened(&engine, &view.link, None).await), SharingError::Revoked));
        assert!(opened(&engine, &other.link, None).await.unwrap().1 == fixtures::noise(2, 50_000));
        assert_eq!(client.unshare(&[name]).await.unwrap()[0].state, ShareState::Revoked);
        let none = client.unshare(&["ffffffffff".to_owned()]).await;
        assert!(matches!(refused(none), SharingError::NoShare { .. }));
        let states: Vec<ShareState> =
            client.shares(None).await.unwrap().iter().map(|view| view.state).collect();
        assert_eq!(states.iter().filter(|state| **state == ShareState::Revoked).count(), 1);
        assert_eq!(states.len(), 2);
    });
}

#[test]
fn a_deleted_file_ends_its_shares_for_good() {
    sim::run(303, |world| async move {
        let cluster = Cluster::seven(&world);
        let client = &cluster.client;
        put(client, "file", &fixtures::noise(1, 50_000)).await;
        let view = by_link(client, "file", None).await;
        client.remove(&["file".to_owned()]).await.unwrap();
        let engine = visitor(&cluster, 120);
        assert!(matches!(refused(opened(&engine, &view.link, None).await), SharingError::Revoked));
        client.undelete("file", None).await.unwrap();
        put(client, "file", &fixtures::noise(2, 50_000)).await;
        assert!(matches!(refused(opened(&engine, &view.link, None).await), SharingError::Revoked));
        assert_eq!(client.shares(None).await.unwrap()[0].state, ShareState::Revoked);
    });
}

#[test]
fn a_password_and_an_expiry_are_kept_to() {
    sim::run(304, |world| async move {
        let cluster = Cluster::seven(&world);
        let client = &cluster.client;
        put(client, "file", &fixtures::noise(1, 5000)).await;
        let view = by_link(client, "file", Some("correct horse")).await;
        assert!(view.password && view.link.password);
        let engine = visitor(&cluster, 120);
        let open = async |password| opened(&engine, &view.link, password).await;
        assert!(open(Some("correct horse")).await.unwrap().1 == fixtures::noise(1, 5000));
        let share_error = |result| match refused(result) {
            SharingError::Share(error) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(share_error(open(Some("wrong horse")).await), ShareError::Password);
        assert_eq!(share_error(open(None).await), ShareError::PasswordMissing);
        // A new version needs no password of the owner, and the same of whoever opens it.
        put(client, "file", &fixtures::noise(2, 5000)).await;
        assert!(open(Some("correct horse")).await.unwrap().1 == fixtures::noise(2, 5000));

        let now = client.engine().now();
        let past = ShareOptions { to: ShareTo::Link(None), expiry: now };
        assert!(matches!(refused(client.share("file", past).await), SharingError::ExpiryPast));
        let options = ShareOptions { to: ShareTo::Link(None), expiry: now + DAY_MS as u64 };
        let day = client.share("file", options).await.unwrap();
        assert!(opened(&engine, &day.link, None).await.is_ok());
        let first = (0..7).find_map(|at| kept(&cluster, at, &day.share)).unwrap();
        assert_eq!(first.expiry, day.expiry);
        // Nodes give it out no longer, to somebody whose clock is behind neither.
        for node in &cluster.nodes {
            world.jump_clock(node.id, 2 * DAY_MS);
        }
        assert!(matches!(refused(opened(&engine, &day.link, None).await), SharingError::Gone));
        for node in &cluster.nodes {
            assert!(!engine.carry_head(node.id, &first).await, "an expired head was taken");
        }
        // A new version is not published any more.
        world.jump_clock(NodeId([0xC1; 32]), 2 * DAY_MS);
        client.engine().look_around().await;
        put(client, "file", &fixtures::noise(3, 5000)).await;
        let views = client.shares(None).await.unwrap();
        let view = views.iter().find(|view| view.share == day.share).unwrap();
        assert_eq!(view.state, ShareState::Expired);
        assert_eq!((0..7).find_map(|at| kept(&cluster, at, &day.share)).unwrap(), first);
    });
}

#[test]
fn nodes_that_do_not_honour_an_expiry_are_not_believed() {
    sim::run(305, |world| async move {
        let cluster = Cluster::seven(&world);
        let client = &cluster.client;
        put(client, "file", &fixtures::noise(1, 5000)).await;
        let expiry = client.engine().now() + DAY_MS as u64;
        let options = ShareOptions { to: ShareTo::Link(None), expiry };
        let view = client.share("file", options).await.unwrap();
        // Their clocks stand still, as those of nodes that do not mind would.
        world.jump_clock(NodeId([120; 32]), 2 * DAY_MS);
        let engine = visitor(&cluster, 120);
        let refused = refused(opened(&engine, &view.link, None).await);
        assert!(matches!(refused, SharingError::Expired { .. }), "{refused:?}");
    });
}

#[test]
fn a_person_opens_what_is_shared_with_them_and_nobody_else_does() {
    sim::run(306, |world| async move {
        let cluster = Cluster::seven(&world);
        let client = &cluster.client;
        let (person, other) = (stranger(&cluster, 60), stranger(&cluster, 61));
        put(client, "file", &fixtures::noise(1, 50_000)).await;
        let mesh = cluster.genesis.mesh_id();
        let to = |recipient| ShareOptions { to: ShareTo::Person(recipient), expiry: 0 };
        let unknown = Recipient::new(&mesh, person.keys.contact(&mesh));
        let none = client.share("file", to(unknown)).await;
        assert!(matches!(refused(none), SharingError::NoContact));

        let (recipient, published) = person.client.introduce_contact().await.unwrap();
        assert!(published && recipient == unknown);
        // Saying it again changes nothing.
        assert_eq!(person.client.introduce_contact().await.unwrap(), (recipient, true));
        let foreign = Recipient::new(&datamesh_core::MeshId([1; 32]), recipient.contact());
        assert!(matches!(
            refused(client.share("file", to(foreign)).await),
            SharingError::OtherMesh
        ));
        let view = client.share("file", to(recipient)).await.unwrap();
        assert_eq!((view.state, view.person), (ShareState::Current, Some(recipient.contact())));
        assert!(view.link.secret.is_none());

        let engine = person.client.engine();
        let open = async |keys: &DeviceKeys| opened_as(engine, &view.share, keys).await;
        assert!(open(&person.keys).await.unwrap().1 == fixtures::noise(1, 50_000));
        let found = find_share(engine, &view.share).await.unwrap();
        let body = found.open_as(engine, &person.keys).unwrap();
        assert_eq!(body.sharer.unwrap().account(), cluster.keys.account());
        for keys in [&other.keys, &cluster.keys] {
            let error = refused(open(keys).await);
            assert!(matches!(error, SharingError::Share(ShareError::Person)), "{error:?}");
        }
        put(client, "file", &fixtures::noise(2, 50_000)).await;
        assert!(open(&person.keys).await.unwrap().1 == fixtures::noise(2, 50_000));
        client.unshare(&[hex(&view.share)]).await.unwrap();
        assert!(matches!(refused(open(&person.keys).await), SharingError::Revoked));
    });
}

/// The digits of a share's id.
pub(crate) fn hex(share: &PublicKey) -> String {
    share.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A node that keeps an older head hides nothing, and a quorum that is missing is noticed.
#[test]
fn a_minority_that_lies_or_is_away_hides_no_version_and_no_end() {
    sim::run(307, |world| async move {
        let cluster = Cluster::seven(&world);
        let client = &cluster.client;
        put(client, "file", &fixtures::noise(1, 5000)).await;
        let view = by_link(client, "file", None).await;
        // Two of seven hear of nothing that comes now.
        for node in &cluster.nodes[..2] {
            node.liar.set(Lie::Refuse(Refusal::Busy));
        }
        put(client, "file", &fixtures::noise(2, 5000)).await;
        for node in &cluster.nodes[..2] {
            node.liar.set(Lie::None);
        }
        let first = kept(&cluster, 0, &view.share).unwrap();
        let engine = visitor(&cluster, 120);
        assert!(opened(&engine, &view.link, None).await.unwrap().1 == fixtures::noise(2, 5000));
        for node in &cluster.nodes[..2] {
            node.liar.set(Lie::Refuse(Refusal::Busy));
        }
        client.unshare(&[hex(&view.share)]).await.unwrap();
        for node in &cluster.nodes[..2] {
            node.liar.set(Lie::None);
        }
        assert_eq!(kept(&cluster, 0, &view.share).unwrap(), first);
        assert!(matches!(refused(opened(&engine, &view.link, None).await), SharingError::Revoked));

        // Of a share that goes on nobody can say so where three do not answer.
        let other = by_link(client, "file", None).await;
        for node in &cluster.nodes[..3] {
            node.liar.set(Lie::Refuse(Refusal::Busy));
        }
        let error = refused(opened(&engine, &other.link, None).await);
        assert!(matches!(error, SharingError::MayBeOld), "{error:?}");
    });
}

/// A share that was committed and not published is published by whoever comes next.
#[test]
fn what_nodes_did_not_take_is_made_up_for_by_any_device() {
    sim::run(308, |world| async move {
        let cluster = Cluster::seven(&world);
        let one = Device::blank(&cluster, 21);
        one.client.catch_up().await.unwrap();
        one.put("file", &fixtures::noise(1, 5000)).await;
        // Slots of shares are not taken; all else is.
        withhold(&cluster, true);
        let options = ShareOptions { to: ShareTo::Link(None), expiry: 0 };
        let view = one.client.share("file", options).await.unwrap();
        withhold(&cluster, false);
        drop(one);
        world.kill(NodeId([21; 32]));

        let two = recovered(&cluster, 22).await;
        two.client.publish().await.unwrap();
        let views = two.client.shares(None).await.unwrap();
        assert_eq!((views.len(), views[0].state), (1, ShareState::Current));
        assert_eq!(views[0].link.text(), ShareLink { ..view.link.clone() }.text());
        let engine = visitor(&cluster, 120);
        assert!(opened(&engine, &view.link, None).await.unwrap().1 == fixtures::noise(1, 5000));
        two.put("file", &fixtures::noise(2, 5000)).await;
        assert!(opened(&engine, &view.link, None).await.unwrap().1 == fixtures::noise(2, 5000));
        // What one device ended, another does not bring back.
        let three = recovered(&cluster, 23).await;
        two.client.unshare(&[hex(&view.share)]).await.unwrap();
        three.put("file", &fixtures::noise(3, 5000)).await;
        assert!(matches!(refused(opened(&engine, &view.link, None).await), SharingError::Revoked));
        let heads = (0..7).filter_map(|at| kept(&cluster, at, &view.share));
        assert!(heads.into_iter().filter(|head| head.ended).count() >= 5);
    });
}

async fn recovered(cluster: &Cluster, number: u8) -> Device {
    let device = Device::blank(cluster, number);
    let engine = device.client.engine();
    assert!(derive_epochs(engine, &device.keys, &cluster.words).await.unwrap());
    assert!(!device.client.catch_up().await.unwrap().may_be_old);
    device
}

fn withhold(cluster: &Cluster, withheld: bool) {
    for node in &cluster.nodes {
        node.liar.set(if withheld { Lie::Withhold(SHARE_LOG) } else { Lie::None });
    }
}

#[test]
fn what_cannot_be_shared_says_why() {
    sim::run(309, |world| async move {
        let cluster = Cluster::seven(&world);
        let client = &cluster.client;
        put(client, "folder/file", &fixtures::noise(1, 5000)).await;
        let share = async |name: &str| {
            let options = ShareOptions { to: ShareTo::Link(None), expiry: 0 };
            client.share(name, options).await
        };
        assert!(matches!(share("nothing").await, Err(ClientError::NotFound { .. })));
        assert!(matches!(share("folder").await, Err(ClientError::Folder { .. })));
        client.remove(&["folder/file".to_owned()]).await.unwrap();
        assert!(matches!(share("folder/file").await, Err(ClientError::Deleted { .. })));
        let nobody = PublicKey([9; 32]);
        let engine = visitor(&cluster, 120);
        assert!(matches!(refused(find_share(&engine, &nobody).await), SharingError::Gone));
        let lone = Arc::new(device_engine(&world, NodeId([121; 32]), &cluster.genesis));
        assert!(matches!(find_share(&lone, &nobody).await, Err(ClientError::NoNodes)));
        // The slot of a contact is no share's.
        let (recipient, _) = client.introduce_contact().await.unwrap();
        let gone = find_share(&engine, &recipient.contact()).await;
        assert!(matches!(refused(gone), SharingError::Gone));
        let heads = engine.read_heads(&recipient.contact(), &[]).await.heads;
        assert!(heads.contains_key(&CONTACT_LOG));
    });
}

/// Two devices that publish the same share at once come to one head.
#[test]
fn two_devices_publish_without_undoing_each_other() {
    sim::run(310, |world: World| async move {
        let cluster = Cluster::seven(&world);
        let one = recovered_first(&cluster, 21).await;
        one.put("file", &fixtures::noise(1, 5000)).await;
        let view = by_link(&one.client, "file", None).await;
        let two = recovered(&cluster, 22).await;
        let engine = visitor(&cluster, 120);
        for round in 2..8 {
            let bytes = fixtures::noise(round, 5000);
            let (writer, other) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
            other.client.catch_up().await.unwrap();
            writer.client.catch_up().await.unwrap();
            writer.put("file", &bytes).await;
            other.client.catch_up().await.unwrap();
            let (first, second) = futures::join!(one.client.publish(), two.client.publish());
            assert!(first.is_ok() && second.is_ok());
            assert!(opened(&engine, &view.link, None).await.unwrap().1 == bytes, "round {round}");
        }
    });
}

async fn recovered_first(cluster: &Cluster, number: u8) -> Device {
    let device = Device::blank(cluster, number);
    device.client.catch_up().await.unwrap();
    device
}

//! What of the operations stands in the audit log.

use std::sync::Arc;

use datamesh_api::{
    Answer, Call, GetReply, GetRequest, InviteReply, JoinReply, OperationError, PutReply,
    RekeyReply, RemoveReply, RotateReply, ShareReply, ShareTarget, UnshareReply,
};

use super::HomeOperations;

/// Names in one entry; how many there were stands beside them.
const NAMES_MAX: usize = 8;

type Detail = Vec<(&'static str, String)>;

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.take(NAMES_MAX).collect::<Vec<_>>().join(", ")
}

/// What a call asks for, where it is noted.
pub(super) fn asked(call: &Call) -> Option<(&'static str, Detail)> {
    Some(match call {
        Call::Remove(request) => {
            let named = names(request.names.iter().map(String::as_str));
            ("file.remove", vec![("asked", named)])
        }
        Call::Duplicate(request) => {
            ("file.duplicate", vec![("name", request.name.clone()), ("to", request.to.to_string())])
        }
        Call::Rename(request) => {
            ("file.rename", vec![("name", request.name.clone()), ("to", request.to.to_string())])
        }
        Call::Label(request) if !request.dry_run => {
            let named = names(request.patterns.iter().map(String::as_str));
            ("file.label", vec![("asked", named)])
        }
        Call::Pin(request) => {
            let named = names(request.patterns.iter().map(String::as_str));
            let event = if request.priority.is_some() { "file.pin" } else { "file.unpin" };
            (event, vec![("asked", named)])
        }
        // Its files go into the account, and out of it again.
        Call::Benchmark(request) if request.network => {
            ("benchmark.run", vec![("bytes", request.size.to_string())])
        }
        Call::Share(request) => {
            let with = match &request.to {
                ShareTarget::Link { .. } => "link",
                ShareTarget::Person { recipient } => recipient,
            };
            ("file.share", vec![("name", request.name.clone()), ("with", with.to_owned())])
        }
        Call::Unshare(request) => {
            ("share.revoke", vec![("asked", names(request.shares.iter().map(String::as_str)))])
        }
        Call::Invite(request) => {
            let powers = format!("node: {}, account: {}", request.node, request.account);
            ("invite.issue", vec![("uses", request.uses.to_string()), ("powers", powers)])
        }
        Call::Join(_) => ("mesh.join", Vec::new()),
        Call::Rotate(request) => {
            let revoke = names(request.revoke.iter().map(String::as_str));
            ("key.rotate", vec![("revoke", revoke)])
        }
        Call::Rekey(_) => ("key.rekey", Vec::new()),
        _ => return None,
    })
}

/// What a get asks for.
pub(super) fn asked_for(request: &GetRequest) -> String {
    match request {
        GetRequest::File { name, .. } | GetRequest::Folder { name } => name.clone(),
        // Its link is a secret.
        GetRequest::Shared { .. } => "what somebody shares".to_owned(),
        GetRequest::Matching { patterns, .. } => names(patterns.iter().map(String::as_str)),
    }
}

fn outcome(detail: &mut Detail, answer: &Result<Answer, OperationError>) {
    match answer {
        Ok(Answer::Remove(RemoveReply { removed, .. })) => {
            detail.push(("removed", removed.len().to_string()));
            detail.push(("names", names(removed.iter().map(|path| path.as_str()))));
        }
        Ok(Answer::Duplicate(reply) | Answer::Rename(reply)) => {
            detail.push(("files", reply.files.len().to_string()));
        }
        Ok(Answer::Share(ShareReply { share })) => detail.push(("share", share.share.clone())),
        Ok(Answer::Unshare(UnshareReply { shares })) => {
            detail.push(("shares", names(shares.iter().map(|share| share.share.as_str()))));
        }
        Ok(Answer::Label(reply)) => detail.push(("files", reply.files.len().to_string())),
        Ok(Answer::Pin(reply)) => detail.push(("files", reply.files.len().to_string())),
        Ok(Answer::Invite(InviteReply { expires, .. })) => {
            detail.push(("expires", expires.to_string()));
        }
        Ok(Answer::Join(JoinReply { mesh, issuer, .. })) => {
            detail.push(("mesh", mesh.to_string()));
            detail.push(("issuer", issuer.to_string()));
        }
        Ok(Answer::Rotate(RotateReply { epoch, revoked, .. })) => {
            detail.push(("epoch", epoch.to_string()));
            let revoked: Vec<String> = revoked.iter().map(ToString::to_string).collect();
            detail.push(("revoked", names(revoked.iter().map(String::as_str))));
        }
        Ok(Answer::Rekey(RekeyReply { epoch, rewritten, .. })) => {
            detail.push(("epoch", epoch.to_string()));
            detail.push(("versions", rewritten.versions.to_string()));
        }
        Ok(_) => {}
        Err(error) => detail.push(("failed", error.message.clone())),
    }
}

impl HomeOperations {
    /// Writes an entry, away from the tasks.
    async fn note(&self, event: &'static str, detail: Detail) {
        let log = Arc::clone(&self.shared.audit_log);
        let written = tokio::task::spawn_blocking(move || log.record(event, &detail)).await;
        if written.is_err() {
            tracing::error!(event, "writing the audit log broke off");
        }
    }

    pub(super) async fn note_call(
        &self,
        asked: Option<(&'static str, Detail)>,
        answer: &Result<Answer, OperationError>,
    ) {
        if let Some((event, mut detail)) = asked {
            outcome(&mut detail, answer);
            self.note(event, detail).await;
        }
    }

    pub(super) async fn note_put(&self, reply: &Result<PutReply, OperationError>) {
        let mut detail = Detail::new();
        match reply {
            Ok(reply) => {
                detail.push(("files", reply.stored.len().to_string()));
                let bytes: u64 = reply.stored.iter().map(|file| file.size).sum();
                detail.push(("bytes", bytes.to_string()));
                detail.push(("names", names(reply.stored.iter().map(|file| file.path.as_str()))));
                if !reply.failed.is_empty() {
                    detail.push(("failed", reply.failed.len().to_string()));
                }
            }
            Err(error) => detail.push(("failed", error.message.clone())),
        }
        self.note("file.put", detail).await;
    }

    pub(super) async fn note_get(&self, name: String, reply: &Result<GetReply, OperationError>) {
        let mut detail = vec![("name", name)];
        match reply {
            Ok(reply) => {
                detail.push(("files", reply.files.to_string()));
                detail.push(("bytes", reply.bytes.to_string()));
            }
            Err(error) => detail.push(("failed", error.message.clone())),
        }
        self.note("file.get", detail).await;
    }
}

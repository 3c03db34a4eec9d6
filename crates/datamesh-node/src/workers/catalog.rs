//! Background work for catalogs: heads that this node keeps for others move with the ranking, and
//! the home's own account, where its keys are open, publishes what is pending and takes in what its
//! other devices did.

use std::time::Duration;

use datamesh_engine::HeadMover;
use tokio_util::sync::CancellationToken;

use crate::operations::HomeOperations;

/// How often the membership is compared with that of the last pass.
const MOVE_INTERVAL: Duration = Duration::from_secs(5);

/// How often the account's heads are read.
const CATCH_UP_INTERVAL: Duration = Duration::from_secs(30);

/// Moves heads until `stop`.
pub(crate) async fn move_heads(mover: HeadMover, stop: CancellationToken) {
    loop {
        let pass = async {
            let moved = mover.pass().await;
            if moved > 0 {
                tracing::info!(moved, "heads were handed to nodes that keep them now");
            }
            tokio::time::sleep(MOVE_INTERVAL).await;
        };
        if stop.run_until_cancelled(pass).await.is_none() {
            return;
        }
    }
}

/// Rounds of that after which holders are told what is pinned and what broken-off puts left is given back.
const TELL_ROUNDS: u32 = 10;

/// Keeps the account's catalog and the mesh's copy of it together until `stop`.
pub(crate) async fn follow_catalog(operations: HomeOperations, stop: CancellationToken) {
    let mut rounds = 0_u32;
    loop {
        rounds = rounds.wrapping_add(1);
        let round = async {
            if let Err(error) = operations.follow_catalog().await {
                tracing::warn!(error = %error.message, "the catalog was not compared with the mesh");
            }
            if let Err(error) = operations.index_names().await {
                tracing::warn!(error = %error.message, "the search index does not follow the catalog");
            }
            if rounds.is_multiple_of(TELL_ROUNDS) {
                if let Err(error) = operations.tell_pins().await {
                    tracing::warn!(error = %error.message, "holders were not told what is pinned");
                }
                if let Err(error) = operations.give_back_left().await {
                    tracing::warn!(error = %error.message, "what broken-off puts left was not given back");
                }
            }
            tokio::time::sleep(CATCH_UP_INTERVAL).await;
        };
        if stop.run_until_cancelled(round).await.is_none() {
            return;
        }
    }
}

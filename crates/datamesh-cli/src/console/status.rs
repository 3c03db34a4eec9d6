//! How the mesh stands, asked of the home's service again and again while the console is open.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamesh_api::{HealthReply, HealthRequest, OperationError, OperationsExt, Severity};
use datamesh_node::{Home, PasswordSource};

use crate::error::failed;
use crate::output::plural;

/// How often the service is asked.
const EVERY: Duration = Duration::from_secs(5);

/// Draws the prompt again.
pub(super) type Repaint = Box<dyn Fn() + Send>;

/// What the prompt says.
#[derive(Debug, Clone, Default)]
pub(super) struct Text(Arc<Mutex<String>>);

impl Text {
    /// What it says now.
    pub(super) fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says something else. Whether it did not say so before.
    fn set(&self, text: String) -> bool {
        let mut old = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *old != text;
        *old = text;
        changed
    }
}

/// Asks until it is dropped.
pub(super) struct Status {
    text: Text,
    repaint: Arc<Mutex<Option<Repaint>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Status {
    /// Begins to ask.
    pub(super) fn watch(home: &Home) -> Self {
        let (text, repaint) = (Text::default(), Arc::<Mutex<Option<Repaint>>>::default());
        let (home, said, painter) = (home.clone(), text.clone(), Arc::clone(&repaint));
        let task = tokio::spawn(async move {
            loop {
                let told = match datamesh_node::is_served(&home).await {
                    true => asked(&home).await.map_or_else(|error| error.message, |it| told(&it)),
                    false => "no service here".to_owned(),
                };
                if said.set(told)
                    && let Some(painter) = &*painter.lock().unwrap_or_else(PoisonError::into_inner)
                {
                    painter();
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { text, repaint, task }
    }

    /// What the prompt says.
    pub(super) fn text(&self) -> Text {
        self.text.clone()
    }

    /// Who draws the prompt again when it says something else.
    pub(super) fn repaints(&self, repaint: Repaint) {
        *self.repaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(repaint);
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks the service, and nobody for a password.
async fn asked(home: &Home) -> Result<HealthReply, OperationError> {
    let nobody: PasswordSource = Arc::new(|| Err(failed("the service needs a password")));
    datamesh_node::connect(home, nobody, false).await?.health(HealthRequest {}).await
}

fn told(health: &HealthReply) -> String {
    let mut parts =
        vec![format!("{} of {} alive", health.peers.alive, plural(health.peers.known, "node"))];
    if let Some((least, _)) = health.margins.first_key_value() {
        parts.push(format!("least margin {least}"));
    }
    if let Some(repair) = health.repair.as_ref().filter(|repair| repair.queued + repair.active > 0)
    {
        parts.push(plural(repair.queued + repair.active, "repair"));
    }
    parts.push(match health.severity {
        Severity::Ok => "ok".to_owned(),
        Severity::Warning => "look at health".to_owned(),
        Severity::Critical => "CRITICAL: look at health".to_owned(),
    });
    parts.join(", ")
}
